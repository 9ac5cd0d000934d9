"""Products of Hermitian matrices, and Hermitian ones, of which a quarter need not be multiplied."""

import jax
import jax.numpy as jnp

from rollfast.typing import Array

__all__ = [
    "adjoint",
    "adjoint_multiplier",
    "hermitian_flops",
    "hermitian_part",
    "hermitian_product",
    "hermitian_square",
    "hermitian_times",
    "multiplier",
    "skew_square",
]

# Below this side one product does not keep two cores busy (CPU).
_LEAST_SIDE = 256

# Below these sides what is saved is lost to the copies of the parts and their joining: in whole,
# the product of a side of 256 took about half of the time. Halves of a power of two take longer to
# copy: a step in mode QUAD on two sides of 512 took 1.08 times as long with them (two cores, CPU).
_LEAST_SPLIT = 384
_LEAST_SPLIT_POWER_OF_TWO = 2048

# Where rows are a power of two of bytes, from these on, a CPU has few places in its cache for a
# column: the difference of A and Aᴴ of a side of 512 took 0.7 ms, and 0.13 ms that of 640.
_LEAST_STRIDE = 2048


def _is_split(side: int) -> bool:
    least = _LEAST_SPLIT if side & (side - 1) else _LEAST_SPLIT_POWER_OF_TWO
    return side >= least and side % 2 == 0


def _is_hard_to_turn(matrix: Array) -> bool:
    stride = matrix.shape[1] * matrix.dtype.itemsize
    return stride >= _LEAST_STRIDE and stride & (stride - 1) == 0


def adjoint(matrix: Array) -> Array:
    """Return Aᴴ, in memory of its own where that is faster than to read A across.

    Args:
        matrix: A, (m, n).

    Returns:
        (n, m).
    """
    if not _is_hard_to_turn(matrix):
        return matrix.conj().T

    return jax.lax.platform_dependent(matrix, cpu=_turned_alone, default=_turned)


def _turned(matrix: Array) -> Array:
    return matrix.conj().T


def _turned_in_halves(matrix: Array) -> Array:
    half = matrix.shape[1] // 2
    return jnp.concatenate([_turned(matrix[:, :half]), _turned(matrix[:, half:])])


def _turned_alone(matrix: Array) -> Array:
    # Always taken. Nothing outside of a branch is fused with what is in it, and alone a matrix is
    # turned over in blocks: one of a side of 512 in a sixth of the time.
    always = jax.lax.optimization_barrier(jnp.asarray(True))
    return jax.lax.cond(always, _turned, _turned_in_halves, matrix)


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


def adjoint_multiplier(matrix: Array) -> Array:
    """Return Aᴴ of A, (m, n), in the form in which it multiplies from the left fastest.

    A CPU takes up to twice as long for a large product that reads its first operand across.
    """
    if matrix.shape[1] < _LEAST_SIDE:
        return matrix.conj().T
    return jax.lax.platform_dependent(matrix, cpu=_turned_in_memory, default=_turned)


def _turned_in_memory(matrix: Array) -> Array:
    return jax.lax.optimization_barrier(_turned(matrix))


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
