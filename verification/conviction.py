"""Running checks against a wrong version of production until one of them objects."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from verification.equivalence import Equivalence
from verification.mutants import replaced, source_of
from verification.results import FLOAT64, Result

__all__ = ["Conviction", "by_relevance", "convict", "edited"]


@dataclass(frozen=True)
class Conviction:
    """Whether a wrong version was caught, and by what.

    Attributes:
        caught: Whether a check failed.
        by: Title of the check that failed first, or of what was raised.
        error: Its error, in its unit.
        seconds: Time taken.
    """

    caught: bool
    by: str = ""
    error: float = float("nan")
    seconds: float = 0.0


def by_relevance(checks: Sequence[Any], target: str, also: Sequence[str] = ()) -> list[Any]:
    """Return the checks at float64, those of the target first, then its module's."""
    module = target.rpartition(".")[0]

    def rank(check: Any) -> tuple[int, bool]:
        two_ways = isinstance(check, Equivalence)
        if check.name == target or check.name in also:
            return 0, two_ways
        return 1 if check.name.startswith(module) else 2, two_ways

    return sorted((check for check in checks if FLOAT64 in check.dtypes), key=rank)


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
    import jax

    start = time.perf_counter()
    with replaced(module, source), jax.enable_x64(True):
        for check in checks:
            try:
                results: list[Result] = check.run(FLOAT64, seed, thorough=False)
            except Exception as error:  # A wrong version may fail in any way.
                if not raising_counts:
                    continue
                by = f"{check.title}: {type(error).__name__}"
                return Conviction(True, by, float("inf"), time.perf_counter() - start)
            failed = [result for result in results if result.failed]
            if failed:
                seconds = time.perf_counter() - start
                return Conviction(True, check.title, failed[0].error, seconds)
    return Conviction(False, seconds=time.perf_counter() - start)


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
