"""A preconditioned direction, followed by decay and the step along it."""

import math
from numbers import Real

import jax
import optax

from rollfast import guards
from rollfast.options import check_interval, check_number
from rollfast.trees.precision import in_accumulator_dtype
from rollfast.trees.shapes import check_shapes
from rollfast.typing import Number, PyTree, ScalarOrSchedule

__all__ = ["descend"]


def descend(
    preconditioned: optax.GradientTransformation,
    learning_rate: ScalarOrSchedule,
    weight_decay: Number,
    mask: PyTree | None,
) -> optax.GradientTransformationExtraArgs:
    """Step along a direction, W ← W - η (u + λ W).

    Args:
        preconditioned: A guarded transformation that skips unsound steps by itself.
        learning_rate: η.
        weight_decay: λ.
        mask: Which leaves decay; all if None.

    Raises:
        ValueError: The decay is negative, or one of both is no finite number.
    """
    check_number("learning_rate", learning_rate, schedule=True)
    check_interval("weight_decay", weight_decay, 0, math.inf)
    first, limits = guards.without_guard(preconditioned)
    stepped = optax.scale_by_learning_rate(learning_rate)
    # Without decay no parameters are needed.
    decays = not (isinstance(weight_decay, Real) and weight_decay == 0)
    if decays:
        decayed = _of_equal_shapes(optax.add_decayed_weights(weight_decay, mask))
        stepped = optax.chain(decayed, stepped)
    # A number times a direction of zeros is zero.
    selects = decays or not isinstance(learning_rate, Real)
    together = _followed_by(first, stepped, selects)
    return guards.skip_unsound_steps(in_accumulator_dtype(together), **limits)


def _of_equal_shapes(decayed: optax.GradientTransformation) -> optax.GradientTransformation:
    """Refuse parameters that would be broadcast against their directions."""

    def update(
        updates: PyTree, state: PyTree, params: PyTree | None = None
    ) -> tuple[PyTree, PyTree]:
        if jax.tree.structure(params) == jax.tree.structure(updates):
            check_shapes("params", params, updates)
        return decayed.update(updates, state, params)

    return optax.GradientTransformation(decayed.init, update)


def _followed_by(
    first: optax.GradientTransformation, then: optax.GradientTransformation, selects: bool
) -> optax.GradientTransformationExtraArgs:
    """Chain two optimizers, of which the first skips unsound steps by itself.

    The state of the second is small, and put back by a selection.

    Args:
        first: Whose updates are zero where a step is not taken.
        then: What follows.
        selects: Whether its updates may be other than zero then, and must be made so.
    """
    first = optax.with_extra_args_support(first)

    def init(params: PyTree) -> tuple[PyTree, PyTree]:
        return first.init(params), then.init(params)

    def update(
        updates: PyTree,
        state: tuple[PyTree, PyTree],
        params: PyTree | None = None,
        *,
        measured: guards.Measured = guards.Measured(),  # noqa: B008
        **extra: object,
    ) -> tuple[PyTree, tuple[PyTree, PyTree]]:
        sound = measured.sound
        directions, one = first.update(updates, state[0], params, measured=measured, **extra)
        steps, other = then.update(directions, state[1], params)
        if selects:
            steps = guards.zero_unless(sound, steps)
        return steps, (one, guards.taken(sound, other, state[1]))

    return optax.GradientTransformationExtraArgs(init, update)
