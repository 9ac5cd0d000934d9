"""How much each iterate counts in the average."""

from enum import StrEnum

import jax.numpy as jnp

from rollfast.options import check_choice
from rollfast.typing import Array, ArrayLike

__all__ = ["WEIGHTINGS", "WeightingMode", "averaging_coefficient", "averaging_weight"]


class WeightingMode(StrEnum):
    """Names of the weightings; the plain strings do as well."""

    THEORETICAL = "theoretical"
    PRACTICAL = "practical"
    SCHEDULET = "schedulet"


# Power of the learning rate in the weight.
WEIGHTINGS: dict[str, int] = {
    # arXiv 2405.15682v4, equation (5): equal weights.
    "theoretical": 0,
    # arXiv 2511.07767v1: the weighting under which any schedule has a last-iterate guarantee.
    "schedulet": 1,
    # arXiv 2405.15682v4, Algorithm 1, equation (23).
    "practical": 2,
}


def averaging_weight(
    learning_rate: ArrayLike, count: ArrayLike, mode: str, averaging_power: ArrayLike = 0.0
) -> Array:
    """Return w_t = (t+1)ʳ γ_tᵖ, with p = 0, 1 or 2.

    Args:
        learning_rate: γ_t, the rate of the step, or the largest so far.
        count: t, 0 at the first step.
        mode: `theoretical` (p = 0), `schedulet` (p = 1) or `practical` (p = 2).
        averaging_power: r; above zero later iterates count more.

    Returns:
        A scalar.

    Raises:
        ValueError: There is no such mode.

    Source: arXiv 2405.15682v4, equations (20) and (23); arXiv 2511.07767v1.
    """
    check_choice("weighting_mode", mode, WEIGHTINGS)
    rate = jnp.asarray(learning_rate)
    steps = (jnp.asarray(count) + 1).astype(rate.dtype)
    return steps ** jnp.asarray(averaging_power, rate.dtype) * rate ** WEIGHTINGS[mode]


def averaging_coefficient(weight: ArrayLike, weight_sum: ArrayLike) -> Array:
    """Return c = w_t / (w_1 + … + w_t), and zero while all weights are zero.

    Args:
        weight: w_t.
        weight_sum: Sum of the weights, w_t included.

    Returns:
        A scalar in [0, 1].

    Source: arXiv 2405.15682v4, theorem 2.
    """
    positive = jnp.asarray(weight_sum) > 0
    return jnp.where(positive, weight / jnp.where(positive, weight_sum, 1), 0)
