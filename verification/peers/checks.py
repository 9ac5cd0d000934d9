"""What is claimed of a peer, and the verdict on the claim."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from itertools import combinations

from verification.peers.trajectories import Comparison, Start, compare, trajectory
from verification.problems import Problem

LIMIT = 1e-12
LIMIT_REASON = (
    "The parties compute the same sequences in different orders of operations. float64 rounds each "
    "of the few tens of operations of a step by at most 1.1e-16, and later gradients pass the "
    "differences on: 2e-14 is the most that was seen in 200 steps. The smallest mistake that the "
    "tests plant, AdamW's weight decay off by one part in a million, makes 4e-9 within 30."
)
# Parties that hardly move agree whatever they do.
SMALLEST_MOVE = 1e-2


@dataclass(frozen=True, kw_only=True)
class Check:
    """A claim that a peer agrees with us, or that it is known to differ.

    Attributes:
        method: The peer's name of the method.
        options: What was set, for the reader.
        peer: The peer's optimizer.
        ours: Our optimizers by the name of the party.
        agrees: Whether agreement is claimed; else a difference is.
        note: The cause of a difference, or what an agreement shows.
    """

    method: str
    options: str
    peer: Start
    ours: Mapping[str, Start]
    agrees: bool = True
    note: str = ""


@dataclass(frozen=True)
class Peer:
    """A package that others publish.

    Attributes:
        name: For the reader and the command line.
        distributions: What must be installed; the first gives the version.
        checks: () -> claims, called only where all of them are installed.
    """

    name: str
    distributions: tuple[str, ...]
    checks: Callable[[], list[Check]]

    def versions(self) -> dict[str, str] | None:
        """Distribution -> version, or None if one is not installed."""
        try:
            return {name: metadata.version(name) for name in self.distributions}
        except metadata.PackageNotFoundError:
            return None


@dataclass(frozen=True)
class Outcome:
    """One pair of parties of one check.

    Attributes:
        check: The claim.
        pair: Names of the two parties; differences are relative to the second.
        comparison: How far they are apart.
    """

    check: Check
    pair: tuple[str, str]
    comparison: Comparison

    @property
    def agrees_as_claimed(self) -> bool:
        """Whether agreement is claimed of this pair: always, between two parties of ours."""
        return self.check.agrees or "peer" not in self.pair

    @property
    def verdict(self) -> str:
        """What the comparison says.

        "agrees" and "differs" are as claimed. "DIFFERS" contradicts a claim of agreement and
        "AGREES" a recorded difference, whose record is then out of date. "MISTRUSTED": the
        parties did not move far enough for agreement to mean anything.
        """
        differs = self.comparison.first_step_over(LIMIT) is not None
        if differs:
            return "DIFFERS" if self.agrees_as_claimed else "differs"
        if not self.comparison.moved > SMALLEST_MOVE:
            return "MISTRUSTED"
        return "agrees" if self.agrees_as_claimed else "AGREES"

    @property
    def as_claimed(self) -> bool:
        """Whether the claim holds."""
        return self.verdict in ("agrees", "differs")


def run_check(check: Check, problem: Problem, steps: int) -> list[Outcome]:
    """Run every party of a check over the problem and compare each pair.

    Args:
        check: The claim.
        problem: Where gradients come from.
        steps: Number of steps.

    Returns:
        One outcome for each pair of parties.
    """
    starts = {**check.ours, "peer": check.peer}
    runs = {name: list(trajectory(problem, start, steps)) for name, start in starts.items()}
    return [
        Outcome(check, (one, other), compare(runs[one], runs[other]))
        for one, other in combinations(runs, 2)
    ]
