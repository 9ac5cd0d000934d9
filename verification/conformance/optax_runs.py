"""Running a transformation of Optax in float64, by itself or from given parameters."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from verification.conformance.recording import Leaves, Recording
from verification.wide_numbers import enable_x64

__all__ = ["float64", "record", "recorder", "schedule_recording"]

Evaluation = Callable[[Any, Any], Any]


@contextmanager
def float64() -> Iterator[None]:
    """Let JAX compute in float64 inside."""
    with enable_x64(True):
        yield


def record(
    transformation: optax.GradientTransformation,
    parameters: Leaves,
    gradients: Sequence[Leaves],
    evaluation: Evaluation | None = None,
    held: Sequence[Leaves] | None = None,
) -> Recording:
    """Run a transformation and record what it does.

    Args:
        transformation: What is run. Its updates are added to the parameters.
        parameters: Those before the first step.
        gradients: Those of each step.
        evaluation: (state, parameters) -> parameters for evaluation.
        held: The parameters before each step, in place of its own.

    Returns:
        The recording. What is raised ends it, and is kept as text.
    """
    return recorder(transformation, parameters, gradients, evaluation)(held)


def recorder(
    transformation: optax.GradientTransformation,
    parameters: Leaves,
    gradients: Sequence[Leaves],
    evaluation: Evaluation | None = None,
) -> Callable[[Sequence[Leaves] | None], Recording]:
    """Return what runs a transformation any number of times, and compiles it once.

    Args:
        transformation: See `record`.
        parameters: See `record`.
        gradients: See `record`.
        evaluation: See `record`.

    Returns:
        held -> recording, see `record`.
    """

    @jax.jit
    def step(gradient: Any, state: Any, params: Any) -> Any:
        updates, state = transformation.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return state, params, None if evaluation is None else evaluation(state, params)

    def attempt(held: Sequence[Leaves] | None, widen: Callable[[Any], Any]) -> Recording:
        points, averages, raised = [dict(parameters)], [], ""
        try:
            with float64():
                params = _arrays(parameters)
                state = widen(transformation.init(params))
                for index, gradient in enumerate(gradients):
                    before = params if held is None else _arrays(held[index])
                    state, params, average = step(_arrays(gradient), state, before)
                    points.append(_numbers(params))
                    averages.append(_numbers(average or {}))
        except Exception as error:  # Whatever a stranger raises is a finding about it.
            raised = f"{type(error).__name__}: {error}".splitlines()[0]
        return Recording(
            parameters=points,
            gradients=gradients,
            evaluation=None if evaluation is None else averages,
            raised=raised,
        )

    def run(held: Sequence[Leaves] | None = None) -> Recording:
        recording = attempt(held, _with_wide_counts)
        return attempt(held, lambda state: state) if recording.raised else recording

    return run


def _with_wide_counts(state: Any) -> Any:
    """Return a state whose counts are of 64 bits.

    JAX divides a count of 32 bits in float32, whatever else is in float64, so that a schedule
    would be off by more than anything that is looked for here.
    """
    return jax.tree.map(
        lambda leaf: (
            leaf.astype(jnp.int64)
            if np.shape(leaf) == () and getattr(leaf, "dtype", None) == jnp.int32
            else leaf
        ),
        state,
    )


def schedule_recording(schedule: Callable[[Any], Any], steps: int) -> Recording:
    """Return the rates of a schedule as the parameters of a recording."""
    with float64():
        rates = [np.asarray(schedule(jnp.asarray(count)), np.float64) for count in range(steps)]
    points = [{"rate": np.zeros(())}, *({"rate": rate} for rate in rates)]
    return Recording(parameters=points, gradients=[{"rate": np.ones(())}] * steps)


def _arrays(leaves: Leaves) -> dict[str, jax.Array]:
    return {leaf: jnp.asarray(value) for leaf, value in leaves.items()}


def _numbers(leaves: Any) -> dict[str, np.ndarray]:
    return {leaf: np.asarray(value) for leaf, value in leaves.items()}
