"""Other packages under the cases of this one: their section of the page.

`nox -s verify_peers` keeps its outcome in peers.json beside the reports; each report takes in what
lies there. It is not of this run: it says when and with what it was measured.
"""

import json
from pathlib import Path
from typing import Any

from verification.report.parts import Markup, badge, definitions, table, text
from verification.report.summary import format_number

__all__ = ["FILE", "section"]

FILE = Path(__file__).with_name("peers.json")
HEADINGS = ("Peer", "Optimizer", "Probe", "Verdict", "Effect", "Unit", "Detail", "Reproduce")
ABOUT = ("command", "date", "versions", "device")


def section(path: Path = FILE) -> str:
    """Return the table of peers, HTML; a sentence where none was judged.

    Args:
        path: where the outcome is kept.
    """
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows = _rows(kept)
    if not rows:
        return "<p>None were judged.</p>"
    about = kept if isinstance(kept, dict) else {}
    said = definitions([(term.capitalize(), _about(about.get(term))) for term in ABOUT])
    judged = table("Peers under the same cases", HEADINGS, [*map(_row, rows)], numeric=(4,))
    return said + _known(about.get("known", {})) + judged


def _rows(kept: Any) -> list[dict[str, Any]]:
    """Return the judged cases: the file itself, or the list of them that it has."""
    lists = [kept] if isinstance(kept, list) else [x for x in kept.values() if isinstance(x, list)]
    return next((one for one in lists if one and isinstance(one[0], dict)), [])


def _known(kept: dict[str, dict[str, str]]) -> str:
    """Return what was known of the peers before: found again, missed, and out of sight."""
    if not kept:
        return ""
    again, missed = len(kept["again"]), len(kept["missed"])
    said = (
        f"<p>{again} of {again + missed} known mistakes were found by probes not told of them.</p>"
    )
    names = {"missed": "Missed", "unseen": "Cannot be seen from outside", "skipped": "Not examined"}
    for key, title in names.items():
        if kept[key]:
            listed = definitions(list(kept[key].items()))
            said += f"<details><summary>{title}: {len(kept[key])}</summary>{listed}</details>"
    return said


def _row(one: dict[str, Any]) -> list[Any]:
    again = one.get("reproduction")
    return [
        _joined(one, "peer", "version"),
        one.get("optimizer"),
        _joined(one, "probe", "case"),
        badge(str(one.get("verdict") or "NOT RUN")),
        format_number(one.get("effect")),
        one.get("unit"),
        one.get("detail"),
        Markup(f"<details><summary>Show</summary><pre>{text(again)}</pre></details>")
        if again
        else None,
    ]


def _joined(one: dict[str, Any], *keys: str) -> str:
    return " ".join(str(one[key]) for key in keys if one.get(key))


def _about(value: Any) -> str | None:
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return None if value is None else str(value)
