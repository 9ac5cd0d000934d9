"""Trying mutants on the checks that run their lines."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from verification.case import Case
from verification.conviction import Conviction, Trial, convicted_by, first_trial
from verification.mutation.mutant import Mutant
from verification.mutation.reach import Reach, reaches
from verification.results import FLOAT64
from verification.runner import prepare
from verification.trajectory import Trajectory

__all__ = ["WHOLE", "Judge", "Judgement", "judge_with"]

# Seconds for one trial; those of the right version take a few.
LIMIT = 60.0
SHORT = 20.0
NOT_RUN = "no check runs this line"
# Seconds after which no further check is tried; a mutant is killed within one, nearly always.
WHOLE = 120.0
# Checks that are tried in full on what a first trial of all has missed.
MOST = 10


@dataclass(frozen=True)
class Judgement:
    """What became of a mutant.

    Attributes:
        mutant: The mutant.
        killed: Whether a check objected.
        by: Which did, or why none could.
        seconds: Time taken.
    """

    mutant: Mutant
    killed: bool
    by: str
    seconds: float


class Judge:
    """Tries mutants in one process, where what was compiled and what was traced stays."""

    def __init__(self, seed: int):
        """Read which checks run which lines.

        Args:
            seed: Of the inputs.
        """
        from verification.cases import all_checks

        self._seed = seed
        self._checks: Sequence[Any] = all_checks()
        self._reaches = reaches(seed)
        self._kills: Counter[tuple[str, int]] = Counter()

    def judge(self, mutant: Mutant) -> Judgement:
        """Try a mutant until a check objects."""
        found = [one for one in self._reaches if self._reached(one, mutant)]
        if not found:
            return Judgement(mutant, False, NOT_RUN, 0.0)
        # What has caught others of the module is likely to catch this one.
        found.sort(key=lambda one: (-self._kills[mutant.module, one.position], one.seconds))
        tried = _until(time.perf_counter() + WHOLE, self._trials(found))
        outcome = convicted_by(tried, mutant.module, mutant.source, self._seed)
        self._note(mutant, outcome, found)
        return Judgement(mutant, outcome.caught, outcome.by, outcome.seconds)

    @staticmethod
    def _reached(one: Reach, mutant: Mutant) -> bool:
        return one.runs(mutant.module, *mutant.lines, anywhere=not mutant.function)

    def _note(self, mutant: Mutant, outcome: Conviction, found: Sequence[Reach]) -> None:
        for one in found:
            if outcome.caught and outcome.by.startswith(self._checks[one.position].title):
                self._kills[mutant.module, one.position] += 1
                return

    def _trials(self, found: Sequence[Reach]) -> Iterator[Trial]:
        """Yield what is tried: a little of all, then more of some, then low precision."""
        checks = [self._checks[one.position] for one in found]
        for check in checks:
            yield replace(first_trial(check), limit=SHORT)
        trajectories = [check for check in checks if isinstance(check, Trajectory)]
        for check in trajectories[:MOST]:
            yield Trial(check, limit=LIMIT)
        for check in checks:
            if isinstance(check, Case) and check.invariants:
                yield Trial(check, limit=LIMIT, thorough=True)
        lower = [check for check in checks if set(check.dtypes) > {FLOAT64}]
        for check in lower[:MOST]:
            for dtype in set(check.dtypes) - {FLOAT64}:
                yield replace(first_trial(check), dtype=dtype, limit=LIMIT)


def judge_with(seed: int) -> Callable[[Mutant], Judgement]:
    """Set up this process, and return what judges in it."""
    prepare()
    return Judge(seed).judge


def _until(end: float, trials: Iterator[Trial]) -> Iterator[Trial]:
    for trial in trials:
        if time.perf_counter() > end:
            return
        yield trial
