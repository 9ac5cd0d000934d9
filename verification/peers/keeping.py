"""The outcome of runs as a file: one peer may be examined anew, and the others stay."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from verification.peers.findings import Finding
from verification.peers.known import Recall

__all__ = ["FILE", "findings_of", "read", "write"]

FILE = Path(__file__).parents[1] / "report" / "peers.json"


def read(path: Path) -> dict[str, Any]:
    """Return what a file keeps; nothing if it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def findings_of(kept: Mapping[str, Any]) -> list[Finding]:
    """Return the findings that a file keeps."""
    names = {field.name for field in fields(Finding)}
    return [
        Finding(**{key: value for key, value in row.items() if key in names})
        for row in kept.get("findings", ())
    ]


def write(
    path: Path,
    findings: Sequence[Finding],
    versions: Mapping[str, str],
    recalled: Recall,
) -> None:
    """Write findings, with when and with what they were made."""
    kept = {
        "command": "python -m verification.peers",
        "date": datetime.now(UTC).date().isoformat(),
        "device": f"CPU, {platform.machine()}",
        "versions": dict(versions),
        "known": recalled.row(),
        "findings": [finding.row() for finding in findings],
    }
    text = json.dumps(kept, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
