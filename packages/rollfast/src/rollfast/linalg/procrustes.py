"""Small rotations that turn a matrix towards a positive one, without changing QᴴQ."""

import jax.numpy as jnp

from rollfast.linalg.hermitian import adjoint, multiplier, skew_square
from rollfast.linalg.norm_bounds import skew_norm_bound
from rollfast.typing import Array

__all__ = ["rotate_second_order", "rotate_third_order"]


def rotate_second_order(matrix: Array, probes: Array, max_step: float = 1 / 8) -> Array:
    """Rotate once towards the solution of min ‖UQ - I‖, U unitary, to second order.

    R = (Qᴴ - Q) / ‖Qᴴ - Q‖, U = I + aR + (aR)²/2, with ‖UᴴU - I‖ = ‖aR‖⁴/4.

    Args:
        matrix: Q, (n, n).
        probes: Random rows for the bound of ‖Qᴴ - Q‖, (k, n).
        max_step: Largest a.

    Returns:
        UQ, (n, n).

    Source: psgd_torch a8616f1, `procrustes_step2`.
    """
    generator = _generator(matrix, probes)
    square = skew_square(generator)
    # Re tr(RQ) and Re tr(R²Q), entry by entry: Rᴴ = -R.
    slope = -jnp.sum(jnp.real(generator.conj() * matrix))
    curvature = jnp.sum(jnp.real(square.conj() * matrix))
    bends = curvature < 0
    best = -slope / jnp.where(bends, curvature, 1)
    step = jnp.where(bends, jnp.minimum(best, max_step), max_step)
    turn, back = step * generator, step**2 / 2 * square
    return matrix + multiplier(back + turn, back - turn) @ matrix


def rotate_third_order(matrix: Array, probes: Array, max_step: float = 1 / 3) -> Array:
    """Rotate once towards the solution of min ‖UQ - I‖, U unitary, to third order.

    U = I + aR + (aR)²/2 + (aR)³/8, with ‖UᴴU - I‖ = ‖aR‖⁶/64; a maximizes Re tr(UQ).

    Args:
        matrix: Q, (n, n).
        probes: Random rows for the bound of ‖Qᴴ - Q‖, (k, n).
        max_step: Largest a.

    Returns:
        UQ, (n, n); Q itself where it is Hermitian to rounding.

    Source: psgd_torch a8616f1, `procrustes_step3`.
    """
    generator = _generator(matrix, probes)
    once = generator @ matrix
    twice = generator @ once
    thrice = generator @ twice
    # The root does not depend on the scale of Q, whose square may overflow.
    traces = jnp.stack([_real_trace(once), _real_trace(twice), _real_trace(thrice)])
    largest = jnp.max(jnp.abs(traces))
    slope, curvature, third = traces / jnp.where(largest > 0, largest, 1)
    turns = (slope > 0) & (third < 0)
    bend = jnp.where(turns, third, -1)
    root = jnp.sqrt(jnp.maximum(curvature**2 - 1.5 * slope * bend, 0))
    # The larger root, each in the form in which nothing cancels.
    best = jnp.where(
        curvature > 0, (-curvature - root) / (0.75 * bend), 2 * slope / (root - curvature)
    )
    step = jnp.where(turns, jnp.minimum(best, max_step), 0)
    return matrix + step * (once + step / 2 * (twice + step / 4 * thrice))


def _generator(matrix: Array, probes: Array) -> Array:
    skew = adjoint(matrix) - matrix
    size = skew_norm_bound(skew, probes)
    return skew / (jnp.where(size != 0, size, 1) + jnp.finfo(matrix.dtype).smallest_normal)


def _real_trace(matrix: Array) -> Array:
    # Masked rather than gathered, which takes part in what is fused.
    return jnp.sum(jnp.where(jnp.eye(matrix.shape[0], dtype=bool), jnp.real(matrix), 0))
