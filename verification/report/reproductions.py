"""Results of papers that were measured again: their section of the page, and where they are kept.

They take minutes, so that a run of the checks does not repeat them. `python -m verification
reproduce` keeps its outcome in a file of its own, reproductions.json beside the folders of the
reports. It is committed, and every report that is written takes in what lies there. Each entry says
when and with what it was measured, and by a digest of the package's sources a later report says so
where they have changed since: its verdict is then NOT RUN.
"""

import hashlib
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from verification.report import plane, plots
from verification.report.identity import reproduction_id
from verification.report.parts import REPOSITORY, badge, definitions, self_link, table, text

__all__ = ["FILE", "PACKAGE", "digest", "read", "section", "verdict_of", "write"]

FILE = "reproductions.json"
PACKAGE = REPOSITORY / "packages" / "rollfast" / "src" / "rollfast"
VERDICT = "verdict"
SOURCES = "sources"
OUTDATED = "The sources of the package have changed since; the numbers are those of then."


def digest(folder: Path = PACKAGE) -> str:
    """Return a digest of the Python sources under a folder, tests apart: names and text."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        if "tests" not in inside.parts:
            content = path.read_bytes().replace(b"\r\n", b"\n")
            found.update(f"{inside.as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def write(
    entries: list[dict[str, Any]], run: str, folder: Path, sources: str, titles: Sequence[str]
) -> Path:
    """Keep reproductions for the reports to come; those of other titles stay as they are.

    Args:
        entries: as schema.json has them.
        run: when, where and with what they were measured.
        folder: where to keep them.
        sources: digest of the sources that they were measured with, see `digest`.
        titles: of all reproductions that there are, in their order; others are dropped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    found = {entry["title"]: entry for entry in _kept(path)}
    for entry in entries:
        found[entry["title"]] = {**entry, "run": run, SOURCES: sources}
    kept = {"entries": [found[title] for title in titles if title in found]}
    plain = json.dumps(kept, indent=1, ensure_ascii=False)
    path.write_text(plain + "\n", encoding="utf-8", newline="\n")
    return path


def read(folder: Path, sources: str) -> list[dict[str, Any]]:
    """Return the reproductions that are kept in a folder; none where there are none.

    Args:
        folder: where they are kept.
        sources: digest of the sources as they are now. Entries measured with others lose their
            verdict and say so.
    """
    found = []
    for kept in _kept(folder / FILE):
        entry = {key: value for key, value in kept.items() if key != SOURCES}
        if kept[SOURCES] != sources:
            entry |= {"passed": None, "run": f"{entry['run']} {OUTDATED}"}
        found.append(entry)
    return found


def _kept(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a file, each with its digest; none where there is no file."""
    if not path.exists():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    # Before an entry had a digest of its own there was one for all.
    common = {SOURCES: kept[SOURCES]} if SOURCES in kept else {}
    return [{**entry, **common} for entry in kept["entries"]]


def verdict_of(entry: dict[str, Any]) -> str:
    """Return the verdict of a reproduction in a word."""
    return {True: "PASS", False: "FAIL", None: "NOT RUN"}[entry["passed"]]


def section(reproductions: list[dict[str, Any]]) -> str:
    """Return the reproductions as HTML."""
    if not reproductions:
        return "<p>None in this run.</p>"
    return "".join(_reproduction(entry) for entry in reproductions)


def _reproduction(entry: dict[str, Any]) -> str:
    """Claim and criterion, tables of limits and of numbers, and only then the curves."""
    claim = f"<p>{text(entry['claim'])}</p>" if entry.get("claim") else ""
    known = [(term, entry.get(key)) for term, key in (("Source", "source"), ("Measured", "run"))]
    if entry.get("seconds") is not None:
        known.append(("Took", f"{entry['seconds']:.0f} s, its parts added up"))
    facts = definitions(known) if any(value for _, value in known) else ""
    identifier = reproduction_id(entry)
    return (
        f'<section class="reproduction" id="{escape(identifier)}">'
        f"<h3>{self_link(entry['title'], identifier)} {badge(verdict_of(entry))}</h3>"
        f"{claim}<p>Criterion: {text(entry['criterion'])}</p>"
        f"{facts}{_rows(entry['title'], entry['rows'])}{_tables(entry)}"
        f"{_figure(entry)}{plane.plot(entry.get('plane'))}</section>"
    )


def _tables(entry: dict[str, Any]) -> str:
    return "".join(_rows(one["caption"], one["rows"]) for one in entry.get("tables", []))


def _rows(caption: str, entries: list[dict[str, Any]]) -> str:
    if not entries:
        return ""
    columns = list(dict.fromkeys(column for row in entries for column in row))
    numeric = [
        index
        for index, column in enumerate(columns)
        if column != VERDICT and all(_is_number(row.get(column)) for row in entries)
    ]
    rows = [[_cell(column, row.get(column)) for column in columns] for row in entries]
    return table(caption, columns, rows, numeric)


def _figure(entry: dict[str, Any]) -> str:
    axes = plots.Axes(
        entry["title"],
        entry.get("y_label", "value"),
        entry.get("x_label", "step"),
        entry.get("y_scale", "log") == "log",
        entry.get("stride", 1),
    )
    series = enumerate(entry["series"].items())
    return plots.plot([plots.Series(x, values, "line", i) for i, (x, values) in series], axes)


def _is_number(value: Any) -> bool:
    """Say whether a cell of a column of numbers may hold this; missing ones are no objection."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(column: str, value: Any) -> Any:
    if column == VERDICT and isinstance(value, str):
        return badge(value)
    return f"{value:.4g}" if isinstance(value, float) else value
