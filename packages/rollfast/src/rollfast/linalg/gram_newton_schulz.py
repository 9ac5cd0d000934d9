"""The same iteration on a Gram matrix, for the first rows of the result.

With X = [T; B] every iterate is X times a polynomial of S = Xᴴ X, so the first rows of the result
are T p(S): only S, or X Xᴴ where that is smaller, need be iterated, and B is never multiplied.
Forming S squares the singular values; rounding in S then grows by a² an iteration, so the
recursion is restarted from the iterate itself before that growth can be seen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from rollfast.linalg.hermitian import adjoint_multiplier, hermitian_flops, hermitian_product
from rollfast.linalg.newton_schulz import Row, normalize
from rollfast.typing import Array, Number

__all__ = ["direct_flops", "gram_flops", "newton_schulz_top", "segments"]

# A restart comes before rounding has grown by this factor, or, in a coarse dtype, to a percent. The
# first bound is what float32 allows; float64 keeps to it so that both run the very same products.
_LARGEST_GROWTH = 2.0**16
_LARGEST_ERROR = 0.01


class Segment(NamedTuple):
    """Consecutive rows of coefficients that share one Gram matrix."""

    rows: tuple[Row, ...]
    last: bool


def segments(rows: Sequence[Row], iterations: int, epsilon: float) -> list[Segment]:
    """Cut the iterations where rounding in the Gram matrix would have grown too much.

    The Gram matrix used in iteration k carries the product of a² of the iterations since it was
    formed, the derivative of the recursion λ ← λ (a + bλ + cλ²)² at zero.

    Args:
        rows: Coefficients (a, b, c); iteration k uses row min(k, len(rows) - 1).
        iterations: Number of iterations.
        epsilon: Machine epsilon of the dtype in which the products are formed.
    """
    limit = min(_LARGEST_GROWTH, _LARGEST_ERROR / epsilon)
    cuts: list[list[Row]] = []
    growth = float("inf")
    for index in range(iterations):
        row = rows[min(index, len(rows) - 1)]
        if growth > limit:
            cuts.append([])
            growth = 1.0
        cuts[-1].append(row)
        growth *= row[0] ** 2
    return [Segment(tuple(cut), index == len(cuts) - 1) for index, cut in enumerate(cuts)]


def direct_flops(rows: int, columns: int, iterations: int) -> float:
    """Count the flops of `newton_schulz` on a (rows, columns) matrix."""
    short, long = sorted((rows, columns))
    square = hermitian_flops(short, long) + hermitian_flops(short, short)
    return iterations * (square + 2.0 * short**2 * long)


def gram_flops(rows: int, columns: int, height: int, plan: Sequence[Segment]) -> float:
    """Count the flops of `newton_schulz_top`, for `height` rows of a (rows, columns) matrix."""
    return sum(
        _segment_flops(rows, columns, height if segment.last else rows, len(segment.rows))
        for segment in plan
    )


def _segment_flops(rows: int, columns: int, height: int, count: int) -> float:
    side = min(rows, columns)
    product = hermitian_flops(side, side)
    iterated = hermitian_flops(side, max(rows, columns)) + (3 * count - 2) * product
    if columns > rows:
        return iterated + 2.0 * height * side * (side * (count - 1) + columns)
    if height >= side:
        return iterated + (count - 1) * product + 2.0 * height * side**2
    return iterated + 2.0 * count * height * side**2


def newton_schulz_top(
    stacked: Array, height: int, plan: Sequence[Segment], eps: Number = 0.0
) -> Array:
    """Return the first rows of `newton_schulz(stacked)`, from the Gram matrix.

    Args:
        stacked: (rows, n).
        height: How many of the rows are wanted.
        plan: Segments of the iteration, see `segments`.
        eps: Added to the Frobenius norm of the stacked matrix.

    Returns:
        (height, n).
    """
    stacked = normalize(stacked, eps)
    wide = stacked.shape[1] > stacked.shape[0]
    for segment in plan:
        wanted = height if segment.last else stacked.shape[0]
        run = _left_segment if wide else _right_segment
        stacked = run(stacked, wanted, segment.rows)
    return stacked[:height]


def _left_segment(stacked: Array, height: int, rows: Sequence[Row]) -> Array:
    """Iterate on X Xᴴ; only the rows of the polynomial that are wanted are kept."""
    factors = _factors(hermitian_product(stacked, stacked.conj().T), rows)
    polynomial = factors[0][:height]
    for factor in factors[1:]:
        polynomial = polynomial @ factor
    return polynomial @ stacked


def _right_segment(stacked: Array, height: int, rows: Sequence[Row]) -> Array:
    """Iterate on Xᴴ X, multiplying the factors into the rows or first into each other."""
    factors = _factors(hermitian_product(adjoint_multiplier(stacked), stacked), rows)
    result = stacked[:height]
    if height >= stacked.shape[1]:
        polynomial = factors[0]
        for factor in factors[1:]:
            polynomial = hermitian_product(polynomial, factor)
        return result @ polynomial
    for factor in factors:
        result = result @ factor
    return result


def _factors(gram: Array, rows: Sequence[Row]) -> list[Array]:
    """Return W_k = aI + bG_k + cG_k², with G_{k+1} = G_k W_k²."""
    identity = jnp.eye(gram.shape[0], dtype=gram.dtype)
    factors = []
    for index, (a, b, c) in enumerate(rows):
        factor = a * identity + b * gram + c * hermitian_product(gram, gram)
        factors.append(factor)
        if index + 1 < len(rows):
            gram = hermitian_product(hermitian_product(gram, factor), factor)
    return factors
