"""The same iteration on a Gram matrix, for the top block of two stacked blocks.

With X = [T; B] every iterate is X times a polynomial of S = Xᴴ X, so the top block of the result
is T p(S): only S (n×n), or X Xᴴ (2m×2m) where that is smaller, need be iterated, and B is never
multiplied. Forming S squares the singular values; rounding in S then grows by a² an iteration, so
the recursion is restarted from the iterate itself before that growth can be seen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from rollfast.linalg.newton_schulz import Row, safe_norm
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
    """Count the flops of `newton_schulz` on the stacked (2m, n) matrix, m = `rows`."""
    short, long = sorted((2 * rows, columns))
    return iterations * (4.0 * short**2 * long + 2.0 * short**3)


def gram_flops(rows: int, columns: int, plan: Sequence[Segment]) -> float:
    """Count the flops of `newton_schulz_top` on two (m, n) blocks, m = `rows`."""
    return sum(_segment_flops(rows, columns, segment) for segment in plan)


def _segment_flops(rows: int, columns: int, segment: Segment) -> float:
    count, out = len(segment.rows), rows if segment.last else 2 * rows
    side = min(2 * rows, columns)
    form_gram = 2.0 * 2 * rows * columns * side
    recursion = 2.0 * side**3 * (count + 2 * (count - 1))
    if columns > 2 * rows:
        accumulate = 2.0 * out * side**2 * (count - 1) + 2.0 * out * side * columns
    else:
        accumulate = 2.0 * min(count * out * side**2, (count - 1) * side**3 + out * side**2)
    return form_gram + recursion + accumulate


def newton_schulz_top(
    top: Array, bottom: Array, plan: Sequence[Segment], eps: Number = 0.0
) -> Array:
    """Return the first m rows of `newton_schulz([top; bottom])`, from the Gram matrix.

    Args:
        top: (m, n).
        bottom: (m, n).
        plan: Segments of the iteration, see `segments`.
        eps: Added to the Frobenius norm of the stacked matrix.

    Returns:
        (m, n).
    """
    scale = safe_norm([top, bottom], eps)
    top, bottom = top / scale, bottom / scale
    by_rows = top.shape[1] > 2 * top.shape[0]
    for segment in plan:
        if by_rows:
            top, bottom = _left_segment(top, bottom, segment)
        else:
            top, bottom = _right_segment(top, bottom, segment)
    return top


def _left_segment(top: Array, bottom: Array, segment: Segment) -> tuple[Array, Array]:
    """Iterate on X Xᴴ (2m×2m); only the rows of the polynomial that are wanted are kept."""
    stacked = jnp.concatenate([top, bottom])
    height = top.shape[0]
    wanted = height if segment.last else 2 * height
    factors = _factors(stacked @ stacked.conj().T, segment.rows)
    polynomial = factors[0][:wanted]
    for factor in factors[1:]:
        polynomial = polynomial @ factor
    result = polynomial @ stacked
    return result[:height], bottom if segment.last else result[height:]


def _right_segment(top: Array, bottom: Array, segment: Segment) -> tuple[Array, Array]:
    """Iterate on Xᴴ X (n×n), multiplying the factors into the blocks or first into each other."""
    gram = top.conj().T @ top + bottom.conj().T @ bottom
    factors = _factors(gram, segment.rows)
    out_rows = top.shape[0] if segment.last else 2 * top.shape[0]
    if out_rows >= top.shape[1]:
        polynomial = factors[0]
        for factor in factors[1:]:
            polynomial = polynomial @ factor
        factors = [polynomial]
    for factor in factors:
        top = top @ factor
        if not segment.last:
            bottom = bottom @ factor
    return top, bottom


def _factors(gram: Array, rows: Sequence[Row]) -> list[Array]:
    """Return W_k = aI + bG_k + cG_k², with G_{k+1} = G_k W_k²."""
    identity = jnp.eye(gram.shape[0], dtype=gram.dtype)
    factors = []
    for index, (a, b, c) in enumerate(rows):
        factor = a * identity + b * gram + c * (gram @ gram)
        factors.append(factor)
        if index + 1 < len(rows):
            gram = (gram @ factor) @ factor
    return factors
