"""PSGD with matrices in the shape of an X: a diagonal and an antidiagonal.

Q = diag(a) + adiag(b), (Q x)_i = a_i x_i + b_i x_{n+1-i}. These matrices are closed under products
and inverses: each pair of entries i and n + 1 - i is a 2 x 2 matrix of its own.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from reference.optimizer import Leaves, Optimizer, State
from reference.psgd.flat import Descent, Direction, Family, FlatDraws, Number, Options, StepRule

__all__ = [
    "apply",
    "apply_adjoint",
    "apply_normal",
    "inverse",
    "product",
    "scale_by_xmat",
    "update_factor",
    "xmat",
]

Array = np.ndarray


class XMatrix(NamedTuple):
    """Q = diag(a) + adiag(b).

    Attributes:
        diagonal: a, shape (n,).
        antidiagonal: b, shape (n,); b_i is in row i. In the middle of an odd n it is 0: what is
            there is in a.
    """

    diagonal: Array
    antidiagonal: Array


def product(left: XMatrix, right: XMatrix) -> XMatrix:
    """Return the product of two matrices.

    (a, b) (u, w) = (a u + b flip(w), a w + b flip(u)).

    Args:
        left: (a, b), each of shape (n,).
        right: (u, w), the same.

    Returns:
        The product, the same.

    Source: arXiv 2402.04553, Theorem 3.1 of the submission, for the reversal of a vector.
    """
    (a, b), (u, w) = left, right
    return XMatrix(a * u + b * np.flip(w), a * w + b * np.flip(u))


def inverse(factor: XMatrix) -> XMatrix:
    """Return the inverse.

    (a, b)^-1 = (flip(a) / c, -b / c),  c = a flip(a) - b flip(b).

    Args:
        factor: (a, b), each of shape (n,), with no entry of c zero.

    Returns:
        The inverse, the same.

    Source: arXiv 2402.04553, number not seen.
    """
    a, b = factor
    determinant = a * np.flip(a) - b * np.flip(b)
    return XMatrix(np.flip(a) / determinant, -b / determinant)


def apply(factor: XMatrix, vector: Array) -> Array:
    """Apply Q.

    y = a x + b flip(x).

    Args:
        factor: (a, b), each of shape (n,).
        vector: x, shape (n,).

    Returns:
        y, shape (n,).

    Source: the definition.
    """
    a, b = factor
    return a * vector + b * np.flip(vector)


def apply_adjoint(factor: XMatrix, vector: Array) -> Array:
    """Apply Q^T.

    y = a x + flip(b x).

    Args:
        factor: (a, b), each of shape (n,).
        vector: x, shape (n,).

    Returns:
        y, shape (n,).

    Source: the definition.
    """
    a, b = factor
    return a * vector + np.flip(b * vector)


def apply_normal(factor: XMatrix, vector: Array) -> Array:
    """Apply P = Q^T Q.

    y = (a^2 + flip(b)^2) x + (a b + flip(a b)) flip(x).

    Args:
        factor: (a, b), each of shape (n,).
        vector: x, shape (n,).

    Returns:
        y, shape (n,).

    Source: psgd_torch, `precond_grad_Xmat_math`.
    """
    a, b = factor
    both = a * b
    return (a**2 + np.flip(b) ** 2) * vector + (both + np.flip(both)) * np.flip(vector)


def update_factor(
    factor: XMatrix, lipschitz: Array, h: Array, v: Array, rule: StepRule
) -> tuple[XMatrix, Array]:
    """Move Q by one step in the coordinate dQ = E Q, E of the shape of an X.

    y = Q h,  s = Q^-T v;  E = (gA, gB),  gA = y^2 - s^2,  gB = y flip(y) - s flip(s), the part of
    y y^T - s s^T on the X; in the middle of an odd n gB is 0, since gA has that entry.
    ell = max(y^2 + s^2), or for the order "1st" max(|gA|, |gB|);  Q <- Q - mu E Q.

    Args:
        factor: Q, (a, b), each of shape (n,), n at least 1.
        lipschitz: L, a scalar.
        h: the gradient, or the product of the Hessian with v; shape (n,).
        v: the vector, shape (n,).
        rule: how long the step is.

    Returns:
        The new Q and the new L, dtypes unchanged.

    Source: psgd_torch, `update_precond_Xmat_math_`; arXiv 2402.04553, number not seen. "tracked":
    `update_precond_lra` and its siblings.
    """
    y, s = apply(factor, h), apply_adjoint(inverse(factor), v)
    on_diagonal = (y + s) * (y - s)
    on_antidiagonal = y * np.flip(y) - s * np.flip(s)
    if len(y) % 2:
        on_antidiagonal[len(y) // 2] = 0
    smoothness = np.max(y**2 + s**2)
    size = np.max(np.maximum(np.abs(on_diagonal), np.abs(on_antidiagonal)))
    ell = {"tracked": smoothness, "2nd": smoothness, "1st": size}[rule.order]
    lipschitz, step = rule.advance(lipschitz, ell)
    change = product(XMatrix(on_diagonal, on_antidiagonal), factor)
    moved = (_moved(q, dq, step) for q, dq in zip(factor, change, strict=True))
    return XMatrix(*moved), lipschitz


def _moved(entries: Array, change: Array, step: Array) -> Array:
    return (entries - step * change).astype(entries.dtype)


def _start(size: int, dtype: np.dtype) -> State:
    return {"a": np.ones(size, dtype), "b": np.zeros(size, dtype), "L": np.zeros((), dtype)}


def _fitted(fields: State, h: Array, v: Array, draws: FlatDraws, rule: StepRule) -> State:
    (a, b), lipschitz = update_factor(XMatrix(fields["a"], fields["b"]), fields["L"], h, v, rule)
    return {"a": a, "b": b, "L": lipschitz}


def _preconditioned(fields: State, vector: Array) -> Array:
    return apply_normal(XMatrix(fields["a"], fields["b"]), vector)


_FAMILY = Family(("a", "b", "L"), _start, {"a": 1, "b": 1}, _fitted, _preconditioned)


def scale_by_xmat(**options) -> Optimizer:
    """Return the direction P x of all leaves as one vector, with P = Q^T Q and Q an `XMatrix`.

    Q moves by `update_factor`; the rest of the step is `flat.Direction`.

    Args:
        **options: those of `flat.Options`.

    Returns:
        An optimizer; for its step see `flat.Direction`. Its fields of the state are "a" and "b",
        shape (n,), and "L", a scalar.

    Raises:
        ValueError: if a name is unknown, or a step is given a vector without product.

    Source: psgd_torch, `XMat`; arXiv 2402.04553, number not seen; options of psgd_jax 0.1.5.
    """
    return Direction(_FAMILY, Options(**options)).optimizer()


def xmat(
    learning_rate: Number = 0.01,
    weight_decay: float = 0.0,
    mask: Mapping[str, bool] | Callable[[Leaves], Mapping[str, bool]] | None = None,
    **options,
) -> Optimizer:
    """Step along the direction of `scale_by_xmat`.

    W <- W - lr (u_t + weight_decay W).

    Args:
        learning_rate: lr, see `flat.Descent`.
        weight_decay: the decoupled decay.
        mask: which leaves decay.
        **options: those of `scale_by_xmat`.

    Returns:
        An optimizer; "updates" of its state is the change of the parameters.

    Source: psgd_torch, `XMat`; decay: arXiv 1711.05101, Algorithm 2.
    """
    return Descent(scale_by_xmat(**options), learning_rate, weight_decay, mask).optimizer()
