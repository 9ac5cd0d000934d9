"""Random mutants and how many of them the checks killed: their section of the page.

`nox -s mutation` keeps its outcome in mutation.json beside the reports; each report takes in what
lies there. It is not of this run, and says of which sources it is.
"""

import json
from pathlib import Path
from typing import Any

from verification.report.parts import Markup, definitions, table, text

__all__ = ["FILE", "read", "section"]

FILE = Path(__file__).with_name("mutation.json")
HEADINGS = ("Family", "Drawn", "Killed", "Argued", "Left")


def read(path: Path = FILE) -> dict[str, Any]:
    """Return what was kept, or nothing where there is no file.

    Args:
        path: where it is kept.
    """
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def section(path: Path = FILE) -> str:
    """Return the table of families and the mutants that survived, HTML.

    Args:
        path: where the outcome is kept.
    """
    kept = read(path)
    families = kept.get("families") or {}
    if not families:
        return "<p>None were tried.</p>"
    said = definitions(
        [(term.capitalize(), kept.get(term)) for term in ("command", "date", "seed", "digest")]
    )
    rows = [_row(name, counts) for name, counts in sorted(families.items())]
    caption = "Mutants drawn, killed by a check, and argued to be equal to what they were made of"
    return said + table(caption, HEADINGS, rows, range(1, len(HEADINGS))) + _survivors(families)


def _row(name: str, counts: dict[str, Any]) -> list[Any]:
    drawn, killed, argued = (counts.get(key) or 0 for key in ("drawn", "killed", "argued"))
    return [name, str(drawn), str(killed), str(argued), str(drawn - killed - argued)]


def _survivors(families: dict[str, Any]) -> str:
    every = [one for counts in families.values() for one in counts.get("survivors") or []]
    items = "".join(
        f"<li><code>{text(one.get('module'))}:{text(one.get('line'))}</code> "
        f"{text(one.get('change'))}{_why(one)}</li>"
        for one in every
    )
    return f"<p>Survivors:</p><ul>{items}</ul>" if items else "<p>None survived.</p>"


def _why(survivor: dict[str, Any]) -> Markup:
    argument = survivor.get("argument") or survivor.get("reason")
    return Markup(f": {text(argument)}" if argument else "")
