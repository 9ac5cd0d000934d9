"""Measured speed beside other packages: its section of the page.

`nox -s bench_peers` keeps its figures in `benchmarks/results/`; each report takes in what lies
there. They are not of this run: every table says when and with what it was measured.
"""

import json
from pathlib import Path
from typing import Any

from verification.report.parts import REPOSITORY, Markup, definitions, table, text

__all__ = ["FOLDER", "section"]

FOLDER = REPOSITORY / "benchmarks" / "results"
HEADINGS = (
    "Peer",
    "Compile s",
    "×",
    "Step updated ms",
    "×",
    "over floor",
    "Step not updated ms",
    "×",
    "over floor",
    "1,000 steps s",
    "×",
    "Temporary MiB",
    "State MiB",
)
MIB = 2**20


def section(folder: Path = FOLDER) -> str:
    """Return the tables of all measurements, HTML; a sentence where there are none.

    Args:
        folder: where they are kept.
    """
    found = [(path.stem, json.loads(path.read_text("utf-8"))) for path in folder.glob("*.json")]
    measured = sorted((name, one) for name, one in found if "workloads" in one)
    if not measured:
        return "<p>Nothing has been measured.</p>"
    return "\n".join(_measurement(name, one) for name, one in measured)


def _measurement(name: str, one: dict[str, Any]) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in one["versions"].items())
    peers = "; ".join(
        f"{peer}: {', '.join(f'{package} {version}' for package, version in versions.items())}"
        for peer, versions in one["peers"].items()
    )
    said = definitions(
        [
            ("Command", Markup(f"<code>{text(one['command'])}</code>")),
            ("Date", one["date"]),
            ("Machine", f"{one['machine']}, {one['device']}"),
            ("Versions", versions),
            ("Of the peers", peers),
        ]
    )
    tables = [_workload(workload, summary) for workload, summary in one["workloads"].items()]
    return f"<h3>{text(name)}</h3>{said}{''.join(tables)}"


def _workload(workload: str, summary: dict[str, Any]) -> str:
    rates = summary["rates"]
    caption = (
        f"{workload}: medians of {summary['rounds']} rounds; × is the best other package over "
        f"this; the floor is that of {rates['flops_per_second'] / 1e9:.0f} GFLOP/s in products and "
        f"{rates['bytes_per_second'] / 1e9:.0f} GB/s in sums"
    )
    rows = [_row(row) for row in summary["rows"]]
    return table(caption, HEADINGS, rows, range(1, len(HEADINGS)))


def _row(row: dict[str, Any]) -> list[Any]:
    who = Markup(f"{text(row['peer'])} <code>{text(row['name'])}</code>")
    if "error" in row:
        return [who, row["error"], *[None] * (len(HEADINGS) - 2)]
    compiled = row["compile"]["seconds"]["median"]
    cells: list[Any] = [who, _number(compiled), _number(row.get("compile_gain"))]
    for kind in ("updated", "kept"):
        timed = row.get(kind)
        if not timed:
            cells += [None, None, None]
            continue
        cells += [_number(1e3 * timed["seconds"]["median"]), _number(timed.get("gain"))]
        cells.append(_number(timed["over_floor"]))
    steps = row["thousand"]
    cells.append(("" if steps["measured"] else "≈ ") + _number(steps["seconds"]))
    cells.append(_number(row.get("thousand_gain")))
    cells += [_number(row[name] / MIB) for name in ("temp_bytes", "state_bytes")]
    return cells


def _number(value: float | None) -> str:
    """Return a number to three figures, and to three places at most."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) >= 1 else 3}f}"
