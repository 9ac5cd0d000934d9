"""Learning rates as functions of the step."""

import math

import jax.numpy as jnp
import optax

from rollfast.options import check_choice, check_interval, check_number
from rollfast.typing import Array, ArrayLike, Number, scalar_dtype

__all__ = ["wsd_schedule"]

# Remaining fraction of the rate, as a function of the fraction s of the decay still to go.
DECAY_SHAPES = {
    "linear": lambda s: s,
    "sqrt": lambda s: 1 - jnp.sqrt(1 - s),
}


def wsd_schedule(
    peak_lr: Number,
    total_steps: int,
    warmup_fraction: float = 0.1,
    decay_fraction: float = 0.1,
    *,
    decay_shape: str = "linear",
) -> optax.Schedule:
    """Return the warmup, stable, decay schedule.

    With T = total - 1, T_w = ⌊total · warmup⌋ and T_c = total - ⌊total · decay⌋, step t has
    (t+1)/(T_w+1) of the peak for t ≤ T_w, all of it for T_w < t ≤ T_c, and
    s = (T-t+1)/(T-T_c+1) of it after, down to zero.

    Args:
        peak_lr: Rate of the stable phase.
        total_steps: Number of steps of the whole schedule, at least one.
        warmup_fraction: Part of the steps that warms up, in [0, 1].
        decay_fraction: Part of the steps that decays, in [0, 1].
        decay_shape: `linear`, s as above, or `sqrt`, 1 - √(1-s).

    Returns:
        A function of the step, counted from 0.

    Raises:
        ValueError: A fraction lies outside of [0, 1], both exceed one together, the number of
            steps is not positive, the peak is no finite number, or there is no such shape.

    Source: arXiv 2511.07767 for the three pieces; arXiv 2404.06395, equation (1), for the idea.
    """
    check_number("peak_lr", peak_lr)
    check_interval("total_steps", total_steps, 1, math.inf)
    check_interval("warmup_fraction", warmup_fraction, 0, 1)
    check_interval("decay_fraction", decay_fraction, 0, 1)
    check_interval("warmup_fraction + decay_fraction", warmup_fraction + decay_fraction, 0, 1)
    check_choice("decay_shape", decay_shape, DECAY_SHAPES)
    last_warmup = _floor(total_steps * warmup_fraction)
    last_stable = total_steps - _floor(total_steps * decay_fraction)

    def schedule(count: ArrayLike) -> Array:
        step = jnp.asarray(count).astype(scalar_dtype())
        warming = (step + 1) / (last_warmup + 1)
        decay_steps = jnp.maximum(total_steps - last_stable, 1)
        remaining = jnp.clip((total_steps - step) / decay_steps, 0, 1)
        decaying = DECAY_SHAPES[decay_shape](remaining)
        fraction = jnp.where(step > last_stable, decaying, jnp.minimum(warming, 1))
        return peak_lr * fraction

    return schedule


def _floor(number: Number) -> Number:
    return math.floor(number) if isinstance(number, float | int) else jnp.floor(number)
