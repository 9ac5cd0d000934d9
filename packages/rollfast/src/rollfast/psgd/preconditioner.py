"""The preconditioner of a whole tree, made and fitted shape by shape.

Factors of tensors of one shape are kept in one stack, so that what is compiled for an update grows
with the number of shapes.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rollfast.linalg import kronecker
from rollfast.linalg.hermitian import hermitian_square
from rollfast.linalg.upper import upper_normal_factor
from rollfast.psgd.draws import DrawnSlice, draw_slice, slice_words
from rollfast.psgd.fitting import Rule, update_factors
from rollfast.psgd.layout import LeafLayout, buckets
from rollfast.psgd.moments import MOMENTS, Sizes
from rollfast.psgd.options import Mapping
from rollfast.psgd.overflow import has_range, held
from rollfast.psgd.pair import Pair
from rollfast.trees.batching import joined, map_stack
from rollfast.trees.turns import after, at_once, chosen, map_in_place, settled
from rollfast.typing import Array, DTypeLike, Number

__all__ = ["Preconditioner", "Stacks", "Step", "fit", "initial", "starting_scale"]

# QᴴQ, by the form of Q.
_NORMAL_FACTORS = {
    None: kronecker.normal_factor,
    "hermitian": hermitian_square,
    "triangular": upper_normal_factor,
}

# For every bucket and axis, with a first axis over the tensors of the bucket.
Stacks = list[list[Array]]


class Preconditioner(NamedTuple):
    """Factors of all tensors: lists over buckets of lists over axes.

    Attributes:
        factors: Q, (B, n, n) of dense and (B, n) of diagonal factors.
        normals: QᴴQ where it is kept beside Q, else None.
        estimates: L, (B,), or None where it is not tracked.
    """

    factors: Stacks
    normals: list[list[Array | None]]
    estimates: Stacks | None


class Step(NamedTuple):
    """Where random numbers come from, and what the scale was missing.

    Attributes:
        key: Key of the optimizer.
        number: Steps taken before this one.
        scale: What Q is multiplied by first; one unless the scale was pending.
    """

    key: Array
    number: Array
    scale: Array


class _Fit(NamedTuple):
    """The preconditioner of one tensor, or of a stack of them."""

    factors: list[Array]
    normals: list[Array | None]
    estimates: list[Array] | None


class _Pair(NamedTuple):
    """What one tensor is fitted to, or what each of a stack of them is."""

    words: Array
    gradient: Array
    probe: Array | None


class _Pairs(NamedTuple):
    """What the tensors of a bucket are fitted to, those of a leaf in one stack."""

    words: Array
    gradients: list[Array]
    probes: list[Array] | None

    def at(self, turn: Array, width: int) -> _Pair:
        """Return what the tensors of a turn are fitted to, in one stack."""
        words = jax.lax.dynamic_slice_in_dim(self.words, turn * width, width)
        probe = None if self.probes is None else chosen(self.probes, turn, width)
        return _Pair(words, chosen(self.gradients, turn, width), probe)

    def together(self) -> _Pair:
        """Return all of them in one stack."""
        probe = None if self.probes is None else joined(self.probes)
        return _Pair(self.words, joined(self.gradients), probe)


def initial(
    layouts: Sequence[LeafLayout],
    scale: Number,
    power: int,
    factor_dtype: DTypeLike | None,
    keeps_normal: Callable[[int, tuple[int, ...]], bool],
    tracks: bool,
) -> Preconditioner:
    """Return Q = s I, with the scale shared out among the factors of a tensor.

    Args:
        layouts: Of all leaves.
        scale: s.
        power: 1, or 2 where a factor is one of P itself.
        factor_dtype: Dtype in which factors are kept; that of the sums of a leaf if None.
        keeps_normal: Whether QᴴQ is kept, from the size of an axis and the shape of the tensor.
        tracks: Whether there are Lipschitz estimates.

    Raises:
        ValueError: The dtype of a factor does not hold its share of the scale.
    """
    state = Preconditioner([], [], [] if tracks else None)
    for bucket in buckets(layouts):
        shape, dense, _ = bucket.item
        count = len(bucket.numbers)
        share = jnp.asarray(scale) ** (power / len(shape))
        factors: list[Array] = []
        for size, is_dense in zip(shape, dense, strict=True):
            dtype = bucket.factor_dtype(is_dense, factor_dtype)
            _check_scale(scale, power / len(shape), dtype)
            one = jnp.eye(size, dtype=dtype) if is_dense else jnp.ones(size, dtype)
            one = one * share.astype(jnp.finfo(dtype).dtype)
            factors.append(jnp.tile(one, (count, *(1 for _ in one.shape))))
        sides = zip(factors, dense, shape, strict=True)
        state.factors.append(factors)
        # The square of a multiple of the identity, entry by entry.
        state.normals.append([q * q if d and keeps_normal(n, shape) else None for q, d, n in sides])
        if state.estimates is not None:
            real = jnp.finfo(bucket.item.dtype).dtype
            state.estimates.append([jnp.zeros(count, real) for _ in shape])
    return state


def _check_scale(scale: Number, share: float, dtype: DTypeLike) -> None:
    """Refuse a scale of which a factor would be infinite from the start; an array passes."""
    largest = float(jnp.finfo(dtype).max)
    if isinstance(scale, Real) and float(scale) ** share > largest:
        raise ValueError(
            f"preconditioner_init_scale={scale!r} is not allowed with factors in {dtype}; "
            f"the share of one factor, {float(scale) ** share}, must be at most {largest}."
        )


def starting_scale(
    pair: Pair,
    layouts: Sequence[LeafLayout],
    damping: Number | None,
    axis_name: str | None,
    moment: str = "4th",
) -> Array:
    """Return the scale of Q that suits a first pair; every layer and block counts by itself.

    Args:
        pair: What to fit to.
        layouts: Of all leaves.
        damping: Standard deviation of the noise on gradients, or None.
        axis_name: Mapped axis over which the scale is averaged, or None.
        moment: A row of `moments.MOMENTS`.
    """
    groups = buckets(layouts)
    if not groups:
        return jnp.ones([])

    def sizes(leaves: Sequence[Array], power: int) -> Sizes:
        """Measure a few tensors after others, which takes no more memory than those."""
        roots, counts = [], []
        for bucket in groups:
            parts, count = bucket.parts(leaves, layouts), len(bucket.numbers)
            width = at_once(count, math.prod(bucket.item.shape))

            def measured(turn: Array, parts: list[Array] = parts, width: int = width) -> Array:
                return jax.vmap(Sizes.root, (0, None))(chosen(parts, turn, width), power)

            roots.append(jax.lax.map(measured, jnp.arange(count // width)).reshape(-1))
            counts += [math.prod(bucket.item.shape)] * count
        return Sizes(jnp.concatenate(roots), counts)

    row = MOMENTS[moment]
    vectors = None if pair.probes is None else sizes(pair.probes, 2)
    scale = row.scale(vectors, sizes(pair.gradients, row.power), damping)
    return scale if axis_name is None else jax.lax.pmean(scale, axis_name)


def fit(
    state: Preconditioner,
    pair: Pair,
    layouts: Sequence[LeafLayout],
    rule: Rule,
    step: Step,
    mapping: Mapping,
) -> Preconditioner:
    """Move all factors by one step.

    Args:
        state: Before the step.
        pair: What to fit to.
        layouts: Of all leaves.
        rule: How factors are moved.
        step: Where random numbers come from, and the pending scale.
        mapping: How tensors of one shape are taken.
    """
    result = Preconditioner([], [], None if state.estimates is None else [])
    groups = buckets(layouts)
    kinds = [(bucket.item, bucket.numbers) for bucket in groups]
    noisy = rule.damping is not None
    words = slice_words(step.key, step.number, kinds, rule.geometry, noisy)
    scale = step.scale
    for index, (bucket, own) in enumerate(zip(groups, words, strict=True)):
        before = _Fit(
            state.factors[index],
            state.normals[index],
            None if state.estimates is None else state.estimates[index],
        )
        pairs = _Pairs(
            own,
            bucket.parts(pair.gradients, layouts),
            None if pair.probes is None else bucket.parts(pair.probes, layouts),
        )

        def move(
            fit: _Fit, to: _Pair, item: DrawnSlice = bucket.item, scale: Array = scale
        ) -> _Fit:
            return _moved(fit, to, item, rule, scale)

        # Traced once, though there are two ways to map it.
        moved = _mapped(jax.jit(move, inline=True), before, pairs, rule, mapping)
        result.factors.append(moved.factors)
        # One kind after the other, in the memory of one.
        largest = max(moved.factors, key=lambda factor: factor.size)
        scale = after(largest, scale, step.number)
        result.normals.append(moved.normals)
        if result.estimates is not None and moved.estimates is not None:
            result.estimates.append(moved.estimates)
    return result


def _mapped(
    move: Callable[[_Fit, _Pair], _Fit], before: _Fit, pairs: _Pairs, rule: Rule, mapping: Mapping
) -> _Fit:
    """Move the preconditioner of every tensor of a bucket."""
    count = pairs.words.shape[0]
    # Batched triangular solves of several buckets can stop for ever in jaxlib 0.10.
    one_by_one = rule.geometry.basis == "whitened" or mapping.batch_size == 1
    size = None if one_by_one else mapping.batch_size
    most = mapping.batch_size if mapping.in_turn else count
    width = 1 if one_by_one else at_once(count, pairs.gradients[0][0].size, most)

    def in_turn(before: _Fit, pairs: _Pairs) -> _Fit:
        return map_in_place(
            lambda fit, turn: map_stack(move, fit, pairs.at(turn, width)), before, width
        )

    def some(before: _Fit, pairs: _Pairs) -> _Fit:
        return jax.lax.map(lambda each: move(*each), (before, pairs.together()), batch_size=size)

    def all_at_once(before: _Fit, pairs: _Pairs) -> _Fit:
        return map_stack(move, before, pairs.together())

    if count == 1:
        return all_at_once(before, pairs)
    in_parts = mapping.in_turn or rule.geometry.basis == "whitened"
    return jax.lax.platform_dependent(
        before,
        pairs,
        # Where they are; `some` would make stacks of all gradients, and of all results.
        cpu=in_turn,
        # To choose a leaf inside of a loop, a GPU would have to wait for the host.
        default=some if in_parts else all_at_once,
    )


def _moved(fit: _Fit, to: _Pair, item: DrawnSlice, rule: Rule, scale: Array) -> _Fit:
    """Move the factors of one tensor."""
    real = jnp.finfo(item.dtype).dtype

    def wide(array: Array) -> Array:
        return array.astype(item.dtype if array.ndim == 2 else real)

    factors = [wide(q) for q in fit.factors]
    normals = [None if p is None else wide(p) for p in fit.normals]
    zeros = [jnp.zeros([], real)] * len(factors)
    estimates = zeros if fit.estimates is None else fit.estimates
    rule = rule._replace(scale=scale).in_dtype(real)
    draws = draw_slice(to.words, item, rule.geometry, rule.damping is not None)
    moved, tracked = update_factors(factors, estimates, to.gradient, to.probe, draws, rule, normals)
    kept = settled([new.astype(old.dtype) for new, old in zip(moved, fit.factors, strict=True)])
    normal_factor = _NORMAL_FACTORS[rule.geometry.form]
    beside = [
        None if old is None else normal_factor(new.astype(q.dtype)).astype(old.dtype)
        for new, old, q in zip(kept, fit.normals, factors, strict=True)
    ]
    ours = list(zip(kept, beside, strict=True))
    # A factor of P itself grows on, where no gradient ever is, until it is infinite; one of Q is
    # pulled back by a P that is infinite first.
    if rule.geometry.basis == "direct" or not has_range(ours, real):
        theirs = zip(fit.factors, fit.normals, strict=True)
        ours = [held(new, old) for new, old in zip(ours, theirs, strict=True)]
    return _Fit(
        [factor for factor, _ in ours],
        [normal for _, normal in ours],
        None if fit.estimates is None else tracked,
    )
