"""The ways to move one factor of the preconditioner: a table of rules.

A rule takes the factor q, the relative gradient E (Hermitian; a real vector for a diagonal factor)
and the step mu = lr / L, with mu ||E|| <= lr. What E is made of is the `basis` of the row. For
tensors of one axis all rules descend the criterion c(P) = E[h^H P h + v^H P^-1 v]; they differ in
the coordinate in which the step is one of gradient descent. For others that of EQ does, and the
rest whiten every axis. Results have the dtype of the factor.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from reference.linalg.positive import cayley, exponential, hermitian_polar_factor
from reference.linalg.procrustes import rotate_second_order, rotate_third_order

__all__ = [
    "eq_matrix",
    "eq_vector",
    "exp_matrix",
    "exp_vector",
    "geometry",
    "hyper_matrix",
    "hyper_vector",
    "ns_matrix",
    "ns_vector",
    "pro4p_matrix",
    "pro4p_vector",
    "q0p5eq1p5_matrix",
    "q0p5eq1p5_vector",
    "qep_matrix",
    "qep_vector",
    "qeq_matrix",
    "qeq_vector",
    "quad4p_matrix",
    "quad4p_vector",
    "quad_matrix",
    "quad_vector",
    "taylor2_matrix",
    "taylor2_vector",
]

Array = np.ndarray


class Auxiliary(NamedTuple):
    """What some rules need besides.

    Attributes:
        probes: standard normal rows, shape (k, n), for the norm of a rotation; with None the norm
            is exact.
        least_iterations: of the iteration that production takes in place of a decomposition; no
            rule here uses it.
    """

    probes: Array | None = None
    least_iterations: int = 5


def _keeps_factor_dtype(rule: Callable) -> Callable:
    """Round the result to the dtype of the factor, whatever that of the step is."""

    @functools.wraps(rule)
    def rounded(q, *arguments, **options):
        return rule(q, *arguments, **options).astype(q.dtype)

    return rounded


def _hermitian_part(matrix: Array) -> Array:
    return (matrix + matrix.conj().T) / 2


def _congruence(q: Array, side: Array) -> Array:
    return _hermitian_part(side @ q @ side)


@_keeps_factor_dtype
def eq_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take a step in the coordinate dQ = E Q, within the upper triangular matrices.

    Q <- Q - mu triu(E) Q.

    Args:
        q: Q, shape (n, n), upper triangular with positive diagonal, and so it stays.
        gradient: E, of A = Q h and B = Q^-H v.
        step: mu.
        auxiliary: not used.

    Source: psgd_torch, `update_precond_kron_eq`; arXiv 2402.11858, number not seen.
    """
    return q - step * np.triu(gradient) @ q


@_keeps_factor_dtype
def eq_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `eq_matrix` of a diagonal: q <- q - mu E q. Source: as there."""
    return q - step * gradient * q


@_keeps_factor_dtype
def qep_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take a step in the coordinate dQ = Q E P.

    Q <- Q - mu E Q.

    Args:
        q: Q, shape (n, n).
        gradient: E, of Q P h and Q v.
        step: mu.
        auxiliary: not used.

    Source: psgd_torch, `update_precond_kron_whiten_qep`; arXiv 2402.11858, number not seen.
    """
    return q - step * gradient @ q


@_keeps_factor_dtype
def qep_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `qep_matrix` of a diagonal: q <- q (1 - mu E). Source: as there."""
    return q * (1 - step * gradient)


@_keeps_factor_dtype
def qeq_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take a step in the coordinate dQ = Q E Q.

    Q <- Q - mu Q E.

    Args:
        q: Q, shape (n, n).
        gradient: E, of P h and v.
        step: mu.
        auxiliary: not used.

    Source: psgd_torch, `update_precond_kron_whiten_qeq`; arXiv 2402.11858, number not seen.
    """
    return q - step * q @ gradient


@_keeps_factor_dtype
def qeq_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `qeq_matrix` of a diagonal: q <- q (1 - mu E). Source: as there."""
    return q * (1 - step * gradient)


@_keeps_factor_dtype
def q0p5eq1p5_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take a step in the coordinate dQ = Q^(1/2) E Q^(3/2), and a rotation towards Q > 0.

    Q <- rotate_second_order(Q - mu E Q).

    Args:
        q: Q, shape (n, n), close to a positive definite matrix.
        gradient: E, of P h and v.
        step: mu.
        auxiliary: with the probes of the rotation.

    Source: psgd_torch, `update_precond_kron_whiten_q0p5eq1p5`; arXiv 2402.11858, number not seen.
    """
    return rotate_second_order(q - step * gradient @ q, auxiliary.probes)


@_keeps_factor_dtype
def q0p5eq1p5_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `q0p5eq1p5_matrix` of a diagonal: q <- q (1 - mu E). Source: as there."""
    return q * (1 - step * gradient)


@_keeps_factor_dtype
def quad_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take a step by a congruence, without an inverse.

    Q <- p - mu/2 p E,  p = Q - mu/2 E Q;  then (Q + Q^H) / 2.

    Args:
        q: Q, shape (n, n), positive definite, and so it stays.
        gradient: E, of P h and v.
        step: mu.
        auxiliary: not used.

    Source: psgd_torch, `update_precond_kron_whiten_quad`; no paper seen.
    """
    half = q - step / 2 * gradient @ q
    return _hermitian_part(half - step / 2 * half @ gradient)


@_keeps_factor_dtype
def quad_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `quad_matrix` of a diagonal: q <- q (1 - mu/2 E)^2. Source: as there."""
    return q * (1 - step / 2 * gradient) ** 2


@_keeps_factor_dtype
def quad4p_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take a step by a congruence of P itself.

    P <- p - mu p E,  p = P - mu E P;  then (P + P^H) / 2. Twice the step of `quad_matrix`, since
    P = Q^2 moves twice as fast as Q.

    Args:
        q: P, shape (n, n), positive definite, and so it stays.
        gradient: E, of P h and v.
        step: mu.
        auxiliary: not used.

    Source: psgd_torch, `update_precond_kron_whiten_quad4p`; no paper seen.
    """
    half = q - step * gradient @ q
    return _hermitian_part(half - step * half @ gradient)


@_keeps_factor_dtype
def quad4p_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `quad4p_matrix` of a diagonal: p <- p (1 - mu E)^2. Source: as there."""
    return q * (1 - step * gradient) ** 2


@_keeps_factor_dtype
def pro4p_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take a step in the coordinate dP = P^(1/2) E P, and rotations towards P > 0.

    P <- P - mu E P;  then P <- rotate_third_order(P) until max|P - P^H| < 1e-3 max|P|, at least
    once and at most ten times.

    Args:
        q: P, shape (n, n), close to a positive definite matrix.
        gradient: E, of P h and v.
        step: mu.
        auxiliary: with the probes, the same for every rotation.

    Source: psgd_torch, `update_precond_kron_whiten_pro4p`; no paper seen.
    """
    moved = q - step * gradient @ q
    for _ in range(10):
        moved = rotate_third_order(moved, auxiliary.probes)
        if np.max(np.abs(moved - moved.conj().T)) < 1e-3 * np.max(np.abs(moved)):
            break
    return moved


@_keeps_factor_dtype
def pro4p_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `pro4p_matrix` of a diagonal: p <- p (1 - mu E). Source: as there."""
    return q * (1 - step * gradient)


@_keeps_factor_dtype
def ns_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take the step of `q0p5eq1p5_matrix` with the Procrustes problem solved exactly.

    Q <- (A^H A)^(1/2),  A = Q - mu E Q.

    Args:
        q: Q, shape (n, n), positive definite, and so it stays.
        gradient: E, of P h and v.
        step: mu.
        auxiliary: not used.

    Source: rollfast 0.1.0, mode "NS", with the polar decomposition that its iteration means.
    """
    return hermitian_polar_factor(q - step * gradient @ q)


@_keeps_factor_dtype
def ns_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `ns_matrix` of a diagonal: q <- q (1 - mu E). Source: as there."""
    return q * (1 - step * gradient)


@_keeps_factor_dtype
def exp_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take a step by the congruence with an exponential.

    Q <- C Q C,  C = exp(-mu/2 E);  then (Q + Q^H) / 2.

    Args:
        q: Q, shape (n, n), positive definite, and so it stays.
        gradient: E, of P h and v.
        step: mu.
        auxiliary: not used.

    Source: rollfast 0.1.0, mode "EXP", as a congruence, which that code is not.
    """
    return _congruence(q, exponential(-step / 2 * gradient))


@_keeps_factor_dtype
def exp_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `exp_matrix` of a diagonal: q <- q exp(-mu E). Source: as there."""
    return q * np.exp(-step * gradient)


@_keeps_factor_dtype
def taylor2_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take the step of `exp_matrix` with the exponential to second order.

    Q <- C Q C,  C = I - H + H^2 / 2,  H = mu/2 E;  then (Q + Q^H) / 2. C is positive definite
    whatever H is.

    Args:
        q: Q, shape (n, n), positive definite, and so it stays.
        gradient: E, of P h and v.
        step: mu.
        auxiliary: not used.

    Source: rollfast 0.1.0, mode "TAYLOR2", as a congruence, which that code is not.
    """
    half = step / 2 * gradient
    return _congruence(q, np.eye(len(q), dtype=q.dtype) - half + half @ half / 2)


@_keeps_factor_dtype
def taylor2_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `taylor2_matrix` of a diagonal: q <- C q C. Source: as there."""
    half = step / 2 * gradient
    return q * (1 - half + half**2 / 2) ** 2


@_keeps_factor_dtype
def hyper_matrix(q: Array, gradient: Array, step: float, auxiliary: Auxiliary) -> Array:
    """Take a step by the congruence with a Cayley transform.

    Q <- C Q C,  C = (I + H)^-1 (I - H) = exp(-2 artanh H),  H = mu/4 E;  then (Q + Q^H) / 2.

    Args:
        q: Q, shape (n, n), positive definite, and so it stays.
        gradient: E, of P h and v.
        step: mu.
        auxiliary: not used.

    Source: rollfast 0.1.0, mode "HYPER", as a congruence, which that code is not.
    """
    return _congruence(q, cayley(step / 4 * gradient))


@_keeps_factor_dtype
def hyper_vector(q: Array, gradient: Array, step: float) -> Array:
    """Take the step of `hyper_matrix` of a diagonal: q <- C q C. Source: as there."""
    quarter = step / 4 * gradient
    return q * ((1 - quarter) / (1 + quarter)) ** 2


class Geometry(NamedTuple):
    """One way to move the factors.

    Attributes:
        name: the spelling that users choose it by.
        basis: what E is made of: "whitened" (Q h, Q^-H v), "factor" (Q P h, Q v), "normal" (P h, v
            with P = Q^H Q) or "direct" (P h, v with q a factor of P itself).
        matrix: the rule of a dense factor.
        vector: the rule of a diagonal factor.
    """

    name: str
    basis: str
    matrix: Callable[..., Array]
    vector: Callable[..., Array]


GEOMETRIES = {
    row.name: row
    for row in (
        Geometry("EQ", "whitened", eq_matrix, eq_vector),
        Geometry("QEP", "factor", qep_matrix, qep_vector),
        Geometry("QEQ", "normal", qeq_matrix, qeq_vector),
        Geometry("Q0.5EQ1.5", "normal", q0p5eq1p5_matrix, q0p5eq1p5_vector),
        Geometry("QUAD", "normal", quad_matrix, quad_vector),
        Geometry("QUAD4P", "direct", quad4p_matrix, quad4p_vector),
        Geometry("PRO4P", "direct", pro4p_matrix, pro4p_vector),
        Geometry("NS", "normal", ns_matrix, ns_vector),
        Geometry("EXP", "normal", exp_matrix, exp_vector),
        Geometry("TAYLOR2", "normal", taylor2_matrix, taylor2_vector),
        Geometry("HYPER", "normal", hyper_matrix, hyper_vector),
    )
}
GEOMETRIES["Q0p5EQ1p5"] = GEOMETRIES["Q0.5EQ1.5"]


def geometry(mode: str) -> Geometry:
    """Return the row of a name.

    Args:
        mode: a key of `GEOMETRIES`; "Q0p5EQ1p5" is another spelling of "Q0.5EQ1.5".

    Returns:
        The row.

    Raises:
        ValueError: if there is no such row; it names all.

    Source: the names are those of psgd_torch and of rollfast 0.1.0.
    """
    if mode not in GEOMETRIES:
        allowed = ", ".join(repr(known) for known in GEOMETRIES)
        raise ValueError(f"geometry: mode is {mode!r}; allowed are {allowed}")
    return GEOMETRIES[mode]
