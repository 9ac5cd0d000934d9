"""The ways to move a factor of the preconditioner: one row of a table for each.

A row has a rule for dense factors and one for diagonal factors. Both are given the factor q, the
relative gradient E of the criterion, (T₁ - T₂) / L, and the step μ; only their product counts.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rollfast.linalg.hermitian import hermitian_part, hermitian_product, hermitian_times
from rollfast.linalg.positive import cayley, exponential, hermitian_polar_factor
from rollfast.linalg.procrustes import rotate_second_order, rotate_third_order
from rollfast.linalg.upper import upper_product
from rollfast.options import check_choice
from rollfast.typing import Array

__all__ = [
    "GEOMETRIES",
    "Auxiliary",
    "Geometry",
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

_MOST_ROTATIONS = 10
_ASYMMETRY = 1e-3


class Auxiliary(NamedTuple):
    """What some rules need besides.

    Attributes:
        probes: Random rows for the norm of a rotation's generator, (k, n), or None.
        least_iterations: Newton–Schulz iterations made in any case.
    """

    probes: Array | None = None
    least_iterations: int = 5


def eq_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move an upper triangular factor by dQ = E Q, Q ← Q - μ triu(E) Q.

    Args:
        q: Q, (n, n), upper triangular with positive diagonal.
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: Unused.

    Returns:
        Q after the step, (n, n), upper triangular.

    Source: arXiv 2402.11858v7, number not seen; psgd_torch a8616f1, `update_precond_kron_eq`.
    """
    del auxiliary
    return q - step * upper_product(jnp.triu(gradient), q)


def eq_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor by dQ = E Q, q ← q - μ E q. All (n,) and a scalar."""
    return q - step * gradient * q


def qep_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move a factor by dQ = Q E P, Q ← Q - μ E Q with E taken of Q P g and Q v.

    Args:
        q: Q, (n, n).
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: Unused.

    Returns:
        Q after the step, (n, n).

    Source: psgd_torch a8616f1, `update_precond_kron_whiten_qep`.
    """
    del auxiliary
    return q - step * hermitian_times(gradient, q)


def qep_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor by dQ = Q E P, q ← (1 - μ E) q. All (n,) and a scalar."""
    return q * (1 - step * gradient)


def qeq_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move a factor by dQ = Q E Q, Q ← Q - μ Q E with E taken of P g and v.

    Args:
        q: Q, (n, n).
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: Unused.

    Returns:
        Q after the step, (n, n).

    Source: psgd_torch a8616f1, `update_precond_kron_whiten_qeq`.
    """
    del auxiliary
    return q - step * (q @ gradient)


def qeq_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor by dQ = Q E Q, q ← (1 - μ E) q. All (n,) and a scalar."""
    return q * (1 - step * gradient)


def q0p5eq1p5_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move a factor by dQ = Q^½ E Q^(3/2), Q ← Q - μ E Q, and rotate it towards a positive one.

    Args:
        q: Q, (n, n), close to Hermitian and positive.
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: With probes.

    Returns:
        Q after the step, (n, n).

    Source: psgd_torch a8616f1, `update_precond_kron_whiten_q0p5eq1p5`.
    """
    return rotate_second_order(q - step * hermitian_times(gradient, q), _probes(auxiliary))


def q0p5eq1p5_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor by dQ = Q^½ E Q^(3/2), q ← (1 - μ E) q. All (n,) and a scalar."""
    return q * (1 - step * gradient)


def quad_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move a positive factor by a congruence, Q ← (I - μE/2) Q (I - μE/2).

    Args:
        q: Q, (n, n), Hermitian and positive.
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: Unused.

    Returns:
        Q after the step, (n, n), Hermitian and positive.

    Source: psgd_torch a8616f1, `update_precond_kron_whiten_quad`.
    """
    del auxiliary
    return _quadratic(q, -step / 2 * gradient)


def quad_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor by a congruence, q ← (1 - μE/2)² q. All (n,) and a scalar."""
    return q * (1 - step / 2 * gradient) ** 2


def quad4p_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move a factor of P itself by a congruence, P ← (I - μE) P (I - μE).

    Twice the step of `quad_matrix`, as P = Q² moves by 2 Q dQ.

    Args:
        q: P, (n, n), Hermitian and positive.
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: Unused.

    Returns:
        P after the step, (n, n), Hermitian and positive.

    Source: psgd_torch a8616f1, `update_precond_kron_whiten_quad4p`.
    """
    del auxiliary
    return _quadratic(q, -step * gradient)


def quad4p_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor of P by a congruence, p ← (1 - μE)² p. All (n,) and a scalar."""
    return q * (1 - step * gradient) ** 2


def pro4p_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move a factor of P itself by dP = P^½ E P, P ← P - μ E P, and rotate until Hermitian.

    Args:
        q: P, (n, n), close to Hermitian and positive.
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: With probes, the same for every rotation.

    Returns:
        P after the step, (n, n), Hermitian to one part in a thousand or rotated ten times.

    Source: psgd_torch a8616f1, `update_precond_kron_whiten_pro4p`.
    """
    probes = _probes(auxiliary)

    def unfinished(carry: tuple[Array, Array]) -> Array:
        count, p = carry
        asymmetry = jnp.max(jnp.abs(p - p.conj().T))
        crooked = ~(asymmetry < _ASYMMETRY * jnp.max(jnp.abs(p)))
        return (count == 0) | ((count < _MOST_ROTATIONS) & crooked)

    def rotate(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        count, p = carry
        return count + 1, rotate_third_order(p, probes)

    start = (jnp.zeros([], jnp.int32), q - step * hermitian_times(gradient, q))
    return jax.lax.while_loop(unfinished, rotate, start)[1]


def pro4p_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor of P by dP = P^½ E P, p ← (1 - μ E) p. All (n,) and a scalar."""
    return q * (1 - step * gradient)


def ns_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move a factor by Q ← Q - μ E Q and replace it by its Hermitian polar factor.

    The rotation of `q0p5eq1p5_matrix` carried to its end, by Newton–Schulz iterations.

    Args:
        q: Q, (n, n), Hermitian and positive.
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: With the least number of iterations.

    Returns:
        Q after the step, (n, n), Hermitian and positive.
    """
    return hermitian_polar_factor(
        q - step * hermitian_times(gradient, q), auxiliary.least_iterations
    )


def ns_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor, which needs no rotation, q ← (1 - μ E) q. All (n,) and a scalar."""
    return q * (1 - step * gradient)


def exp_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move a positive factor by Q ← exp(-μE/2) Q exp(-μE/2).

    Args:
        q: Q, (n, n), Hermitian and positive.
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: Unused.

    Returns:
        Q after the step, (n, n), Hermitian and positive.
    """
    del auxiliary
    return _congruence(q, exponential(-step / 2 * gradient))


def exp_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor by q ← exp(-μE) q. All (n,) and a scalar."""
    return q * jnp.exp(-step * gradient)


def taylor2_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move a positive factor by Q ← C Q C, C = I - H + H²/2, H = μE/2.

    C is the exponential of `exp_matrix` to second order. It is taken inside the congruence, where
    1 - x + x²/2 > 0 keeps the factor positive, which the expansion of the product does not.

    Args:
        q: Q, (n, n), Hermitian and positive.
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: Unused.

    Returns:
        Q after the step, (n, n), Hermitian and positive.
    """
    del auxiliary
    half = step / 2 * gradient
    identity = jnp.eye(q.shape[0], dtype=q.dtype)
    return _congruence(q, identity - half + half @ half / 2)


def taylor2_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor by q ← (1 - h + h²/2)² q, h = μE/2. All (n,) and a scalar."""
    half = step / 2 * gradient
    return q * (1 - half + half**2 / 2) ** 2


def hyper_matrix(q: Array, gradient: Array, step: Array, auxiliary: Auxiliary) -> Array:
    """Move a positive factor by Q ← C Q C, C = (I + H)⁻¹ (I - H), H = μE/4.

    C = exp(-2 artanh H) is positive and, unlike the exponential, rational.

    Args:
        q: Q, (n, n), Hermitian and positive.
        gradient: E, (n, n), Hermitian.
        step: μ, a scalar.
        auxiliary: Unused.

    Returns:
        Q after the step, (n, n), Hermitian and positive.
    """
    del auxiliary
    return _congruence(q, cayley(step / 4 * gradient))


def hyper_vector(q: Array, gradient: Array, step: Array) -> Array:
    """Move a diagonal factor by q ← ((1 - h) / (1 + h))² q, h = μE/4. All (n,) and a scalar."""
    quarter = step / 4 * gradient
    return q * ((1 - quarter) / (1 + quarter)) ** 2


def _quadratic(q: Array, change: Array) -> Array:
    moved = q + hermitian_times(change, q)
    return hermitian_part(hermitian_product(moved, change, moved))


def _congruence(q: Array, side: Array) -> Array:
    return hermitian_part(hermitian_product(hermitian_times(side, q), side))


def _probes(auxiliary: Auxiliary) -> Array:
    if auxiliary.probes is None:
        raise ValueError("auxiliary.probes=None is not allowed; this geometry rotates the factor.")
    return auxiliary.probes


class Geometry(NamedTuple):
    """One way to move the factors.

    Attributes:
        name: Public name.
        basis: Of what the Gram matrices are made: `whitened` (Q g and Q⁻ᴴ v), `factor` (Qᵢ P g),
            `normal` (P g) or `direct` (P g, where the factor is one of P itself).
        matrix: Rule of a dense factor.
        vector: Rule of a diagonal factor.
        rotates: Whether the rule of a dense factor needs probes.
        form: What a dense factor is, `triangular` or `hermitian`, or None.
    """

    name: str
    basis: str
    matrix: Callable[[Array, Array, Array, Auxiliary], Array]
    vector: Callable[[Array, Array, Array], Array]
    rotates: bool = False
    form: str | None = None


_DEFAULT = Geometry("Q0.5EQ1.5", "normal", q0p5eq1p5_matrix, q0p5eq1p5_vector, rotates=True)
GEOMETRIES = {
    "EQ": Geometry("EQ", "whitened", eq_matrix, eq_vector, form="triangular"),
    "QEP": Geometry("QEP", "factor", qep_matrix, qep_vector),
    "QEQ": Geometry("QEQ", "normal", qeq_matrix, qeq_vector),
    "Q0.5EQ1.5": _DEFAULT,
    "Q0p5EQ1p5": _DEFAULT,
    "QUAD": Geometry("QUAD", "normal", quad_matrix, quad_vector, form="hermitian"),
    "QUAD4P": Geometry("QUAD4P", "direct", quad4p_matrix, quad4p_vector),
    "PRO4P": Geometry("PRO4P", "direct", pro4p_matrix, pro4p_vector, rotates=True),
    "NS": Geometry("NS", "normal", ns_matrix, ns_vector, form="hermitian"),
    "EXP": Geometry("EXP", "normal", exp_matrix, exp_vector, form="hermitian"),
    "TAYLOR2": Geometry("TAYLOR2", "normal", taylor2_matrix, taylor2_vector, form="hermitian"),
    "HYPER": Geometry("HYPER", "normal", hyper_matrix, hyper_vector, form="hermitian"),
}


def geometry(mode: str) -> Geometry:
    """Return the row of a name.

    Args:
        mode: A name in `GEOMETRIES`, or an enumeration's member whose value is one.

    Raises:
        ValueError: There is no such row.
    """
    name = getattr(mode, "value", mode)
    check_choice("preconditioner_mode", name, GEOMETRIES, unlisted=["Q0p5EQ1p5"])
    return GEOMETRIES[name]
