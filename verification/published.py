"""The committed summary of the last whole run, from which README.md and the index are written.

A report itself is not committed: it is large, and changes with every run. `python -m verification
publish` takes from it what the documents show, and says with what it was measured.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from verification.registry import ROOT, notes

__all__ = ["PUBLISHED", "family", "read", "stale", "summary_of", "total", "worst", "write"]

PUBLISHED = ROOT / "verification" / "published.json"
# Of the report, as they are there.
KEPT = ("command", "date", "device", "versions", "commit", "sources", "seed", "summary")
MUTANTS = ("drawn", "killed", "argued")
# What holds production against the reference; the other checks hold it against itself.
COMPARED = ("case", "teacher-forced")
UNITS = {"float64": "eps", "float32": "ratio to control", "bfloat16": "ratio to control"}
# An error is no more certain than this many digits of it.
DIGITS = 3


def summary_of(document: dict[str, Any], mutation: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what is published of a whole run.

    Args:
        document: Document of the report.
        mutation: What became of random mutants, where they were tried: `families` to counts.

    Raises:
        ValueError: Names, dtypes or faults are missing, so that this was no whole run.
    """
    entries = {entry["name"]: _entry(entry["name"], document) for entry in document["names"]}
    missing = sorted(set(notes()) - set(entries))
    missing += sorted(set(UNITS) - {result["dtype"] for result in document["results"]})
    missing += [] if document["faults"] else ["faults"]
    if missing:
        raise ValueError(
            f"this is no report of a whole run of these sources: it lacks {', '.join(missing)}; "
            "run: python -m verification run"
        )
    summary = {key: document.get(key) for key in KEPT}
    families = (mutation or {}).get("families") or {}
    summary["mutants"] = {
        name: {key: counts[key] for key in MUTANTS if key in counts}
        for name, counts in sorted(families.items())
    }
    summary["reproductions"] = [_reproduced(one) for one in document["reproductions"]]
    return summary | {"names": {name: entries[name] for name in sorted(entries)}}


def _reproduced(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what is published of a result that was measured again."""
    met = sum(row["verdict"] == "PASS" for row in entry["rows"])
    kept = {key: entry[key] for key in ("title", "source")}
    # An entry has lost its verdict where the sources have changed since.
    return kept | {"met": [met, len(entry["rows"])], "current": entry["passed"] is not None}


def _entry(name: str, document: dict[str, Any]) -> dict[str, Any]:
    from verification.report.summary import combined_verdict

    results = [one for one in document["results"] if one["name"] == name]
    faults = [one for one in document["faults"] if one["target"] == name]
    entry: dict[str, Any] = {
        "verdict": combined_verdict(results, faults),
        "checks": sum(one["verdict"] != "SKIPPED" for one in results),
        "passed": sum(one["verdict"] == "PASS" for one in results),
    }
    compared = [one for one in results if one["kind"] in COMPARED and one["error"] is not None]
    for dtype, unit in UNITS.items():
        measured = [one for one in compared if (one["dtype"], one.get("unit")) == (dtype, unit)]
        if measured:
            largest = max(measured, key=lambda one: _size(one["error"]))
            entry[dtype] = [_rounded(largest["error"]), _rounded(largest["budget"])]
    entry["faults"] = [sum(one["caught"] for one in faults), len(faults)]
    return entry


def _size(error: Any) -> float:
    """Return an error for comparison; what is not a number is the largest there is."""
    return math.inf if math.isnan(float(error)) else float(error)


def _rounded(value: Any) -> float | str | None:
    """Return a number with the digits that are kept; what JSON lacks stays a text."""
    if value is None or not math.isfinite(float(value)):
        return None if value is None else str(value)
    return float(f"{float(value):.{DIGITS}g}")


def write(summary: dict[str, Any], path: Path | None = None) -> None:
    """Write the summary, one name a line so that changes can be read.

    Args:
        summary: What `summary_of` returned.
        path: Where; in its place in the repository if none is given.
    """
    names = {name: json.dumps(entry) for name, entry in summary["names"].items()}
    head = json.dumps({**summary, "names": {}}, indent=1, ensure_ascii=False)
    lines = ",\n".join(f'  "{name}": {entry}' for name, entry in names.items())
    text = head.replace('"names": {}', f'"names": {{\n{lines}\n }}')
    (path or PUBLISHED).write_text(text + "\n", encoding="utf-8", newline="\n")


def read(path: Path | None = None) -> dict[str, Any]:
    """Return a summary: the committed one if no path is given.

    Raises:
        ValueError: There is none.
    """
    path = path or PUBLISHED
    if not path.exists():
        raise ValueError(f"there is no {path.name}; run: python -m verification publish")
    return json.loads(path.read_text(encoding="utf-8"))


def stale(summary: dict[str, Any]) -> list[str]:
    """Return the names that the summary lacks, and those that it has and nobody else."""
    return sorted(set(summary["names"]) ^ set(notes()))


def family(name: str) -> str:
    """Return the family of a name: what its note is called."""
    return Path(notes()[name].path).stem


def total(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts and worst errors of several names together."""
    every = list(entries)
    found: dict[str, Any] = {"names": len(every)}
    found |= {key: sum(one[key] for one in every) for key in ("checks", "passed")}
    found["faults"] = [sum(one["faults"][place] for one in every) for place in (0, 1)]
    return found | {dtype: worst(every, dtype) for dtype in UNITS}


def worst(entries: Iterable[dict[str, Any]], dtype: str) -> list[Any] | None:
    """Return the largest error of several names in a dtype and its budget, or None."""
    found = [one[dtype] for one in entries if dtype in one]
    return max(found, key=lambda pair: _size(pair[0]), default=None)
