"""Functions of Hermitian matrices by products alone, so that they batch and run anywhere."""

import math

import jax
import jax.numpy as jnp

from rollfast.linalg.hermitian import adjoint_multiplier, hermitian_part, hermitian_product
from rollfast.typing import Array

__all__ = ["cayley", "exponential", "hermitian_polar_factor"]

# Enough for a condition number of 1.5¹⁰⁰ = 4e17, which no dtype resolves.
_MOST_ITERATIONS = 100
_SQUARINGS = 3


def hermitian_polar_factor(matrix: Array, least_iterations: int = 5) -> Array:
    """Return (AᴴA)^½, the Hermitian factor of the polar decomposition.

    Newton–Schulz, X ← X (3I - XᴴX) / 2 from A over a bound of ‖A‖, to its unitary factor U; UᴴA.
    It ends when X is unitary to rounding, however many iterations a small singular value takes.

    Args:
        matrix: A, (n, n), not singular.
        least_iterations: Iterations that are made in any case.

    Returns:
        (n, n), Hermitian and positive.

    Source: N. Higham, Functions of Matrices (2008), chapter 8, number not seen.
    """
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    modulus = jnp.abs(matrix)
    # At least the spectral norm, and for large matrices far below that of Frobenius.
    bound = jnp.sqrt(jnp.max(jnp.sum(modulus, 0))) * jnp.sqrt(jnp.max(jnp.sum(modulus, 1)))
    # The next iteration squares the residual.
    enough = math.sqrt(jnp.finfo(matrix.dtype).eps)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        count, residual, _ = carry
        return (count < least_iterations) | ((residual > enough) & (count < _MOST_ITERATIONS))

    def iterate(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, _, x = carry
        gram = hermitian_product(adjoint_multiplier(x), x)
        residual = jnp.sqrt(jnp.sum(jnp.abs(identity - gram) ** 2))
        return count + 1, residual, x @ (3 * identity - gram) / 2

    start = matrix / jnp.where(bound > 0, bound, 1)
    first = (jnp.zeros([], jnp.int32), jnp.full_like(bound, jnp.inf), start)
    _, _, unitary = jax.lax.while_loop(unfinished, iterate, first)
    return hermitian_part(unitary.conj().T @ matrix)


def exponential(matrix: Array) -> Array:
    """Return exp(A) by its Taylor series of A/8, squared three times.

    Args:
        matrix: A, (n, n), Hermitian, with ‖A‖ ≤ 1.

    Returns:
        (n, n), Hermitian and positive.
    """
    scaled = matrix / 2**_SQUARINGS
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    result = identity
    for order in range(_taylor_order(float(jnp.finfo(matrix.dtype).eps)), 0, -1):
        result = identity + hermitian_product(scaled, result) / order
    for _ in range(_SQUARINGS):
        result = hermitian_product(result, result)
    return result


def _taylor_order(eps: float) -> int:
    """Return the first order after which the series of an argument of 1/8 has nothing to add."""
    order, term = 1, 1.0
    while term > eps / 8:
        order += 1
        term = 2.0 ** (-_SQUARINGS * order) / math.factorial(order)
    return order


def cayley(matrix: Array) -> Array:
    """Return (I + A)⁻¹ (I - A) = exp(-2 artanh A), the inverse by Schulz's iteration.

    Y ← Y (2I - (I + A) Y) from I - A, whose residual A² is squared every time.

    Args:
        matrix: A, (n, n), Hermitian, with ‖A‖ ≤ 3/4.

    Returns:
        (n, n), Hermitian and positive.
    """
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    shifted = identity + matrix
    inverse = identity - matrix
    wanted = math.log(float(jnp.finfo(matrix.dtype).eps)) / math.log(0.75)
    for _ in range(math.ceil(math.log2(wanted)) - 1):
        inverse = hermitian_product(inverse, 2 * identity - hermitian_product(shifted, inverse))
    return 2 * inverse - identity
