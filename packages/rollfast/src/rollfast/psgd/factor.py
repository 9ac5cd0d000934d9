"""What every geometry shares: how smooth the criterion is along a factor, and its gradient."""

import jax.numpy as jnp

from rollfast.linalg.norm_bounds import hermitian_norm_bound, norm_bound
from rollfast.typing import Array, Number

__all__ = ["gradient_size", "lipschitz", "relative_gradient", "smoothness"]


def smoothness(first: Array, second: Array, probes: Array | None) -> Array:
    """Return ℓ ≈ ‖T₁ + T₂‖, which the step of a factor is divided by.

    Args:
        first: T₁, (n, n) of a dense factor, (n,) of a diagonal one.
        second: T₂, like `first`, or a scalar t that stands for t I.
        probes: Random rows for the bound of the norm, (k, n); None for a diagonal.

    Returns:
        A real scalar: the lower bound of the norm, or the largest entry of a diagonal.

    Source: psgd_torch a8616f1; README, table II.
    """
    if first.ndim == 1:
        return jnp.max(first + second)
    if probes is None:
        raise ValueError(f"probes=None is not allowed with a dense factor of {first.shape}.")
    if second.ndim == 0:
        return hermitian_norm_bound(first, probes) + second
    return hermitian_norm_bound(first + second, probes)


def lipschitz(previous: Array, smoothness: Array, beta: Number) -> Array:
    """Return L ← max(β L + (1-β) ℓ, ℓ), which rises at once and falls slowly.

    Args:
        previous: L, a scalar, zero at the start.
        smoothness: ℓ, a scalar.
        beta: β, in [0, 1).

    Returns:
        A scalar.

    Source: psgd_torch a8616f1.
    """
    return jnp.maximum(beta * previous + (1 - beta) * smoothness, smoothness)


def relative_gradient(first: Array, second: Array) -> Array:
    """Return E = T₁ - T₂, which vanishes where a factor is fitted.

    It is half the gradient of the criterion along a local coordinate, for tensors of one axis and
    in mode `EQ`.

    Args:
        first: T₁, (n, n) of a dense factor, (n,) of a diagonal one.
        second: T₂, like `first`, or a scalar t that stands for t I.

    Returns:
        E, in the shape of T₁.
    """
    if first.ndim == 2 and second.ndim == 0:
        return first - second * jnp.eye(first.shape[0], dtype=first.dtype)
    return first - second


def gradient_size(first: Array, second: Array) -> Array:
    """Return ‖triu(T₁ - T₂)‖, which a step of an earlier form is divided by.

    Args:
        first: T₁, (n, n) of a dense factor, (n,) of a diagonal one.
        second: T₂, like `first`, or a scalar t that stands for t I.

    Returns:
        A real scalar: a lower bound of the norm, or the largest modulus of a diagonal.

    Source: psgd_torch a8616f1, `update_precond_affine_math_`, order `1st`.
    """
    error = relative_gradient(first, second)
    return jnp.max(jnp.abs(error)) if error.ndim == 1 else norm_bound(jnp.triu(error))
