"""Preconditioners of a diagonal and a low rank, Q = (I + U Vᵀ) diag(d).

U and V are kept as the rows of one array, of which a product with a vector reads every number
once and in its order, and beside them the products of all pairs of rows. What a step needs of U
and V is then two such products with vectors, and arithmetic on matrices of a few rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rollfast.psgd.flat import StepRule
from rollfast.trees.columns import fold_columns, map_columns, sum_over_columns
from rollfast.typing import Array

__all__ = [
    "LowRank",
    "LowRankDraws",
    "apply_normal",
    "gram_of",
    "low_rank",
    "refreshed",
    "update_factor",
]

_BALANCE_RATE = 0.1
_BALANCE_PROBABILITY = 0.01


class LowRank(NamedTuple):
    """Q = (I + U Vᵀ) diag(d).

    Attributes:
        rows: The columns of U, then those of V, (2r, n).
        diagonal: d, (n,).
        gram: Products of all pairs of rows, (2r, 2r).
    """

    rows: Array
    diagonal: Array
    gram: Array

    @property
    def rank(self) -> int:
        """Number of columns of U."""
        return self.rows.shape[0] // 2


class LowRankDraws(NamedTuple):
    """Random numbers of one step.

    Attributes:
        side: Uniform in [0, 1); below a half U moves, else V.
        balance: Uniform in [0, 1), for the orders that balance now and then.
    """

    side: Array
    balance: Array


class _Images(NamedTuple):
    """What a pair becomes, entry by entry.

    Attributes:
        a: Q h, (k,).
        b: Q⁻ᵀ v, (k,).
        preconditioned: P h, (k,).
        inverted: P⁻¹ v, (k,).
        first: h times P h, (k,).
        second: v times P⁻¹ v, (k,).
    """

    a: Array
    b: Array
    preconditioned: Array
    inverted: Array
    first: Array
    second: Array


class _Pair(NamedTuple):
    """A pair as the low-rank part sees it, all over the rows [U; V] after balancing.

    Attributes:
        weights: Rows in a, in what P h is of, in b, and in what P⁻¹v is of, (4, 2r).
        products: Rows times a, and times b, (2r, 2).
        inner: Products of all pairs of a and b, (2, 2).
        sizes: What the step of d is divided by is their sum, (1,) or (2,).
    """

    weights: Array
    products: Array
    inner: Array
    sizes: Array


def low_rank(u: Array, v: Array, diagonal: Array) -> LowRank:
    """Return Q from its parts.

    Args:
        u: U, (n, r).
        v: V, (n, r).
        diagonal: d, (n,).
    """
    rows = jnp.concatenate([u.T, v.T])
    return LowRank(rows, diagonal, gram_of(rows))


def gram_of(rows: Array) -> Array:
    """Return the products of all pairs of rows, (2r, 2r), from (2r, n)."""
    return rows @ rows.T


def refreshed(factor: LowRank, wanted: Array) -> LowRank:
    """Return Q with the products of its rows made anew from them, where that is wanted.

    Args:
        factor: Q.
        wanted: Whether to, a boolean.
    """
    return factor._replace(gram=sum_over_columns(gram_of, factor.rows, factor.gram, wanted))


def apply_normal(factor: LowRank, vector: Array) -> Array:
    """Return P x = QᵀQ x.

    Args:
        factor: Q.
        vector: x, (n,).

    Source: psgd_torch a8616f1, `precond_grad_lra`.
    """
    rank = factor.rank
    scaled = factor.diagonal * vector
    along = factor.rows @ scaled
    u, v = along[:rank], along[rank:]
    # Q x = d x + U v, of which Uᵀ is u + UᵀU v.
    weights = jnp.concatenate([v, u + factor.gram[:rank, :rank] @ v])
    return factor.diagonal * (scaled + weights @ factor.rows)


def update_factor(
    factor: LowRank,
    lipschitz: Array,
    h: Array,
    v: Array,
    draws: LowRankDraws,
    rule: StepRule,
) -> tuple[LowRank, Array]:
    """Move d, and one of U and V, down the gradient of hᵀP h + vᵀP⁻¹v.

    With V fixed the matrices I + U Vᵀ are a group in U, and the other way round; those in which
    both move are none, so that they take turns.

    Args:
        factor: Q.
        lipschitz: L of U, V and d, (3,).
        h: Gradient, or Hessian-vector product, (n,).
        v: White noise, or the vector that the Hessian was multiplied with, (n,).
        draws: Which of U and V moves, and whether they are balanced.
        rule: How far.

    Returns:
        (Q, L) after the step; as they were where an estimate overflows.

    Source: psgd_torch a8616f1, `update_precond_lra`; arXiv 2402.04553, equation 11, in the
        submitted version.
    """
    balance = _BALANCES[rule.order](factor.gram, draws.balance)
    gram = balance @ factor.gram @ balance.T
    pair = _pair(factor, balance, gram, (h, v), rule.order)
    of_diagonal = rule.divisor(lipschitz[2], jnp.sum(pair.sizes))
    turn, divisors = jnp.zeros((0, 2), h.dtype), lipschitz.at[2].set(of_diagonal)
    if factor.rank:
        turn, divisors = _turn(gram, pair, draws, rule, divisors)
    # What overflows says nothing of where to go.
    sound = jnp.all(jnp.isfinite(divisors))
    divisors = jnp.where(sound, divisors, lipschitz)
    step = jnp.where(sound, rule.step(of_diagonal), 0)
    own = jnp.where(sound, turn[:, :-2] @ balance, jnp.eye(2 * factor.rank, dtype=h.dtype))
    move = _Move(pair.weights @ balance, own, jnp.where(sound, turn[:, -2:], 0), step, sound)
    rows, diagonal = map_columns(
        move.columns, (factor.rows, factor.diagonal[None]), (h[None], v[None])
    )
    whole = jnp.block([[gram, pair.products], [pair.products.T, pair.inner]])
    after = jnp.where(sound, turn @ whole @ turn.T, factor.gram)
    return LowRank(rows, diagonal[0], after), divisors


class _Move(NamedTuple):
    """How Q moves, column by column.

    Attributes:
        weights: Those of the pair, over the rows as they are kept, (4, 2r).
        own: Rows after the step, over those before it, (2r, 2r).
        beside: The same over a and b, (2r, 2).
        step: μ of d.
        sound: Whether it moves.
    """

    weights: Array
    own: Array
    beside: Array
    step: Array
    sound: Array

    def columns(self, rows: Array, diagonal: Array, h: Array, v: Array) -> tuple[Array, Array]:
        """Return some columns of the rows and of d after the step."""
        images = _images(self.weights, rows, diagonal[0], h[0], v[0])
        change = jnp.where(self.sound, self.step * (images.first - images.second), 0)
        beside = jnp.where(self.sound, jnp.stack([images.a, images.b]), 0)
        moved = jnp.concatenate([self.own, self.beside], 1) @ jnp.concatenate([rows, beside])
        return moved, diagonal - change[None] * diagonal


def _images(weights: Array, rows: Array, diagonal: Array, h: Array, v: Array) -> _Images:
    """Return a, b and the rest in some columns."""
    added = weights @ rows
    first, second = diagonal * h, v / diagonal
    # P h = d (a + V Uᵀa), P⁻¹v = (b - U K⁻¹ Vᵀb) / d.
    inside, outside = first + added[1], second + added[3]
    return _Images(
        first + added[0],
        second + added[2],
        diagonal * inside,
        outside / diagonal,
        first * inside,
        second * outside,
    )


def _pair(
    factor: LowRank, balance: Array, gram: Array, given: tuple[Array, Array], order: str
) -> _Pair:
    """Return a, b and what follows from them."""
    h, v = given
    weights, products = _products(factor, balance, gram, h, v)
    kept = weights @ balance

    def some(rows: Array, diagonal: Array, h: Array, v: Array) -> tuple[Array, Array]:
        images = _images(kept, rows, diagonal[0], h[0], v[0])
        both = jnp.stack([images.a, images.b])
        return both @ both.T, _DIAGONAL_SIZES[order](images, h[0], v[0])

    def together(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        return left[0] + right[0], jnp.maximum(left[1], right[1])

    columns = (factor.rows, factor.diagonal[None], h[None], v[None])
    return _Pair(weights, products, *fold_columns(some, together, columns))


def _products(
    factor: LowRank, balance: Array, gram: Array, h: Array, v: Array
) -> tuple[Array, Array]:
    """Return the weights and the products of `_Pair`."""
    rank = factor.rank
    if not rank:
        return jnp.zeros((4, 0), h.dtype), jnp.zeros((0, 2), h.dtype)
    # Two products with vectors read the rows faster than one with a matrix of two columns.
    h_u, h_v = jnp.split(balance @ (factor.rows @ (factor.diagonal * h)), 2)
    w_u, w_v = jnp.split(balance @ (factor.rows @ (v / factor.diagonal)), 2)
    u_u, u_v, v_v = gram[:rank, :rank], gram[:rank, rank:], gram[rank:, rank:]
    kernel = jnp.eye(rank, dtype=gram.dtype) + u_v.T
    a_u, a_v = h_u + u_u @ h_v, h_v + u_v.T @ h_v
    inner = jnp.linalg.solve(kernel.T, w_u)
    b_u, b_v = w_u - u_v @ inner, w_v - v_v @ inner
    outer = jnp.linalg.solve(kernel, b_v)
    nothing = jnp.zeros_like(inner)
    weights = [(h_v, nothing), (h_v, a_u), (nothing, -inner), (-outer, -inner)]
    products = jnp.stack([jnp.concatenate([a_u, a_v]), jnp.concatenate([b_u, b_v])], 1)
    return jnp.stack([jnp.concatenate(row) for row in weights]), products


def _turn(
    gram: Array, pair: _Pair, draws: LowRankDraws, rule: StepRule, divisors: Array
) -> tuple[Array, Array]:
    """Return (rows after the step over [U; V; a; b] before it, (2r, 2r + 2), all L)."""
    rank = gram.shape[0] // 2
    identity = jnp.eye(2 * rank, 2 * rank + 2, dtype=gram.dtype)
    (a_u, b_u), (a_v, b_v) = pair.products[:rank].T, pair.products[rank:].T
    size = _SIDE_SIZES[rule.order]

    def turn_u() -> tuple[Array, Array]:
        divisor = rule.divisor(divisors[0], size(gram[rank:, rank:], pair, (a_v, b_v)))
        kernel = jnp.eye(rank, dtype=gram.dtype) + gram[rank:, :rank]
        step = rule.step(divisor) * jnp.stack([a_v @ kernel, -b_v @ kernel], 1)
        return identity.at[:rank, -2:].add(-step), divisors.at[0].set(divisor)

    def turn_v() -> tuple[Array, Array]:
        divisor = rule.divisor(divisors[1], size(gram[:rank, :rank], pair, (a_u, b_u)))
        step = rule.step(divisor)
        within = step * (jnp.outer(a_u, a_u) - jnp.outer(b_u, b_u))
        turned = identity.at[rank:, -2:].add(-step * jnp.stack([a_u, -b_u], 1))
        return turned.at[rank:, rank:-2].add(-within), divisors.at[1].set(divisor)

    return jax.lax.cond(draws.side < 0.5, turn_u, turn_v)


def _balance_closely(gram: Array, uniform: Array) -> Array:
    """Return what brings UᵀU and VᵀV together, and leaves U Vᵀ nearly as it is."""
    del uniform
    rank = gram.shape[0] // 2
    u_u, v_v = gram[:rank, :rank], gram[rank:, rank:]
    of_u, of_v = jnp.trace(u_u), jnp.trace(v_v)
    can = (of_u > 0) & (of_v > 0)
    ratio = jnp.sqrt(jnp.where(can, of_u, 1) / jnp.where(can, of_v, 1))
    apart = u_u / ratio - v_v * ratio
    apart = _BALANCE_RATE * apart / jnp.where(can, of_u / ratio + of_v * ratio, 1)
    half_square = apart @ apart / 2
    identity = jnp.eye(rank, dtype=gram.dtype)
    root = jnp.sqrt(ratio)
    sides = [(identity - apart + half_square) / root, (identity + apart + half_square) * root]
    return jnp.where(can, jax.scipy.linalg.block_diag(*sides), jnp.eye(2 * rank, dtype=gram.dtype))


def _balance_rarely(gram: Array, uniform: Array) -> Array:
    """Return what gives U and V one norm, in one step of a hundred."""
    rank = gram.shape[0] // 2
    of_u, of_v = jnp.trace(gram[:rank, :rank]), jnp.trace(gram[rank:, rank:])
    can = (of_u > 0) & (of_v > 0) & (uniform < _BALANCE_PROBABILITY)
    root = (jnp.where(can, of_u, 1) / jnp.where(can, of_v, 1)) ** 0.25
    return jnp.diag(jnp.repeat(jnp.stack([1 / root, root]), rank, total_repeat_length=2 * rank))


_BALANCES = {"tracked": _balance_closely, "2nd": _balance_rarely, "1st": _balance_rarely}


def _largest_of_each(images: _Images, h: Array, v: Array) -> Array:
    del h, v
    return jnp.stack([jnp.max(jnp.abs(images.first)), jnp.max(jnp.abs(images.second))])


def _largest_product(images: _Images, h: Array, v: Array) -> Array:
    # Roots before the product, which would overflow sooner.
    sizes = jnp.hypot(images.preconditioned, v) * jnp.hypot(h, images.inverted)
    return jnp.max(sizes)[None]


def _largest_difference(images: _Images, h: Array, v: Array) -> Array:
    del h, v
    return jnp.max(jnp.abs(images.first - images.second))[None]


_DIAGONAL_SIZES = {
    "tracked": _largest_of_each,
    "2nd": _largest_product,
    "1st": _largest_difference,
}


def _norms(gram: Array, pair: _Pair, products: tuple[Array, Array]) -> tuple[Array, ...]:
    """Return |a|, |b|, |V Vᵀa| and |V Vᵀb|, or the same with U."""
    images = [jnp.sqrt(jnp.diag(pair.inner)[side]) for side in (0, 1)]
    turned = [jnp.sqrt(jnp.maximum(p @ gram @ p, 0)) for p in products]
    return *images, *turned


def _sum_of_norms(gram: Array, pair: _Pair, products: tuple[Array, Array]) -> Array:
    """Return |a| |V Vᵀa| + |b| |V Vᵀb|, or the same with U."""
    a, b, turned_a, turned_b = _norms(gram, pair, products)
    return a * turned_a + b * turned_b


def _norm_of_difference(gram: Array, pair: _Pair, products: tuple[Array, Array]) -> Array:
    """Return the norm of a (V Vᵀa)ᵀ - b (V Vᵀb)ᵀ, or of the same with U."""
    a, b, turned_a, turned_b = _norms(gram, pair, products)
    first, second = a * turned_a, b * turned_b
    # Fourth powers of the pair leave the range of float32; those of cosines and ratios do not.
    cosine = _ratio(_ratio(pair.inner[0, 1], a), b)
    turned = _ratio(_ratio(products[0] @ gram @ products[1], turned_a), turned_b)
    largest = jnp.maximum(first, second)
    one, other = _ratio(first, largest), _ratio(second, largest)
    return largest * jnp.sqrt(jnp.abs(one**2 + other**2 - 2 * one * other * cosine * turned))


def _ratio(part: Array, whole: Array) -> Array:
    return part / jnp.where(whole > 0, whole, 1)


_SIDE_SIZES = {
    "tracked": _sum_of_norms,
    "2nd": _sum_of_norms,
    "1st": _norm_of_difference,
}
