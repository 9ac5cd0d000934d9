"""A preconditioned direction, followed by decay and the step along it."""

import math
from numbers import Real

import jax
import jax.numpy as jnp
import optax

from rollfast import guards
from rollfast.options import check_interval, check_number
from rollfast.trees.precision import in_accumulator_dtype
from rollfast.typing import Array, Number, PyTree, ScalarOrSchedule

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
    if not (isinstance(weight_decay, Real) and weight_decay == 0):
        stepped = optax.chain(optax.add_decayed_weights(weight_decay, mask), stepped)
    together = _followed_by(first, stepped)
    return guards.skip_unsound_steps(in_accumulator_dtype(together), **limits)


def _followed_by(
    first: optax.GradientTransformation, then: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Chain two optimizers, of which the first skips unsound steps by itself.

    The state of the second is small, and put back by a selection.
    """
    first = optax.with_extra_args_support(first)

    def init(params: PyTree) -> tuple[PyTree, PyTree]:
        return first.init(params), then.init(params)

    def update(
        updates: PyTree,
        state: tuple[PyTree, PyTree],
        params: PyTree | None = None,
        *,
        sound: Array | bool = True,
        **extra: object,
    ) -> tuple[PyTree, tuple[PyTree, PyTree]]:
        directions, one = first.update(updates, state[0], params, sound=sound, **extra)
        steps, other = then.update(directions, state[1], params)
        zeros = jax.tree.map(jnp.zeros_like, steps)
        return guards.taken(sound, steps, zeros), (one, guards.taken(sound, other, state[1]))

    return optax.GradientTransformationExtraArgs(init, update)
