"""Lower bounds of spectral norms, by a few power steps on several probes at once."""

import jax.numpy as jnp

from rollfast.typing import Array

__all__ = ["hermitian_norm_bound", "norm_bound", "skew_norm_bound"]

_HALF_STEPS = 2


def hermitian_norm_bound(matrix: Array, probes: Array) -> Array:
    """Return a lower bound of ‖A‖, for A Hermitian and positive semidefinite.

    Args:
        matrix: A, (n, n).
        probes: Rows of zero mean and unit variance, (k, n); the more, the tighter.

    Returns:
        A real scalar; zero for a zero matrix.

    Source: psgd_torch a8616f1, `norm_lower_bound_spd`.
    """
    # Masked rather than gathered, which takes part in what is fused.
    diagonal = jnp.where(jnp.eye(matrix.shape[0], dtype=bool), jnp.real(matrix), 0)
    return _power_bound(matrix, jnp.max(diagonal), probes)


def skew_norm_bound(matrix: Array, probes: Array) -> Array:
    """Return a lower bound of ‖A‖, for A skew-Hermitian.

    Args:
        matrix: A, (n, n).
        probes: Rows of zero mean and unit variance, (k, n).

    Returns:
        A real scalar; zero for a zero matrix.

    Source: psgd_torch a8616f1, `norm_lower_bound_skh`.
    """
    return _power_bound(matrix, jnp.max(jnp.abs(matrix)), probes)


def norm_bound(matrix: Array) -> Array:
    """Return a lower bound of ‖A‖ of any matrix, by one step and a half from its heaviest side.

    Args:
        matrix: A, (m, n).

    Returns:
        A real scalar; zero for a zero matrix. ‖A‖ is seldom above √2 times as much.

    Source: psgd_torch a8616f1, `norm_lower_bound` of the earlier module.
    """
    largest = jnp.max(jnp.abs(matrix))
    scale = jnp.where(largest > 0, largest, 1)
    scaled = matrix / scale
    adjoint = scaled.conj().T
    of_rows, of_columns = _square_norms(scaled), _square_norms(adjoint)
    column = adjoint[jnp.argmax(of_columns)] @ scaled
    row = scaled @ adjoint[:, jnp.argmax(of_rows)]
    from_column = _norm(_direction(column) @ adjoint)
    from_row = _norm(adjoint @ _direction(row))
    by_column = jnp.max(of_columns) > jnp.max(of_rows)
    return largest * jnp.where(by_column, from_column, from_row)


def _direction(vector: Array) -> Array:
    size = _norm(vector)
    return vector / jnp.where(size > 0, size, 1)


def _norm(vector: Array) -> Array:
    return _root(jnp.sum(jnp.real(vector * vector.conj())))


def _power_bound(matrix: Array, largest: Array, probes: Array) -> Array:
    tiny = jnp.finfo(matrix.dtype).smallest_normal
    scale = jnp.where(largest != 0, largest, 1) + tiny
    scaled = matrix / scale
    heaviest = scaled[jnp.argmax(_square_norms(scaled))]
    # Turned towards the heaviest row, so that no probe can be orthogonal to a rank-one matrix.
    vectors = heaviest[None] + jnp.sign(probes.conj() @ heaviest)[:, None] * probes
    for _ in range(_HALF_STEPS):
        vectors = vectors @ scaled
        vectors = vectors / (_root(_square_norms(vectors))[:, None] + tiny)
        vectors = vectors @ scaled
    return scale * _root(jnp.max(_square_norms(vectors)))


def _root(square: Array) -> Array:
    """Return the square root, with a derivative of zero at zero; of no number none."""
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def _square_norms(rows: Array) -> Array:
    return jnp.sum(jnp.real(rows * rows.conj()), axis=1)
