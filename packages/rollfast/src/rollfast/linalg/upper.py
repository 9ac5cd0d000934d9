"""Products of upper triangular matrices, of which up to half need not be multiplied."""

from collections.abc import Sequence

import jax.numpy as jnp

from rollfast.linalg.hermitian import adjoint, adjoint_multiplier, hermitian_product
from rollfast.linalg.kronecker import along, normal_factor
from rollfast.typing import Array

__all__ = ["apply_upper", "upper_normal_factor", "upper_product"]

# With half of it a step of a multilayer perceptron took 3 % less time, one of four GPT-like
# blocks as much, and each block takes long to compile (two cores, CPU).
_LEAST_SIDE = 512


def apply_upper(factors: Sequence[Array], tensor: Array) -> Array:
    """Return (Q₁ ⊗ … ⊗ Qₖ) x, factor i along axis i.

    Args:
        factors: One for every axis: upper triangular, (nᵢ, nᵢ), or a diagonal, (nᵢ,).
        tensor: x, (n₁, …, nₖ).

    Returns:
        (n₁, …, nₖ).
    """
    for axis, factor in enumerate(factors):
        tensor = _along(factor, tensor, axis)
    return tensor


def _along(factor: Array, tensor: Array, axis: int) -> Array:
    if factor.ndim == 1 or factor.shape[0] < _LEAST_SIDE:
        return along(factor, tensor, axis)
    half = factor.shape[0] // 2
    first, last = jnp.split(tensor, [half], axis)
    upper = _along(factor[:half, :half], first, axis) + along(factor[:half, half:], last, axis)
    return jnp.concatenate([upper, _along(factor[half:, half:], last, axis)], axis)


def upper_product(left: Array, right: Array) -> Array:
    """Return left @ right.

    Args:
        left: (n, n), upper triangular.
        right: The same.

    Returns:
        (n, n), upper triangular.
    """
    if left.shape[0] < _LEAST_SIDE:
        return left @ right
    half = left.shape[0] // 2
    across = left[:half] @ right[:, half:]
    first = upper_product(left[:half, :half], right[:half, :half])
    last = upper_product(left[half:, half:], right[half:, half:])
    return jnp.block([[first, across], [jnp.zeros_like(across.T), last]])


def upper_normal_factor(factor: Array) -> Array:
    """Return QᴴQ.

    Args:
        factor: Q, upper triangular, (n, n), or a diagonal, (n,).

    Returns:
        In the shape of Q.
    """
    if factor.ndim == 1 or factor.shape[0] < _LEAST_SIDE:
        return normal_factor(factor)
    half = factor.shape[0] // 2
    corner, beside = factor[:half, :half], factor[:half, half:]
    across = adjoint_multiplier(corner) @ beside
    last = hermitian_product(adjoint_multiplier(beside), beside)
    last = last + upper_normal_factor(factor[half:, half:])
    upper = jnp.concatenate([upper_normal_factor(corner), across], axis=1)
    return jnp.concatenate([upper, jnp.concatenate([adjoint(across), last], axis=1)])
