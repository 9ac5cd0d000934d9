"""What was known of the peers, held against what the probes have found."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verification.peers.findings import FAULTS, NOTED, Finding

__all__ = ["Known", "Recall", "load", "recall"]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A row of `known.toml`, which says what each field means."""

    name: str
    text: str
    found: tuple[tuple[str, str, str, str], ...] = ()
    noted: bool = False
    unseen: str = ""

    def missing(self, findings: Sequence[Finding]) -> list[tuple[str, str, str, str]]:
        """Return the places where no probe has said so."""
        verdicts = (*FAULTS, NOTED) if self.noted else FAULTS
        said = [finding for finding in findings if finding.verdict in verdicts]
        return [
            place
            for place in self.found
            if not any(
                (one.peer, one.optimizer, one.probe) == place[:3] and place[3] in one.case
                for one in said
            )
        ]


@dataclass(frozen=True)
class Recall:
    """What of the known was found again by a run.

    Attributes:
        again: Those that were.
        missed: Those that were not, with the places where they should have been.
        unseen: Those that cannot be seen from outside.
        skipped: Those of peers that were not examined.
    """

    again: list[Known]
    missed: list[tuple[Known, list[tuple[str, str, str, str]]]]
    unseen: list[Known]
    skipped: list[Known]

    def lines(self) -> list[str]:
        """Say it."""
        tried = len(self.again) + len(self.missed)
        lines = [f"found again, without being told: {len(self.again)} of {tried} that are known"]
        for known, places in self.missed:
            where = "; ".join(" / ".join(filter(None, place)) for place in places)
            lines.append(f"MISSED {known.name}: {known.text} ({where})")
        if self.skipped:
            names = ", ".join(known.name for known in self.skipped)
            lines.append(f"not examined: {names}")
        lines += [
            f"cannot be seen: {known.name}, {known.text}: {known.unseen}" for known in self.unseen
        ]
        return lines

    def row(self) -> dict[str, object]:
        """Return what JSON can hold."""
        return {
            "again": {known.name: known.text for known in self.again},
            "missed": {known.name: known.text for known, _ in self.missed},
            "unseen": {known.name: f"{known.text}: {known.unseen}" for known in self.unseen},
            "skipped": {known.name: known.text for known in self.skipped},
        }


def load() -> list[Known]:
    """Return what is known."""
    text = Path(__file__).with_name("known.toml").read_text(encoding="utf-8")
    return [
        Known(name=name, **{**row, "found": tuple(map(tuple, row.get("found", ())))})
        for name, row in tomllib.loads(text).items()
    ]


def recall(findings: Sequence[Finding], known: Sequence[Known]) -> Recall:
    """Hold what is known against what was found.

    Args:
        findings: All of a run.
        known: What is known; a row one of whose peers was not examined is skipped.

    Returns:
        What was found again, and what was not.
    """
    examined = {finding.peer for finding in findings}
    result = Recall([], [], [one for one in known if not one.found], [])
    for one in known:
        if not one.found:
            continue
        if any(place[0] not in examined for place in one.found):
            result.skipped.append(one)
        elif missing := one.missing(findings):
            result.missed.append((one, missing))
        else:
            result.again.append(one)
    return result
