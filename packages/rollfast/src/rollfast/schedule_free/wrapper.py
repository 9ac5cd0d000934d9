"""Schedule-Free around any Optax optimizer."""

import functools
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rollfast import guards
from rollfast.injected import rebuilt_on_automatic_axes
from rollfast.options import (
    check_choice,
    check_dtype,
    check_flag,
    check_interval,
    check_number,
)
from rollfast.schedule_free import sequences
from rollfast.schedule_free.weighting import (
    WEIGHTINGS,
    averaging_coefficient,
    averaging_weight,
)
from rollfast.trees.precision import cast_like, copied, to_accumulators
from rollfast.trees.shapes import check_shapes
from rollfast.typing import (
    Array,
    DTypeLike,
    Number,
    PyTree,
    ScalarOrSchedule,
    is_absent,
    scalar_dtype,
)

__all__ = ["ScheduleFreeState", "schedule_free", "schedule_free_eval_params"]


class ScheduleFreeState(NamedTuple):
    """State of `schedule_free`.

    Attributes:
        b1: β of the interpolation, a scalar.
        weight_sum: Sum of the averaging weights, a scalar.
        max_learning_rate: Largest learning rate so far, a scalar.
        step_count: Steps taken, int32.
        base_state: State of the base optimizer.
        z: Iterate of the base optimizer, in the structure of the parameters.
        x: The average, kept only where β is 0 or not a Python number (an injected one may
            change); else None, as x follows from the parameters and z.
    """

    b1: Array
    weight_sum: Array
    max_learning_rate: Array
    step_count: Array
    base_state: PyTree
    z: PyTree
    x: PyTree | None


@rebuilt_on_automatic_axes
def schedule_free(
    base_optimizer: optax.GradientTransformation,
    learning_rate: ScalarOrSchedule,
    *,
    b1: Number = 0.9,
    weighting_mode: str = "schedulet",
    state_dtype: DTypeLike | None = None,
    averaging_power: Number = 0.0,
    use_max_learning_rate: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Average the iterates of an optimizer so that its learning rate need not decay.

    The base optimizer steps z; x is the weighted average of its iterates; parameters under
    training are y = (1-β) z + β x, where gradients are taken. Evaluate at x, which
    `schedule_free_eval_params` returns.

    Args:
        base_optimizer: Makes the step of z, learning rate and sign included. It is handed y as
            the parameters, so its weight decay is taken at y. Its own momentum is best off. Its
            limit on the norm of gradients, if it is not inside of a chain, becomes that of the
            whole: a step that it would skip moves no sequence.
        learning_rate: The rate that the base optimizer uses at the same step, a number or a
            schedule; it only weights the average.
        b1: β of the interpolation, in [0, 1].
        weighting_mode: `theoretical` (equal weights), `schedulet` (γ) or `practical` (γ²).
        state_dtype: Dtype in which z is kept, and x where it is; float32 at least if None.
        averaging_power: r of the weight (t+1)ʳ.
        use_max_learning_rate: Whether the weight is made of the largest rate so far, as in the
            released package. It matters where the schedule decays.

    Returns:
        A transformation with `ScheduleFreeState`, whose `update` needs the parameters. A step
        with a gradient that is not finite returns zero updates and the state as it was.

    Raises:
        ValueError: An option is out of its range, or `update` gets no parameters.

    Source: arXiv 2405.15682v4, equations (3) to (5) and theorem 2; arXiv 2511.07767v1.
    """
    check_number("learning_rate", learning_rate, schedule=True)
    check_interval("b1", b1, 0, 1)
    check_choice("weighting_mode", weighting_mode, WEIGHTINGS)
    check_interval("averaging_power", averaging_power, 0, float("inf"))
    check_dtype("state_dtype", state_dtype)
    check_flag("use_max_learning_rate", use_max_learning_rate)
    weigh = functools.partial(
        _weighed, mode=weighting_mode, power=averaging_power, by_largest=use_max_learning_rate
    )
    # Without a β that is known to be positive x cannot be relied on to follow from y and z.
    keeps_average = not (isinstance(b1, Real) and b1 > 0)
    unprotected, limits = guards.without_guard(base_optimizer)
    base = optax.with_extra_args_support(unprotected)

    def init(params: PyTree) -> ScheduleFreeState:
        zero = jnp.zeros([], scalar_dtype())
        return ScheduleFreeState(
            b1=jnp.asarray(b1, scalar_dtype()),
            weight_sum=zero,
            max_learning_rate=jnp.zeros_like(zero),
            step_count=jnp.zeros([], jnp.int32),
            base_state=base.init(to_accumulators(params)),
            z=copied(params, state_dtype),
            x=copied(params, state_dtype) if keeps_average else None,
        )

    def update(
        updates: PyTree,
        state: ScheduleFreeState,
        params: PyTree | None = None,
        *,
        measured: guards.Measured = guards.Measured(),  # noqa: B008
        **extra: Any,
    ) -> tuple[PyTree, ScheduleFreeState]:
        if params is None:
            raise ValueError("schedule_free needs params: call update(grads, state, params).")
        check_shapes("updates", updates, state.z)
        if limits.get("inner_skips"):
            extra["measured"] = measured
        y = to_accumulators(params)
        step, base_state = base.update(to_accumulators(updates), state.base_state, y, **extra)
        rate = learning_rate(state.step_count) if callable(learning_rate) else learning_rate
        c, weight_sum, largest = weigh(state, jnp.asarray(rate, scalar_dtype()))
        between = jnp.asarray(b1, scalar_dtype())
        change, z, x = _moved(state, y, step, between, c)
        own = ScheduleFreeState(
            b1=between,
            weight_sum=weight_sum,
            max_learning_rate=largest,
            step_count=optax.safe_increment(state.step_count),
            base_state=None,
            z=z,
            x=x,
        )
        own = guards.taken(measured.sound, own, state._replace(base_state=None))
        change = guards.zero_unless(measured.sound, change)
        return cast_like(change, updates), own._replace(base_state=base_state)

    return guards.skip_unsound_steps(optax.GradientTransformationExtraArgs(init, update), **limits)


def _weighed(
    state: ScheduleFreeState, rate: Array, mode: str, power: Number, by_largest: bool
) -> tuple[Array, Array, Array]:
    """Return (averaging coefficient, sum of weights, largest rate) of a step."""
    largest = jnp.maximum(state.max_learning_rate, rate)
    counted = largest if by_largest else rate
    weight = averaging_weight(counted, state.step_count, mode, power)
    weight_sum = state.weight_sum + weight
    return averaging_coefficient(weight, weight_sum), weight_sum, largest


def _moved(
    state: ScheduleFreeState, y: PyTree, step: PyTree, between: Array, c: Array
) -> tuple[PyTree, PyTree, PyTree | None]:
    """Return (change of y, z, x) after a step of z."""
    z = cast_like(state.z, y)
    moved = jax.tree.map(jnp.add, z, step)
    x = state.x
    if x is None:
        change = _map(sequences.iterate_update, y, z, step, scalars=(between, c))
    else:
        averaged = _map(sequences.average, cast_like(x, y), moved, scalars=(c,))
        there = _map(sequences.interpolate, averaged, moved, scalars=(between,))
        change, x = jax.tree.map(jnp.subtract, there, y), cast_like(averaged, x)
    return change, cast_like(moved, state.z), x


def _map(function: Callable[..., Array], *trees: PyTree, scalars: tuple[Array, ...]) -> PyTree:
    """Apply a function of leaves and scalars, the scalars in the real dtype of each leaf."""

    def apply(*leaves: Array) -> Array:
        real = jnp.finfo(leaves[0].dtype).dtype
        return function(*leaves, *(scalar.astype(real) for scalar in scalars))

    return jax.tree.map(apply, *trees)


def schedule_free_eval_params(state: PyTree, params: PyTree) -> PyTree:
    """Return x, the parameters to evaluate, from the parameters under training.

    Args:
        state: State of `schedule_free`, or one that holds it anywhere: in a chain, a mask,
            several partitions, injected hyperparameters or accumulated steps.
        params: Parameters under training, y.

    Returns:
        A tree like `params`, in its dtypes; leaves under no Schedule-Free state as they are.

    Raises:
        ValueError: There is no `ScheduleFreeState` in the state.
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, ScheduleFreeState))
    found = [node for node in nodes if isinstance(node, ScheduleFreeState)]
    if not found:
        raise ValueError(
            f"there is no ScheduleFreeState in the state given, a {type(state).__name__}; "
            "pass the state that a schedule_free optimizer returned."
        )
    for node in found:
        params = _evaluate(node, params)
    return params


def _evaluate(state: ScheduleFreeState, params: PyTree) -> PyTree:
    def point(z: Array, y: Array) -> Array:
        if is_absent(z):
            return y
        wide = to_accumulators(y)
        real = jnp.finfo(wide.dtype).dtype
        x = sequences.evaluation_point(wide, z.astype(wide.dtype), state.b1.astype(real))
        return x.astype(y.dtype)

    if state.x is not None:
        return jax.tree.map(
            lambda x, y: y if is_absent(x) else x.astype(y.dtype),
            state.x,
            params,
            is_leaf=is_absent,
        )
    return jax.tree.map(point, state.z, params, is_leaf=is_absent)
