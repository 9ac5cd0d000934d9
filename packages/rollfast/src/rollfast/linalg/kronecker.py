"""Kronecker products Q₁ ⊗ … ⊗ Qₖ that act on tensors of k axes.

A factor is dense, (n, n), or the diagonal of one, (n,).
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from rollfast.linalg.hermitian import (
    adjoint_multiplier,
    hermitian_flops,
    hermitian_product,
    multiplier,
)
from rollfast.typing import Array

__all__ = ["along", "apply", "apply_normal", "balance", "gram", "gram_diagonal", "normal_factor"]


def apply(factors: Sequence[Array], tensor: Array) -> Array:
    """Return (Q₁ ⊗ … ⊗ Qₖ) x, factor i along axis i.

    Args:
        factors: One for every axis, (nᵢ, nᵢ) or (nᵢ,).
        tensor: x, (n₁, …, nₖ).

    Returns:
        (n₁, …, nₖ).
    """
    for axis, factor in enumerate(factors):
        tensor = along(factor, tensor, axis)
    return tensor


def along(factor: Array, tensor: Array, axis: int) -> Array:
    """Apply one factor along one axis."""
    if factor.ndim == 1:
        return tensor * factor.reshape([-1 if a == axis else 1 for a in range(tensor.ndim)])
    if axis == tensor.ndim - 1:
        return tensor @ factor.T
    return jnp.moveaxis(jnp.tensordot(factor, tensor, axes=(1, axis)), 0, axis)


def normal_factor(factor: Array) -> Array:
    """Return QᴴQ of one factor, dense or diagonal."""
    if factor.ndim == 1:
        return jnp.real(factor * factor.conj())
    return hermitian_product(adjoint_multiplier(factor), factor)


def apply_normal(
    factors: Sequence[Array], tensor: Array, normals: Sequence[Array | None] | None = None
) -> Array:
    """Return QᴴQ x with Q = Q₁ ⊗ … ⊗ Qₖ.

    Whether QᵢᴴQᵢ is formed depends on which costs less.

    Args:
        factors: One for every axis, (nᵢ, nᵢ) or (nᵢ,).
        tensor: x, (n₁, …, nₖ).
        normals: QᵢᴴQᵢ of the factors where it is at hand, else None.

    Returns:
        (n₁, …, nₖ).
    """
    known = [None] * len(factors) if normals is None else normals
    for axis, (factor, normal) in enumerate(zip(factors, known, strict=True)):
        columns = math.prod(tensor.shape) // max(tensor.shape[axis], 1)
        if normal is not None:
            tensor = _along_hermitian(normal, tensor, axis)
        elif factor.ndim == 1 or _is_formed(factor.shape[0], columns):
            tensor = _along_hermitian(normal_factor(factor), tensor, axis)
        else:
            tensor = along(factor.conj().T, along(factor, tensor, axis), axis)
    return tensor


def _along_hermitian(factor: Array, tensor: Array, axis: int) -> Array:
    # On the last axis it multiplies from the right, where either form will do.
    return along(factor if factor.ndim == 1 else multiplier(factor, factor), tensor, axis)


def _is_formed(side: int, columns: int) -> bool:
    """Say whether forming QᴴQ and applying it takes fewer flops than applying Q twice."""
    return hermitian_flops(side, side) < 2.0 * side**2 * columns


def gram(tensor: Array, axis: int) -> Array:
    """Return X Xᴴ, X the unfolding of the tensor along an axis.

    Args:
        tensor: (n₁, …, nₖ).
        axis: Axis that is kept.

    Returns:
        (n, n), Hermitian.
    """
    if axis == tensor.ndim - 1:
        # Row after row in memory, these are the columns of X.
        columns = tensor.reshape(-1, tensor.shape[axis]).conj()
        return hermitian_product(adjoint_multiplier(columns), columns)
    unfolded = jnp.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)
    return hermitian_product(unfolded, unfolded.conj().T)


def gram_diagonal(tensor: Array, axis: int) -> Array:
    """Return the diagonal of `gram`.

    Args:
        tensor: (n₁, …, nₖ).
        axis: Axis that is kept.

    Returns:
        (n,), real.
    """
    others = [other for other in range(tensor.ndim) if other != axis]
    return jnp.sum(jnp.real(tensor * tensor.conj()), axis=others)


def balance(factors: Sequence[Array]) -> list[Array]:
    """Give all factors one largest modulus, their geometric mean; their product stays.

    mᵢ = max |Qᵢ|, Qᵢ ← Qᵢ (m₁ ⋯ mₖ)^(1/k) / mᵢ.

    Args:
        factors: (nᵢ, nᵢ) or (nᵢ,).

    Returns:
        The factors; unchanged where one of them is zero.

    Source: psgd_torch a8616f1, `balance_kron_precond`.
    """
    if len(factors) < 2:
        return list(factors)
    largest = [jnp.max(jnp.abs(factor)) for factor in factors]
    # Roots first and quotients of like sizes: the products could overflow.
    mean = math.prod(modulus ** (1 / len(factors)) for modulus in largest)
    sound = math.prod(jnp.sign(modulus) for modulus in largest) > 0
    return [
        factor / jnp.where(sound, modulus, 1) * jnp.where(sound, mean, 1)
        for factor, modulus in zip(factors, largest, strict=True)
    ]
