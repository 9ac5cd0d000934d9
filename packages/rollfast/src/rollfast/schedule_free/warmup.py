"""A linear warmup in front of a learning rate."""

import jax.numpy as jnp
import optax

from rollfast.options import check_interval, check_number
from rollfast.typing import Array, Number, ScalarOrSchedule, scalar_dtype

__all__ = ["warmed_up"]


def warmed_up(learning_rate: ScalarOrSchedule, warmup_steps: Number) -> optax.Schedule:
    """Return γ min(1, (t+1) / warmup), t from 0.

    Args:
        learning_rate: γ, a number or a schedule.
        warmup_steps: Steps of the warmup; none up to one.

    Raises:
        ValueError: An option is out of its range.
    """
    check_number("learning_rate", learning_rate, schedule=True)
    check_interval("warmup_steps", warmup_steps, 0, float("inf"))

    def schedule(count: Array) -> Array:
        steps = jnp.asarray(count + 1, scalar_dtype())
        rate = jnp.asarray(learning_rate(count) if callable(learning_rate) else learning_rate)
        return rate * jnp.minimum(1, steps / jnp.maximum(warmup_steps, 1))

    return schedule
