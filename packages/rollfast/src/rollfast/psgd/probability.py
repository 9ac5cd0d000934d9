"""How often the preconditioner is updated."""

import jax.numpy as jnp
import optax

from rollfast.options import check_interval
from rollfast.typing import Array, scalar_dtype

__all__ = ["ANNEALED", "precond_update_prob_schedule"]


def precond_update_prob_schedule(
    max_prob: float = 1.0, min_prob: float = 0.03, decay: float = 0.001, flat_start: int = 500
) -> optax.Schedule:
    """Return a probability that stays high at first and then decays exponentially.

    p(t) = max_prob exp(-decay (t - flat_start)), held between `min_prob` and `max_prob`.

    Args:
        max_prob: Probability at the start, in [0, 1].
        min_prob: Probability at the end, in [0, max_prob].
        decay: Rate of the decay, per step.
        flat_start: Step at which it begins.

    Returns:
        A function of the step, from 0.

    Raises:
        ValueError: A number is out of its range.

    Source: psgd_jax 0.1.5 and rollfast 0.1.0, `precond_update_prob_schedule`.
    """
    check_interval("max_prob", max_prob, 0, 1)
    check_interval("min_prob", min_prob, 0, max_prob)
    check_interval("decay", decay, 0, float("inf"))

    def schedule(count: Array) -> Array:
        steps = jnp.asarray(count, scalar_dtype()) - flat_start
        return jnp.clip(max_prob * jnp.exp(-decay * steps), min_prob, max_prob)

    return schedule


# The default of the optimizers: 1 for 500 steps, then down to 0.03.
ANNEALED = precond_update_prob_schedule()
