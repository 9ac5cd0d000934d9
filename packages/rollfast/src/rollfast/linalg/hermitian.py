"""Products of Hermitian matrices, and Hermitian ones, of which a quarter need not be multiplied."""

import jax
import jax.numpy as jnp

from rollfast.typing import Array

__all__ = [
    "adjoint",
    "hermitian_flops",
    "hermitian_part",
    "hermitian_product",
    "hermitian_square",
    "hermitian_times",
    "multiplier",
    "skew_square",
]

# Below this side what is saved is lost to the smaller products and their joining, and one product
# does not keep two cores busy (CPU).
_LEAST_SIDE = 256

# Columns that the CPU reads together. One after the other, each from as many lines of memory as
# there are rows, 512 of them took 0.9 ms, and half of it in parts of this width.
_PANEL = 64


def _is_split(side: int) -> bool:
    return side >= _LEAST_SIDE and side % 2 == 0


def adjoint(matrix: Array) -> Array:
    """Return Aᴴ, in memory of its own where that is faster than to read A across.

    Args:
        matrix: A, (m, n).

    Returns:
        (n, m).
    """
    columns = matrix.shape[1]
    if columns <= _PANEL:
        return matrix.conj().T

    def by_panels(matrix: Array) -> Array:
        starts = range(0, columns, _PANEL)
        # Else the parts and what becomes of them would be one loop again.
        panels = [jax.lax.optimization_barrier(matrix[:, at : at + _PANEL]) for at in starts]
        return jnp.concatenate([panel.conj().T for panel in panels])

    return jax.lax.platform_dependent(matrix, cpu=by_panels, default=lambda a: a.conj().T)


def hermitian_part(matrix: Array) -> Array:
    """Return (A + Aᴴ) / 2 of A, (n, n)."""
    return (matrix + adjoint(matrix)) / 2


def hermitian_product(left: Array, right: Array, addend: Array | None = None) -> Array:
    """Return left @ right, or addend + left @ right, given that it is Hermitian.

    Args:
        left: (n, k).
        right: (k, n).
        addend: (n, n), or None for zero.

    Returns:
        (n, n).
    """

    def block(rows: slice, columns: slice) -> Array:
        product = left[rows] @ right[:, columns]
        return product if addend is None else addend[rows, columns] + product

    side = left.shape[0]
    if not _is_split(side):
        return block(slice(None), slice(None))
    half = side // 2
    upper = block(slice(half), slice(None))
    corner = block(slice(half, None), slice(half, None))
    lower = jnp.concatenate([adjoint(upper[:, half:]), corner], axis=1)
    return jnp.concatenate([upper, lower])


def multiplier(matrix: Array, adjoint: Array) -> Array:
    """Return A, given Aᴴ besides, in the form in which it multiplies from the left fastest.

    Several small products at once, as under `vmap`, take one core of a CPU in jaxlib 0.10; it hands
    those that read their first operand across to another library, which divides them among all.

    Args:
        matrix: A, (n, n).
        adjoint: Aᴴ, (n, n).

    Returns:
        (n, n).
    """
    return adjoint.conj().T if matrix.shape[0] < _LEAST_SIDE else matrix


def hermitian_times(matrix: Array, other: Array) -> Array:
    """Return A B of a Hermitian A, (n, n), and B, (n, m)."""
    return multiplier(matrix, matrix) @ other


def skew_square(matrix: Array) -> Array:
    """Return A² of a skew-Hermitian matrix, (n, n), which is Hermitian."""
    return hermitian_product(multiplier(matrix, -matrix), matrix)


def hermitian_square(matrix: Array) -> Array:
    """Return A² of a Hermitian matrix, (n, n), or of a real diagonal, (n,)."""
    if matrix.ndim == 1:
        return matrix * matrix
    return hermitian_product(multiplier(matrix, matrix), matrix)


def hermitian_flops(side: int, inner: int) -> float:
    """Count the flops of `hermitian_product` of (side, inner) and (inner, side)."""
    return 2.0 * side**2 * inner * (0.75 if _is_split(side) else 1.0)
