"""Matrices with a diagonal and an antidiagonal, as the factor of a preconditioner.

(Q x)ᵢ = aᵢ xᵢ + bᵢ xₙ₊₁₋ᵢ. Such matrices are a group, in which a product costs as much as one of
vectors.
"""

from typing import NamedTuple

import jax.numpy as jnp

from rollfast.psgd.flat import StepRule
from rollfast.typing import Array

__all__ = [
    "XMatrix",
    "apply",
    "apply_adjoint",
    "apply_normal",
    "inverse",
    "product",
    "update_factor",
]


class XMatrix(NamedTuple):
    """Q = diag(a) + adiag(b).

    Attributes:
        diagonal: a, (n,).
        antidiagonal: b, (n,), row by row; zero in the middle of an odd number of rows.
    """

    diagonal: Array
    antidiagonal: Array


def product(left: XMatrix, right: XMatrix) -> XMatrix:
    """Return the product of two, (a u + b ũ', a w + b ũ), with ~ for the order reversed.

    Args:
        left: (a, b).
        right: (u, w).

    Returns:
        An X again: diagonal a u + b flip(w), antidiagonal a w + b flip(u).

    Source: arXiv 2402.04553, theorem on matrix-free groups, number not seen.
    """
    a, b = left
    return XMatrix(
        a * right.diagonal + b * jnp.flip(right.antidiagonal),
        a * right.antidiagonal + b * jnp.flip(right.diagonal),
    )


def inverse(factor: XMatrix) -> XMatrix:
    """Return Q⁻¹ = (flip(a) / c, -b / c), c = a flip(a) - b flip(b).

    Args:
        factor: Q; no two rows that mirror each other may be dependent.

    Source: arXiv 2402.04553, number not seen.
    """
    a, b = factor
    determinant = a * jnp.flip(a) - b * jnp.flip(b)
    return XMatrix(jnp.flip(a) / determinant, -b / determinant)


def apply(factor: XMatrix, vector: Array) -> Array:
    """Return Q x.

    Args:
        factor: Q.
        vector: x, (n,).
    """
    return factor.diagonal * vector + factor.antidiagonal * jnp.flip(vector)


def apply_adjoint(factor: XMatrix, vector: Array) -> Array:
    """Return Qᵀ x.

    Args:
        factor: Q.
        vector: x, (n,).
    """
    return factor.diagonal * vector + jnp.flip(factor.antidiagonal * vector)


def apply_normal(factor: XMatrix, vector: Array) -> Array:
    """Return P x = QᵀQ x, P = diag(a² + flip(b)²) + adiag(a b + flip(a b)).

    Args:
        factor: Q.
        vector: x, (n,).

    Source: psgd_torch a8616f1, `precond_grad_Xmat_math`.
    """
    a, b = factor
    across = a * b
    return (a * a + jnp.flip(b * b)) * vector + (across + jnp.flip(across)) * jnp.flip(vector)


def update_factor(
    factor: XMatrix, lipschitz: Array, h: Array, v: Array, rule: StepRule
) -> tuple[XMatrix, Array]:
    """Move Q by dQ = E Q, E an X, down the gradient of hᵀP h + vᵀP⁻¹v.

    Args:
        factor: Q.
        lipschitz: L, a scalar.
        h: Gradient, or Hessian-vector product, (n,).
        v: White noise, or the vector that the Hessian was multiplied with, (n,).
        rule: How far.

    Returns:
        (Q, L) after the step; as they were where L overflows.

    Source: psgd_torch a8616f1, `update_precond_Xmat_math_`; arXiv 2211.04422, number not seen.
    """
    image = apply(factor, h)
    dual = apply_adjoint(inverse(factor), v)
    along = (image + dual) * (image - dual)
    across = image * jnp.flip(image) - dual * jnp.flip(dual)
    if h.shape[0] % 2:
        # The middle row has one entry only, which belongs to the diagonal.
        across = across.at[h.shape[0] // 2].set(0)

    divisor = rule.divisor(lipschitz, _SIZES[rule.order](image, dual, along, across))
    # What overflows says nothing of where to go.
    sound = jnp.isfinite(divisor)
    step = rule.step(divisor)
    change = product(XMatrix(along, across), factor)
    moved = XMatrix(
        *(jnp.where(sound, q - step * e, q) for q, e in zip(factor, change, strict=True))
    )
    return moved, jnp.where(sound, divisor, lipschitz)


def _curvature(image: Array, dual: Array, along: Array, across: Array) -> Array:
    del along, across
    return jnp.max(image * image + dual * dual)


def _largest(image: Array, dual: Array, along: Array, across: Array) -> Array:
    del image, dual
    return jnp.maximum(jnp.max(jnp.abs(along)), jnp.max(jnp.abs(across)))


_SIZES = {"tracked": _curvature, "2nd": _curvature, "1st": _largest}
