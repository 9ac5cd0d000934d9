"""PSGD with one dense matrix for all parameters, in every geometry of `geometry.GEOMETRIES`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reference.guards import global_norm
from reference.linalg.triangular import solve_adjoint
from reference.optimizer import Leaves, Optimizer, State
from reference.psgd.flat import Descent, Direction, Family, FlatDraws, Number, Options, StepRule
from reference.psgd.geometry import Auxiliary, Geometry
from reference.psgd.geometry import geometry as named

__all__ = ["dense_newton", "scale_by_dense_newton", "update_factor"]

Array = np.ndarray


# By the basis: a of (q, h), b of (q, v), the means of b b^T and of its size of q.
_FIRST: dict[str, Callable[[Array, Array], Array]] = {
    "whitened": lambda q, h: q @ h,
    "factor": lambda q, h: q @ (q.T @ (q @ h)),
    "normal": lambda q, h: q.T @ (q @ h),
    "direct": lambda q, h: q @ h,
}
_SECOND: dict[str, Callable[[Array, Array], Array]] = {
    "whitened": lambda q, v: solve_adjoint([q], v),
    "factor": lambda q, v: q @ v,
    "normal": lambda q, v: v,
    "direct": lambda q, v: v,
}
_MEANS: dict[str, Callable[[Array], tuple[Array, Any]]] = {
    "factor": lambda q: (q @ q.T, np.sum(q**2)),
    "normal": lambda q: (np.eye(len(q), dtype=q.dtype), 1),
    "direct": lambda q: (np.eye(len(q), dtype=q.dtype), 1),
}


def update_factor(
    q: Array,
    lipschitz: Array,
    h: Array,
    v: Array | None,
    rule: StepRule,
    geometry: Geometry,
    auxiliary: Auxiliary,
) -> tuple[Array, Array]:
    """Move a dense Q, or P itself in the basis "direct", by one step.

    With P = Q^T Q, or P = q, E = a a^T - b b^T of
        "whitened"  a = Q h     b = Q^-T v
        "factor"    a = Q P h   b = Q v
        "normal"    a = P h     b = v
        "direct"    a = P h     b = v
    Without v, b b^T is replaced by its mean: Q Q^T in the basis "factor", I in the last two.
    ell = a.a + b.b, where b.b is replaced by tr(Q Q^T) in "factor" and by 1 in the last two; for
    the order "1st" |E|_F. Then q <- the rule's step along E with mu = lr / L.

    Args:
        q: Q or P, shape (n, n), n at least 1; upper triangular in the basis "whitened".
        lipschitz: L, a scalar.
        h: the gradient, or the product of the Hessian with v; shape (n,).
        v: the vector, shape (n,); with None it is integrated out, but not in "whitened".
        rule: how long the step is.
        geometry: a row of `geometry.GEOMETRIES`.
        auxiliary: with the probes of a rotation.

    Returns:
        The new q and the new L, dtypes unchanged.

    Raises:
        ValueError: if there is no v in the basis "whitened".

    Source: psgd_torch, `update_precond_dense_eq` and its siblings; "1st":
    `update_precond_newton_math_`.
    """
    if v is None and geometry.basis == "whitened":
        raise ValueError("a fit in the basis 'whitened' needs a vector; v is None")
    a = _FIRST[geometry.basis](q, h)
    if v is None:
        second, square = _MEANS[geometry.basis](q)
    else:
        b = _SECOND[geometry.basis](q, v)
        second, square = np.outer(b, b), b @ b
    relative = (np.outer(a, a) - second).astype(q.dtype)
    smoothness = a @ a + square
    size = np.asarray(global_norm([relative]), relative.dtype)
    ell = {"tracked": smoothness, "2nd": smoothness, "1st": size}[rule.order]
    lipschitz, step = rule.advance(lipschitz, ell)
    return geometry.matrix(q, relative, step, auxiliary), lipschitz


def _start(size: int, dtype: np.dtype) -> State:
    return {"Q": np.eye(size, dtype=dtype), "L": np.zeros((), dtype)}


def _family(row: Geometry) -> Family:
    """Return the family of a geometry."""
    direct = row.basis == "direct"

    def fitted(fields: State, h: Array, v: Any, draws: FlatDraws, rule: StepRule) -> State:
        auxiliary = Auxiliary(draws.rotation_probes)
        q, lipschitz = update_factor(fields["Q"], fields["L"], h, v, rule, row, auxiliary)
        return {"Q": q, "L": lipschitz}

    def preconditioned(fields: State, vector: Array) -> Array:
        q = fields["Q"]
        return q @ vector if direct else q.T @ (q @ vector)

    return Family(
        fields=("Q", "L"),
        start=_start,
        powers={"Q": 2 if direct else 1},
        fitted=fitted,
        apply=preconditioned,
        probes=row.basis == "whitened",
        rotates=True,
    )


def scale_by_dense_newton(preconditioner_mode: str = "Q0.5EQ1.5", **options) -> Optimizer:
    """Return the direction P x of all leaves as one vector, with a dense P.

    Q moves by `update_factor`; the rest of the step is `flat.Direction`.

    Args:
        preconditioner_mode: a name of `geometry.GEOMETRIES`.
        **options: those of `flat.Options`. Where they draw no probes of a rotation, its norm is
            exact.

    Returns:
        An optimizer; for its step see `flat.Direction`. Its fields of the state are "Q", shape
        (n, n), which is P itself in the basis "direct", and "L", a scalar. A whitening fit has no
        probe but in the basis "whitened".

    Raises:
        ValueError: if a name is unknown, or a step is given a vector without product.

    Source: psgd_torch, `DenseNewton`; arXiv 2402.11858, number not seen; options of psgd_jax 0.1.5.
    """
    return Direction(_family(named(preconditioner_mode)), Options(**options)).optimizer()


def dense_newton(
    learning_rate: Number = 0.01,
    weight_decay: float = 0.0,
    mask: Mapping[str, bool] | Callable[[Leaves], Mapping[str, bool]] | None = None,
    **options,
) -> Optimizer:
    """Step along the direction of `scale_by_dense_newton`.

    W <- W - lr (u_t + weight_decay W).

    Args:
        learning_rate: lr, see `flat.Descent`.
        weight_decay: the decoupled decay.
        mask: which leaves decay.
        **options: those of `scale_by_dense_newton`.

    Returns:
        An optimizer; "updates" of its state is the change of the parameters.

    Source: psgd_torch, `DenseNewton`; decay: arXiv 1711.05101, Algorithm 2.
    """
    return Descent(scale_by_dense_newton(**options), learning_rate, weight_decay, mask).optimizer()
