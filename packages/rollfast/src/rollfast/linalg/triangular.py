"""Solving with Kronecker products of upper triangular factors."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from rollfast.linalg.kronecker import along
from rollfast.typing import Array

__all__ = ["solve_adjoint"]

# From this side on a system is solved in halves, so that most of it is a product (two cores, CPU).
_LEAST_SIDE = 256


def solve_adjoint(factors: Sequence[Array], tensor: Array) -> Array:
    """Return Q⁻ᴴ x with Q = Q₁ ⊗ … ⊗ Qₖ.

    Several of these must not be batched by `vmap` into one program: jaxlib 0.10 can stop for
    ever in independent batched solves on a CPU. `jax.lax.map` is safe.

    Args:
        factors: One for every axis: upper triangular, (nᵢ, nᵢ), or a diagonal, (nᵢ,).
        tensor: x, (n₁, …, nₖ).

    Returns:
        (n₁, …, nₖ).
    """
    for axis, factor in enumerate(factors):
        if factor.ndim == 1:
            tensor = along(1 / factor.conj(), tensor, axis)
        else:
            tensor = _solve_along(factor, tensor, axis)
    return tensor


def _solve_along(factor: Array, tensor: Array, axis: int) -> Array:
    side = factor.shape[0]
    if side >= _LEAST_SIDE:
        half = side // 2
        first, rest = jnp.split(tensor, [half], axis)
        first = _solve_along(factor[:half, :half], first, axis)
        rest = rest - along(factor[:half, half:].conj().T, first, axis)
        return jnp.concatenate([first, _solve_along(factor[half:, half:], rest, axis)], axis)
    if tensor.size < side**2:
        return _substituted(factor, tensor, axis)
    # Many columns are multiplied faster than solved for.
    inverse = _substituted(factor, jnp.eye(side, dtype=factor.dtype), 0)
    return along(inverse, tensor, axis)


def _substituted(factor: Array, tensor: Array, axis: int) -> Array:
    moved = jnp.moveaxis(tensor, axis, 0)
    solved = jax.lax.linalg.triangular_solve(
        factor,
        moved.reshape(factor.shape[0], -1).astype(factor.dtype),
        left_side=True,
        lower=False,
        transpose_a=True,
        conjugate_a=True,
    )
    return jnp.moveaxis(solved.reshape(moved.shape), 0, axis)
