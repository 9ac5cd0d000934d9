"""Running checks against a wrong version of production until one of them objects.

Compiling takes most of a check's time, so what was traced is interpreted: a few steps of every
trajectory first, then all. An objection counts only if the check has none to the right version,
tried in the same way; a check that has is compiled instead.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from verification.equivalence import Equivalence
from verification.interpreter import interpreting
from verification.limit import limited
from verification.mutants import replaced, source_of, unchanged
from verification.recall import recalling
from verification.results import FLOAT64, Result, Verdict
from verification.trajectory import Trajectory
from verification.wide_numbers import enable_x64

__all__ = [
    "Conviction",
    "Trial",
    "by_relevance",
    "convict",
    "convicted_by",
    "edited",
    "first_trial",
    "passes_right",
]

# Steps of a trajectory before all of them: most that is wrong is wrong at once.
FEW = 2
# How many checks come before a trajectory is taken up again, with all its steps.
WHOLE_AFTER = 12
# Whether the right version passes a trial, in this process.
_RIGHT: dict[Any, bool] = {}


@dataclass(frozen=True)
class Conviction:
    """Whether a wrong version was caught, and by what.

    Attributes:
        caught: Whether a check failed.
        by: Title of the check that failed first, or of what was raised.
        error: Its error, in its unit.
        seconds: Time taken.
        raised: Whether it was caught by what it raised.
    """

    caught: bool
    by: str = ""
    error: float = float("nan")
    seconds: float = 0.0
    raised: bool = False


@dataclass(frozen=True)
class Trial:
    """A check, and how it is run.

    Attributes:
        check: The check.
        dtype: Its dtype.
        compiles: Whether functions under test are compiled.
        steps: Steps of a trajectory; None for all.
        limit: Seconds that it may take; None for any number.
        thorough: Whether properties of the result are looked at too.
    """

    check: Any
    dtype: str = FLOAT64
    compiles: bool = False
    steps: int | None = None
    limit: float | None = None
    thorough: bool = False

    def key(self, seed: int) -> tuple[Any, ...]:
        """Return what tells this trial from others."""
        return id(self.check), self.dtype, self.compiles, self.steps, self.thorough, seed

    def in_full(self) -> "Trial":
        """Return the trial as the harness runs it."""
        return replace(self, compiles=True, steps=None)

    def objection(self, seed: int) -> "Conviction | None":
        """Run the check on what is loaded now, and return what it says against it, if anything."""
        try:
            with limited(self.limit):
                found = self._failure(seed)
        except Exception as error:  # A wrong version may fail in any way.
            by = f"{self.check.title}: {type(error).__name__}"
            return Conviction(True, by, float("inf"), raised=True)
        return None if found is None else Conviction(True, self.check.title, found.error)

    def _failure(self, seed: int) -> Result | None:

        few = {} if self.steps is None else {"steps": self.steps}
        with enable_x64(self.dtype == FLOAT64), interpreting(not self.compiles):
            results: list[Result] = self.check.run(self.dtype, seed, thorough=self.thorough, **few)
        return next((result for result in results if _objects(result)), None)


def _objects(result: Result) -> bool:
    """Say whether a result is against what was run, and not only against its own budget."""
    return result.failed and (result.verdict is Verdict.FAIL or result.kind == "equivalence")


def first_trial(check: Any) -> Trial:
    """Return the cheapest trial of a check, in the widest dtype that it has."""
    dtype = FLOAT64 if FLOAT64 in check.dtypes else check.dtypes[0]
    return Trial(check, dtype, steps=FEW if isinstance(check, Trajectory) else None)


def by_relevance(checks: Sequence[Any], target: str, also: Sequence[str] = ()) -> list[Any]:
    """Return the checks at float64, those of the target first, then its module's."""
    module = target.rpartition(".")[0]

    def rank(check: Any) -> tuple[int, bool]:
        two_ways = isinstance(check, Equivalence)
        if check.name == target or check.name in also:
            return 0, two_ways
        return 1 if check.name.startswith(module) else 2, two_ways

    return sorted((check for check in checks if FLOAT64 in check.dtypes), key=rank)


def _trials(checks: Sequence[Any]) -> list[Trial]:
    """Return how checks are tried at float64, in turn; what takes longer comes later."""
    delayed: list[tuple[int, Trial]] = []
    for position, check in enumerate(checks):
        if isinstance(check, Trajectory):
            delayed.append((position + WHOLE_AFTER, Trial(check)))
        delayed.append((position, first_trial(check)))
    interpreted = [trial for _, trial in sorted(delayed, key=lambda pair: pair[0])]
    return [*interpreted, *(Trial(check, compiles=True) for check in checks)]


def convict(
    module: str,
    source: str,
    checks: Sequence[Any],
    seed: int = 0,
    *,
    raising_counts: bool = True,
) -> Conviction:
    """Try checks in turn on production with one module replaced.

    Args:
        module: Dotted name of the module, below the package.
        source: Source of the wrong version.
        checks: Checks to try, in order.
        seed: Seed of their inputs.
        raising_counts: Whether a version that raises is caught by that. A version that is meant
            to run, and compute something else, must be caught by what it computes.
    """
    return convicted_by(_trials(checks), module, source, seed, raising_counts=raising_counts)


def convicted_by(
    tried: Iterable[Trial], module: str, source: str, seed: int = 0, *, raising_counts: bool = True
) -> Conviction:
    """Do as `convict` does, with trials of one's own."""
    start = time.perf_counter()
    with replaced(module, source), recalling(module):
        for trial in tried:
            for one in (trial, trial.in_full()):
                if not _RIGHT.get(one.key(seed), True):
                    continue
                found = one.objection(seed)
                if found is None:
                    break
                if passes_right(one, seed):
                    if found.raised and not raising_counts:
                        break
                    return replace(found, seconds=time.perf_counter() - start)
    return Conviction(False, seconds=time.perf_counter() - start)


def passes_right(trial: Trial, seed: int) -> bool:
    """Say whether the right version passes a trial; without that an objection means nothing."""
    key = trial.key(seed)
    if key not in _RIGHT:
        with unchanged(), recalling(""):
            _RIGHT[key] = trial.objection(seed) is None
    return _RIGHT[key]


def edited(module: str, old: str, new: str) -> str:
    """Return the source of a production module with one text replaced.

    Raises:
        ValueError: The text does not stand in the module exactly once.
    """
    source = source_of(module)
    if source.count(old) != 1:
        raise ValueError(
            f"{old!r} stands {source.count(old)} times in {module}; it must stand once"
        )
    return source.replace(old, new)
