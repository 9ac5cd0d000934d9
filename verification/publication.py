"""The commands that make a report something to publish: diff, cite, publish."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verification.citation import FORMATS
from verification.citation import cite as citation_of
from verification.registry import ROOT
from verification.report import difference, mutants_found, read_report

__all__ = ["COMMANDS", "add_commands"]

REPORT = ROOT / "verification" / "report" / "latest" / "report.json"


def add_commands(commands: Any) -> None:
    """Add the commands to those of `python -m verification`.

    Args:
        commands: What `add_subparsers` returned.
    """
    comparing = commands.add_parser("diff", help="what changed from one report to another")
    comparing.add_argument("old", type=Path, help="report.json, or the folder it lies in")
    comparing.add_argument("new", type=Path, help="report.json, or the folder it lies in")
    text = "by how much an error must change to be told of"
    comparing.add_argument("--factor", type=float, default=difference.FACTOR, help=text)
    comparing.add_argument("-k", dest="pattern", default="", help="part of the ids to compare")
    comparing.add_argument("--json", action="store_true", help="print JSON")
    citing = commands.add_parser("cite", help="how to cite the reference function of a name")
    citing.add_argument("name")
    citing.add_argument("--format", choices=FORMATS, default="bibtex")
    publishing = commands.add_parser("publish", help="renew the summary that README.md shows")
    publishing.add_argument("--report", type=Path, default=REPORT, help="of a whole run")


def diff(given: argparse.Namespace) -> int:
    """Print what changed from one report to another; 1 if something is worse."""
    try:
        old, new = (read_report(_file(path)) for path in (given.old, given.new))
        changes = difference.compare(old, new, given.factor, given.pattern)
    except (OSError, ValueError) as error:
        print(error)
        return 2
    if given.json:
        print(json.dumps(difference.as_dict(changes, given.factor), indent=1, ensure_ascii=False))
    else:
        print(difference.render(changes), end="")
    return int(any(one.worse for one in changes))


def cite(given: argparse.Namespace) -> int:
    """Print the citation of a name; 1 if there is no such name."""
    try:
        print(citation_of(given.name, given.format))
    except ValueError as error:
        print(error)
        return 1
    return 0


def publish(given: argparse.Namespace) -> int:
    """Write the summary of a whole run and all that follows from it; 1 if there is no such run."""
    from papers import index
    from verification import published
    from verification.document import tree_of_sources

    try:
        report = read_report(_file(given.report))
        summary = published.summary_of(report, mutants_found.read())
    except (OSError, ValueError) as error:
        print(error)
        return 1
    published.write(summary)
    index.write()
    if report.get("sources") != tree_of_sources()["sources"]:
        print("note: the sources are no longer those that were run")
    print(f"published: {published.PUBLISHED.relative_to(ROOT)}")
    return 0


def _file(path: Path) -> Path:
    return path / "report.json" if path.is_dir() else path


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "diff": diff,
    "cite": cite,
    "publish": publish,
}
