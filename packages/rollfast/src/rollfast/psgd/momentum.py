"""The running mean of gradients that becomes an exponential average."""

import jax.numpy as jnp

from rollfast.typing import Array, Number, scalar_dtype

__all__ = ["average", "blended", "decay"]


def decay(b1: Number, count: Array) -> Array:
    """Return β = min(t / (t+1), b1), with which the mean needs no correction of its bias.

    Args:
        b1: Largest decay, in [0, 1).
        count: t, steps taken before this one.
    """
    steps = count.astype(scalar_dtype())
    return jnp.minimum(steps / (steps + 1), b1)


def blended(old: list[Array], new: list[Array], beta: Array) -> list[Array]:
    """Return β m + (1-β) g of every leaf, in the dtype of g.

    Args:
        old: m.
        new: g.
        beta: β, a scalar.
    """
    blends = []
    for one, other in zip(old, new, strict=True):
        weight = beta.astype(jnp.finfo(other.dtype).dtype)
        blends.append(weight * one.astype(other.dtype) + (1 - weight) * other)
    return blends


def average(
    gradients: list[Array], mu: list[Array], b1: Number, count: Array, nesterov: bool = False
) -> tuple[list[Array], list[Array]]:
    """Return (what to precondition, momentum), both in the dtype of the gradients.

    With `nesterov` the first is the momentum that the same gradients would lead to in a next step.

    Args:
        gradients: g of every leaf.
        mu: m of every leaf, before this step.
        b1: Largest decay, in [0, 1).
        count: Steps taken before this one.
        nesterov: Whether to look ahead.
    """
    momentum = blended(mu, gradients, decay(b1, count))
    if not nesterov:
        return momentum, momentum
    return blended(momentum, gradients, decay(b1, count + 1)), momentum
