"""PSGD with a low rank approximation: Q = (I + U V^T) diag(d), U and V of r columns.

For one V the matrices A_V(U) = I + U V^T are a group under multiplication, with the inverse
A_V(-U (I + V^T U)^-1); for one U likewise. A step moves along one of the two groups, never both.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from reference.optimizer import Leaves, Optimizer, State, keeps_dtype
from reference.psgd.flat import Descent, Direction, Family, FlatDraws, Number, Options, StepRule

__all__ = ["apply_normal", "low_rank_approximation", "scale_by_lra", "update_factor"]

Array = np.ndarray

# The older code balances U and V before this share of the fits.
_BALANCE_PROBABILITY = 0.01
# How much of their difference the newer code takes away in each.
_BALANCE_RATE = 0.1


class LowRank(NamedTuple):
    """Q = (I + U V^T) diag(d).

    Attributes:
        u: U, shape (n, r).
        v: V, shape (n, r).
        diagonal: d, shape (n,).
    """

    u: Array
    v: Array
    diagonal: Array

    @property
    def kernel(self) -> Array:
        """K = I + V^T U, shape (r, r), whose inverse is all that that of I + U V^T needs."""
        identity = np.eye(self.u.shape[1], dtype=self.u.dtype)
        return (identity + self.v.T @ self.u).astype(self.u.dtype)

    def apply(self, vector: Array) -> Array:
        """Return Q x = d x + U V^T (d x)."""
        return _plus(self.u, self.v, self.diagonal * vector)

    def apply_adjoint(self, vector: Array) -> Array:
        """Return Q^T x = d (x + V U^T x)."""
        return self.diagonal * _plus(self.v, self.u, vector)

    def solve(self, vector: Array) -> Array:
        """Return Q^-1 x = (x - U K^-1 V^T x) / d."""
        return _plus(-self.u @ _inverse(self.kernel), self.v, vector) / self.diagonal

    def solve_adjoint(self, vector: Array) -> Array:
        """Return Q^-T x = x / d - V K^-T U^T (x / d)."""
        return _plus(-self.v @ _inverse(self.kernel).T, self.u, vector / self.diagonal)

    def solve_normal(self, vector: Array) -> Array:
        """Return P^-1 x = Q^-1 Q^-T x."""
        return self.solve(self.solve_adjoint(vector))


class LowRankDraws(NamedTuple):
    """The random numbers of one fit.

    Attributes:
        side: uniform in [0, 1); U moves below 1/2, V otherwise.
        balance: uniform in [0, 1); the orders "2nd" and "1st" balance below 0.01.
    """

    side: float
    balance: float


def _plus(left: Array, right: Array, vector: Array) -> Array:
    """Return (I + A B^T) x."""
    return (vector + left @ (right.T @ vector)).astype(vector.dtype)


@keeps_dtype
def _inverse(matrix: Array) -> Array:
    return np.linalg.inv(matrix.astype(np.promote_types(matrix.dtype, np.float32)))


def apply_normal(factor: LowRank, vector: Array) -> Array:
    """Apply P = Q^T Q.

    y = d (a + V U^T a),  a = Q x = d x + U V^T (d x).

    Args:
        factor: Q, of U and V, shape (n, r), and d, shape (n,).
        vector: x, shape (n,).

    Returns:
        y, shape (n,).

    Source: psgd_torch, `precond_grad_lra`; arXiv 2402.04553, appendix D of the submission.
    """
    return factor.apply_adjoint(factor.apply(vector))


def _fully_balanced(factor: LowRank, uniform: float) -> LowRank:
    """Bring U^T U and V^T V towards each other, with U V^T as it was but for O(E^4)."""
    u, v, diagonal = factor
    sizes = np.sum(u**2), np.sum(v**2)
    if not all(size > 0 for size in sizes):
        return factor
    rho = (sizes[0] / sizes[1]) ** (1 / 4)
    u, v = u / rho, v * rho
    first, second = u.T @ u, v.T @ v
    e = _BALANCE_RATE * (first - second) / (np.trace(first) + np.trace(second))
    half = e @ e / 2
    return _in_dtype(LowRank(u - u @ (e - half), v + v @ (e + half), diagonal))


def _rarely_balanced(factor: LowRank, uniform: float) -> LowRank:
    """Bring the norms of U and V together, with U V^T as it was."""
    u, v, diagonal = factor
    norms = np.linalg.norm(u), np.linalg.norm(v)
    if uniform >= _BALANCE_PROBABILITY or not all(norm > 0 for norm in norms):
        return factor
    rho = np.sqrt(norms[0] / norms[1])
    return _in_dtype(LowRank(u / rho, v * rho, diagonal))


def _in_dtype(factor: LowRank) -> LowRank:
    """Round all parts to the dtype of d."""
    return LowRank(*(part.astype(factor.diagonal.dtype) for part in factor))


def _sum_of_maxima(h: Array, ph: Array, v: Array, pv: Array) -> Array:
    return np.max(np.abs(ph * h)) + np.max(np.abs(v * pv))


def _largest_product(h: Array, ph: Array, v: Array, pv: Array) -> Array:
    return np.max(np.sqrt(ph**2 + v**2) * np.sqrt(h**2 + pv**2))


def _largest_slope(h: Array, ph: Array, v: Array, pv: Array) -> Array:
    return np.max(np.abs(ph * h - v * pv))


def _sum_of_norms(a: Array, wa: Array, b: Array, wb: Array) -> Array:
    """Return |a| |w_a| + |b| |w_b|, a bound of |a w_a^T| + |b w_b^T|."""
    return np.sqrt(a @ a) * np.sqrt(wa @ wa) + np.sqrt(b @ b) * np.sqrt(wb @ wb)


def _norm_of_slope(a: Array, wa: Array, b: Array, wb: Array) -> Array:
    """Return |a w_a^T - b w_b^T|_F."""
    square = (a @ a) * (wa @ wa) + (b @ b) * (wb @ wb) - 2 * (a @ b) * (wa @ wb)
    return np.sqrt(np.abs(square))


class _Order(NamedTuple):
    """How one order balances, and its sizes of the steps of d and of U or V."""

    balanced: Callable[[LowRank, float], LowRank]
    diagonal_size: Callable[[Array, Array, Array, Array], Array]
    side_size: Callable[[Array, Array, Array, Array], Array]


_ORDERS = {
    "tracked": _Order(_fully_balanced, _sum_of_maxima, _sum_of_norms),
    "2nd": _Order(_rarely_balanced, _largest_product, _sum_of_norms),
    "1st": _Order(_rarely_balanced, _largest_slope, _norm_of_slope),
}


def update_factor(
    factor: LowRank, lipschitz: Array, h: Array, v: Array, draws: LowRankDraws, rule: StepRule
) -> tuple[LowRank, Array]:
    """Balance U and V, then move d, and U or V.

    "tracked": rho = (tr U^T U / tr V^T V)^(1/4), U <- U / rho, V <- rho V, and with
    E = (U^T U - V^T V) / (10 tr(U^T U + V^T V)): U <- U (I - E + E^2/2), V <- V (I + E + E^2/2).
    "2nd", "1st": with probability 0.01 rho = (|U|_F / |V|_F)^(1/2), and no E.
    A zero U or V stays, and so does the other.

    From there, before anything moves, a = Q h, P h, b = Q^-T v, P^-1 v and K = I + V^T U.
    d <- d - mu_d (P h h - v P^-1 v) d, all products by entries, with ell_d =
        "tracked"  max|P h h| + max|v P^-1 v|
        "2nd"      max ((P h)^2 + v^2)^(1/2) (h^2 + (P^-1 v)^2)^(1/2)
        "1st"      max|P h h - v P^-1 v|
    U <- U - mu_u (a a^T - b b^T) V K,  w_x = V V^T x,  if side < 1/2; otherwise
    V <- V - mu_v (I + V U^T) (a a^T - b b^T) U,  w_x = U U^T x;  with ell =
        "tracked", "2nd"   |a| |w_a| + |b| |w_b|
        "1st"              |a w_a^T - b w_b^T|_F
    The L of the side that does not move stays. With r = 0 only d moves.

    Args:
        factor: Q, of U and V, shape (n, r), and d, shape (n,), n at least 1.
        lipschitz: L of U, of V and of d, shape (3,).
        h: the gradient, or the product of the Hessian with v; shape (n,).
        v: the vector, shape (n,).
        draws: the random numbers.
        rule: how long the steps are.

    Returns:
        The new Q and the new L, dtypes unchanged.

    Source: psgd_torch, "tracked": `update_precond_lra`; "2nd", "1st": `update_precond_UVd_math_`.
    arXiv 2402.04553, Eq. (11) and appendix D of the submission.
    """
    order = _ORDERS[rule.order]
    factor = order.balanced(factor, draws.balance)
    a, b = factor.apply(h), factor.solve_adjoint(v)
    ph, pv = factor.apply_adjoint(a), factor.solve(b)
    lipschitz = lipschitz.copy()
    size = order.diagonal_size(h, ph, v, pv)
    lipschitz[2], step = rule.advance(lipschitz[2], size)
    moved = factor._replace(diagonal=factor.diagonal - step * (ph * h - v * pv) * factor.diagonal)
    if factor.u.shape[1]:
        name, row, other = ("u", 0, factor.v) if draws.side < 0.5 else ("v", 1, factor.u)
        size = order.side_size(a, other @ (other.T @ a), b, other @ (other.T @ b))
        lipschitz[row], step = rule.advance(lipschitz[row], size)
        slope = np.outer(a, a @ other) - np.outer(b, b @ other)
        if name == "u":
            moved = moved._replace(u=factor.u - step * slope @ factor.kernel)
        else:
            moved = moved._replace(v=factor.v - step * (slope + factor.v @ (factor.u.T @ slope)))
    return _in_dtype(moved), lipschitz


def _start(rank: int, start: tuple[Array, Array] | None, seed: int) -> Callable[..., State]:
    """Return a function of n and a dtype that gives the fields before the first fit."""

    def fields(size: int, dtype: np.dtype) -> State:
        if size and rank >= size:
            raise ValueError(
                f"uvd_rank_of_approximation is {rank}; it must be less than the {size} parameters"
            )
        shape = (size, rank if size else 0)
        if start is None:
            # Zeros at the end of a seed do not count; those of the steps have two numbers.
            normal = np.random.default_rng([seed, 0, 1]).standard_normal((2, *shape))
            sides = [
                side * np.sqrt(0.1) / np.linalg.norm(side) if side.size else side for side in normal
            ]
        else:
            sides = [np.reshape(side, shape) for side in start]
        u, v = (side.astype(dtype) for side in sides)
        return {"U": u, "V": v, "d": np.ones(size, dtype), "L": np.zeros(3, dtype)}

    return fields


def _factor(fields: State) -> LowRank:
    return LowRank(fields["U"], fields["V"], fields["d"])


def _fitted(fields: State, h: Array, v: Array, draws: FlatDraws, rule: StepRule) -> State:
    own = LowRankDraws(draws.side, draws.balance)
    (u, v, d), lipschitz = update_factor(_factor(fields), fields["L"], h, v, own, rule)
    return {"U": u, "V": v, "d": d, "L": lipschitz}


def _preconditioned(fields: State, vector: Array) -> Array:
    return apply_normal(_factor(fields), vector)


def scale_by_lra(
    uvd_rank_of_approximation: int = 10, start: tuple[Array, Array] | None = None, **options
) -> Optimizer:
    """Return the direction P x of all leaves as one vector, with P = Q^T Q and Q a `LowRank`.

    Q moves by `update_factor`; the rest of the step is `flat.Direction`.

    Args:
        uvd_rank_of_approximation: r, less than the number n of parameters; with no parameters any.
        start: U and V before the first step, shape (n, r); None draws normal numbers, each
            multiplied by sqrt(0.1) / |.|_F. d is 1 before it is scaled.
        **options: those of `flat.Options`.

    Returns:
        An optimizer; for its step see `flat.Direction`. Its fields of the state are "U" and "V",
        shape (n, r), "d", shape (n,), and "L", shape (3,), of U, V and d.

    Raises:
        ValueError: if r is negative or not less than n, a name is unknown, or a step is given a
            vector without product.

    Source: psgd_torch, `LRAWhiten` and `LRANewton`; arXiv 2402.04553, number not seen; options of
    psgd_jax 0.1.5.
    """
    rank = uvd_rank_of_approximation
    if rank < 0:
        raise ValueError(f"uvd_rank_of_approximation is {rank}; it must not be negative")
    chosen = Options(**options)
    family = Family(
        ("U", "V", "d", "L"), _start(rank, start, chosen.seed), {"d": 1}, _fitted, _preconditioned
    )
    return Direction(family, chosen).optimizer()


def low_rank_approximation(
    learning_rate: Number = 0.01,
    weight_decay: float = 0.0,
    mask: Mapping[str, bool] | Callable[[Leaves], Mapping[str, bool]] | None = None,
    **options,
) -> Optimizer:
    """Step along the direction of `scale_by_lra`.

    W <- W - lr (u_t + weight_decay W).

    Args:
        learning_rate: lr, see `flat.Descent`.
        weight_decay: the decoupled decay.
        mask: which leaves decay.
        **options: those of `scale_by_lra`.

    Returns:
        An optimizer; "updates" of its state is the change of the parameters.

    Source: psgd_torch, `LRAWhiten` and `LRANewton`; decay: arXiv 1711.05101, Algorithm 2.
    """
    return Descent(scale_by_lra(**options), learning_rate, weight_decay, mask).optimizer()
