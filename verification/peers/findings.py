"""What the probes say, and how it is kept."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "CANNOT_SEE",
    "DEVIATES",
    "FAILS",
    "FAULTS",
    "NOTED",
    "OK",
    "Finding",
    "Found",
    "at_most",
]

OK = "ok"
DEVIATES = "deviates"
FAILS = "fails"
# A convention that users must know of, not a fault.
NOTED = "noted"
CANNOT_SEE = "cannot see"
FAULTS = (DEVIATES, FAILS)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a probe says of one optimizer.

    Attributes:
        verdict: One of the words above.
        detail: What happened, one sentence.
        effect: How large it is; None where it has no size.
        unit: Of what, such as "of |x|" or "leaves".
        limit: The largest effect that is "ok".
        case: What tells this apart from others of the probe, such as "EQ".
        reproduction: A program that shows it.
    """

    verdict: str
    detail: str = ""
    effect: float | None = None
    unit: str = ""
    limit: float | None = None
    case: str = ""
    reproduction: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding(Found):
    """A row of the table: what was found, of whom, by which probe."""

    peer: str
    version: str
    optimizer: str
    probe: str

    @property
    def place(self) -> str:
        """Peer and optimizer."""
        return f"{self.peer} {self.optimizer}"

    def row(self) -> dict[str, Any]:
        """Return what JSON can hold; it has no infinity."""
        row = asdict(self)
        if self.effect is not None and not math.isfinite(self.effect):
            row["effect"] = None
            row["detail"] = f"{self.detail} (the effect has no finite size)".strip()
        return row


def at_most(effect: float, limit: float, unit: str, detail: str, **fields: Any) -> Found:
    """Return "ok" or "deviates", whichever an effect with a limit makes it."""
    verdict = OK if effect <= limit else DEVIATES
    return Found(
        verdict=verdict, detail=detail, effect=float(effect), unit=unit, limit=limit, **fields
    )


def count(findings: Sequence[Finding], verdict: str) -> int:
    """Return how many findings have a verdict."""
    return sum(finding.verdict == verdict for finding in findings)
