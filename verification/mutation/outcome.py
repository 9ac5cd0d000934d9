"""What became of the mutants of a family, kept for the report."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from verification.mutation.equivalents import Equivalents
from verification.mutation.judging import Judgement
from verification.registry import ROOT

__all__ = ["FILE", "counts", "keep"]

FILE = ROOT / "verification" / "report" / "mutation.json"


def counts(found: Sequence[Judgement], argued: Equivalents) -> dict[str, Any]:
    """Return the figures of one family.

    Args:
        found: What became of its mutants.
        argued: Which of them compute the same.

    Returns:
        How many were drawn, killed and argued, and every survivor, those that are argued with
        their reason.
    """
    left = [one for one in found if not one.killed]
    survivors = [
        {
            "module": one.mutant.module,
            "line": one.mutant.line,
            "change": one.mutant.change,
            "reason": argued.reason(one.mutant),
        }
        for one in left
    ]
    return {
        "drawn": len(found),
        "killed": len(found) - len(left),
        "argued": sum(bool(survivor["reason"]) for survivor in survivors),
        "survivors": survivors,
    }


def keep(
    families: dict[str, dict[str, Any]], seed: int, command: str, sources: str, path: Path = FILE
) -> dict[str, Any]:
    """Write the figures of families; those of others stay if they are of the same sources.

    Args:
        families: Figures by family.
        seed: Of the draw.
        command: That made them.
        sources: Digest of the sources that they are of.
        path: Of the file.
    """
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    same = (before.get("digest"), before.get("seed")) == (sources, seed)
    kept = {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seed": seed,
        "digest": sources,
        "families": {**(before["families"] if same else {}), **families},
    }
    plain = json.dumps(kept, indent=1, ensure_ascii=False)
    path.write_text(plain + "\n", encoding="utf-8", newline="\n")
    return kept
