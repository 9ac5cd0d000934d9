"""The arithmetic of PRISM on one matrix."""

from collections.abc import Sequence

import jax.numpy as jnp

from rollfast.linalg.gram_newton_schulz import (
    direct_flops,
    gram_flops,
    newton_schulz_top,
    segments,
)
from rollfast.linalg.newton_schulz import Row, newton_schulz, polar
from rollfast.options import check_choice
from rollfast.typing import Array, Number

__all__ = [
    "augment",
    "corrected_momentum",
    "corrected_nesterov",
    "innovation",
    "momentum",
    "nesterov",
    "shape",
    "shape_exact",
]

FORMS = ("auto", "direct", "gram")


def momentum(previous: Array, gradient: Array, b1: Number) -> Array:
    """Return M_t = β M_{t-1} + (1-β) G_t.

    Args:
        previous: M_{t-1}, any shape.
        gradient: G_t, the same shape.
        b1: β, in [0, 1).

    Source: arXiv 2602.03096v1.
    """
    return b1 * previous + (1 - b1) * gradient


def innovation(gradient: Array, momentum: Array) -> Array:
    """Return D_t = G_t - M_t, what the momentum did not foresee.

    Args:
        gradient: G_t, any shape.
        momentum: M_t, the same shape.

    Source: arXiv 2602.03096v1.
    """
    return gradient - momentum


def nesterov(momentum: Array, gradient: Array, b1: Number) -> Array:
    """Return β M_t + (1-β) G_t, the momentum one step ahead.

    Args:
        momentum: M_t, any shape.
        gradient: G_t, the same shape.
        b1: β, in [0, 1).

    Source: K. Jordan's Muon (2024).
    """
    return b1 * momentum + (1 - b1) * gradient


def corrected_momentum(momentum: Array, b1: Number, count: Number) -> Array:
    """Return M_t / (1 - βᵗ), the momentum freed of its start at zero.

    Args:
        momentum: M_t, any shape.
        b1: β, in [0, 1).
        count: t, 1 at the first step.

    Source: Adam, arXiv 1412.6980v9, section 3.
    """
    return momentum / (1 - b1**count)


def corrected_nesterov(momentum: Array, gradient: Array, b1: Number, count: Number) -> Array:
    """Return β M_t / (1 - βᵗ⁺¹) + (1-β) G_t / (1 - βᵗ).

    Args:
        momentum: M_t, any shape.
        gradient: G_t, the same shape.
        b1: β, in [0, 1).
        count: t, 1 at the first step.

    Source: Dozat, "Incorporating Nesterov momentum into Adam" (2016), algorithm 2.
    """
    return b1 * momentum / (1 - b1 ** (count + 1)) + (1 - b1) * gradient / (1 - b1**count)


def augment(target: Array, innovation: Array, gamma: Number) -> Array:
    """Return [T; γ D], the innovation stacked under what is to be shaped.

    Args:
        target: T, (m, n).
        innovation: D, (m, n).
        gamma: γ ≥ 0, the weight of the innovation.

    Returns:
        (2m, n).

    Source: arXiv 2602.03096v1.
    """
    return jnp.concatenate([target, gamma * innovation])


def shape_exact(target: Array, innovation: Array, gamma: Number) -> Array:
    """Return the top block of polar([T; γ D]), that is T (TᴴT + γ² DᴴD)^(-1/2).

    Args:
        target: T, (m, n).
        innovation: D, (m, n).
        gamma: γ ≥ 0.

    Returns:
        (m, n), with singular values of at most one.

    Source: arXiv 2602.03096v1.
    """
    return polar(augment(target, innovation, gamma))[: target.shape[0]]


def shape(
    target: Array,
    innovation: Array,
    gamma: Number,
    rows: Sequence[Row],
    iterations: int | Array,
    eps: Number = 0.0,
    form: str = "auto",
) -> Array:
    """Return the top block of Newton–Schulz applied to [T; γ D].

    Args:
        target: T, (m, n).
        innovation: D, (m, n).
        gamma: γ ≥ 0; with 0 the result is that of Muon, and costs no more if it is a number.
        rows: Coefficients of the iteration, see `linalg.newton_schulz.coefficients`.
        iterations: Number of iterations; a traced number takes the direct form.
        eps: Added to the Frobenius norm of the stacked matrix.
        form: `direct` iterates on the stacked matrix, `gram` on the smaller of its Gram
            matrices, `auto` on whichever costs fewer flops.

    Returns:
        (m, n), in the dtype of the target.

    Raises:
        ValueError: There is no such form.

    Source: arXiv 2602.03096v1; the two forms are the same function, see the note.
    """
    check_choice("ns_form", form, FORMS)
    height = target.shape[0]
    without = isinstance(gamma, int | float) and gamma == 0
    stacked = target if without else augment(target, innovation, gamma)
    if form != "direct" and isinstance(iterations, int):
        sides = stacked.shape
        plan = segments(rows, iterations, float(jnp.finfo(target.dtype).eps))
        gram = gram_flops(sides[0], sides[1], height, plan)
        if form == "gram" or gram < direct_flops(sides[0], sides[1], iterations):
            return newton_schulz_top(stacked, height, plan, eps)
    return newton_schulz(stacked, rows, iterations, eps)[:height]
