"""What a check leaves behind."""

import enum
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["FLOAT64", "Finding", "Result", "Verdict"]

FLOAT64 = "float64"


class Verdict(enum.StrEnum):
    """Outcome of a check; anything but PASS and SKIPPED fails the run."""

    PASS = "PASS"
    FAIL = "FAIL"
    # The inputs could not tell right from wrong, or the budget is far above what was measured.
    MISTRUSTED = "MISTRUSTED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True)
class Finding:
    """The largest error of a check, and where it was.

    Attributes:
        error: In the unit of the check.
        where: Sample, step, field and leaf.
        detail: What else there is to say.
    """

    error: float = 0.0
    where: str = ""
    detail: str = ""

    def worse(self, other: "Finding") -> "Finding":
        """Return the finding with the larger error; one that is not a number is the largest."""
        return other if not other.error <= self.error else self


@dataclass(frozen=True)
class Result:
    """One row of the report.

    Attributes:
        name: Dotted name of what was checked.
        kind: `case`, `invariant`, `teacher-forced`, `free-running` or `equivalence`.
        dtype: Dtype in which production ran.
        verdict: Outcome.
        error: Largest error, in `unit`.
        budget: Largest error allowed.
        unit: `eps` (machine epsilons, times the condition number where one is stated) or
            `ratio to control`.
        reason: Why the budget is what it is.
        label: Which of several checks of one name and kind.
        where: Sample, step, field and leaf of the largest error.
        detail: What else there is to say.
        series: Error at each step, for trajectories.
        control_series: Error of the control at each step.
        floor_series: (step, least, largest): errors of the reference rounded at random.
        floor_runs: Number of runs that those are of.
        over_floor: Largest error over the largest of those, in the steps that have them.
        horizons: (level, step, first, last): where the error of a free run, of any run of its
            control and of every one is over so many epsilons; None if nowhere.
        seconds: Time taken.
        reproduce: Command that runs this check alone.
    """

    name: str
    kind: str
    dtype: str
    verdict: Verdict
    error: float
    budget: float
    unit: str
    reason: str
    label: str = ""
    field: str = ""
    where: str = ""
    detail: str = ""
    series: tuple[float, ...] = ()
    control_series: tuple[float, ...] = ()
    floor_series: tuple[tuple[float, float, float], ...] = ()
    floor_runs: int = 0
    over_floor: float | None = None
    horizons: tuple[tuple[float, int | None, int | None, int | None], ...] = ()
    seconds: float = 0.0
    reproduce: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run as a whole fails with this result."""
        return self.verdict in (Verdict.FAIL, Verdict.MISTRUSTED)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for the JSON report."""
        plain = asdict(self)
        plain["verdict"] = str(self.verdict)
        plain["series"] = list(self.series)
        plain["control_series"] = list(self.control_series)
        plain["floor_series"] = [list(point) for point in self.floor_series]
        plain["horizons"] = [list(horizon) for horizon in self.horizons]
        return plain
