"""A transformation of Optax held against a reference, from running it to the verdict."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from verification.conformance.gradients import stream
from verification.conformance.judging import judge
from verification.conformance.recording import Leaves
from verification.conformance.targets import Target, target
from verification.conformance.verdict import Conformance

__all__ = ["verify"]

STEPS = 20
DRAWS = ("unknown", "ours")
# Steps of a schedule beyond its end.
BEYOND = 3


def verify(
    transformation: Any,
    against: str,
    options: Mapping[str, Any] | None = None,
    *,
    evaluation: Callable[[Any, Any], Any] | None = None,
    problem: str = "real",
    steps: int = STEPS,
    draws: str = "unknown",
    explain: bool = True,
) -> Conformance:
    """Run a transformation in float64 and say whether it is the reference.

    Both are fed the same gradients, which depend on neither; so whatever is equal here is equal
    where gradients are those of the parameters.

    Args:
        transformation: Of Optax, or a schedule where the reference is one.
        against: Name of the reference, such as "schedule_free_adamw".
        options: Of the reference.
        evaluation: (state, parameters) -> parameters for evaluation, for a reference that has
            such; None does not compare them.
        problem: Where gradients come from, see `gradients.stream`.
        steps: The number of steps; a schedule is followed a little beyond its end.
        draws: "ours" if the transformation draws as ours does, from the key or seed of
            `draws.key_option`; "unknown" leaves what depends on draws undecided.
        explain: Whether to try conventions where it is not equal, which takes seconds.

    Returns:
        The verdict.

    Raises:
        ValueError: A name is unknown, or the reference does not allow an option.
        TypeError: The reference has no such option.
    """
    from verification.conformance import optax_runs

    row = target(against)
    options = _numbers(options or {})
    if row.schedule:
        recording = optax_runs.schedule_recording(transformation, options["total_steps"] + BEYOND)
        return judge(recording, against, options, explain=explain)
    start, gradients = stream(problem, steps)
    runs = optax_runs.recorder(
        transformation, start, gradients, evaluation if row.evaluation else None
    )
    repeated = _draws(draws, row, options, start)
    return judge(runs(None), against, options, explain=explain, rerun=runs, draws=repeated)


def _draws(
    draws: str, row: Target, options: Mapping[str, Any], start: Leaves
) -> dict[str, Any] | None:
    if draws not in DRAWS:
        raise ValueError(f"draws={draws!r} is not allowed; it must be one of {list(DRAWS)}")
    if draws == "unknown":
        return None
    from verification.conformance.draws import ours

    return ours(row, options, start)


def _numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in which schedules return numbers, computed in float64."""
    from verification.conformance.optax_runs import float64

    def in_numbers(schedule: Callable[[Any], Any]) -> Callable[[int], float]:
        @cache
        def rate(count: int) -> float:
            import jax.numpy as jnp

            with float64():
                return float(schedule(jnp.asarray(count)))

        return rate

    return {
        name: in_numbers(value) if callable(value) else value for name, value in options.items()
    }
