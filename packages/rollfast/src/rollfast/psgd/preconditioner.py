"""The preconditioner of a whole tree: made and fitted shape by shape, applied leaf by leaf.

Factors of tensors of one shape are kept in one stack. What is compiled then grows with the
number of shapes, and nothing is copied together for an update but the gradients.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rollfast.linalg import kronecker
from rollfast.psgd.draws import DrawnSlice, draw_slice, slice_keys
from rollfast.psgd.fitting import MOMENTS, Rule, update_factors
from rollfast.psgd.layout import Bucket, LeafLayout, buckets
from rollfast.psgd.options import Mapping
from rollfast.psgd.pair import Pair
from rollfast.trees.batching import unstack
from rollfast.typing import Array, DTypeLike, Number

__all__ = ["Preconditioner", "Step", "apply", "fit", "initial", "starting_scale"]

# Up to this many tensors of one shape are multiplied one by one, which saves the copies to and from
# a stack, a fifth of a step of 24 blocks; more go in a loop, which compiles one body (two cores).
_MOST_ONE_BY_ONE = 32

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


class _Tensor(NamedTuple):
    """All there is of one tensor, or of a stack of them."""

    key: Array
    factors: list[Array]
    normals: list[Array | None]
    estimates: list[Array] | None
    gradient: Array
    probe: Array | None


class _Moved(NamedTuple):
    """What becomes of one tensor, or of a stack of them."""

    factors: list[Array]
    normals: list[Array | None]
    estimates: list[Array] | None


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
    """
    state = Preconditioner([], [], [] if tracks else None)
    for bucket in buckets(layouts):
        shape, dense, _ = bucket.item
        count = len(bucket.numbers)
        share = jnp.asarray(scale) ** (power / len(shape))
        factors: list[Array] = []
        for size, is_dense in zip(shape, dense, strict=True):
            dtype = bucket.factor_dtype(is_dense, factor_dtype)
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
        moment: A row of `fitting.MOMENTS`.
    """
    groups = buckets(layouts)
    if not groups:
        return jnp.ones([])

    def stacked(leaves: Sequence[Array]) -> list[Array]:
        return [_gathered(bucket, leaves, layouts) for bucket in groups]

    vectors = None if pair.probes is None else stacked(pair.probes)
    scale = MOMENTS[moment](vectors, stacked(pair.gradients), damping, True)
    return scale if axis_name is None else jax.lax.pmean(scale, axis_name)


def _gathered(bucket: Bucket, leaves: Sequence[Array], layouts: Sequence[LeafLayout]) -> Array:
    """Return the tensors of a bucket in one stack."""
    parts = [layouts[leaf].split(leaves[leaf])[block] for leaf, block in bucket.entries]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


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
    after = Preconditioner([], [], None if state.estimates is None else [])
    groups = buckets(layouts)
    for index, (bucket, keys) in enumerate(zip(groups, _keys(groups, step), strict=True)):
        stack = _Tensor(
            keys,
            state.factors[index],
            state.normals[index],
            None if state.estimates is None else state.estimates[index],
            _gathered(bucket, pair.gradients, layouts),
            None if pair.probes is None else _gathered(bucket, pair.probes, layouts),
        )

        def move(tensor: _Tensor, item: DrawnSlice = bucket.item) -> _Moved:
            return _moved(tensor, item, rule, step.scale)

        moved = _mapped(move, stack, rule, mapping)
        after.factors.append(moved.factors)
        after.normals.append(moved.normals)
        if after.estimates is not None and moved.estimates is not None:
            after.estimates.append(moved.estimates)
    return after


def _keys(groups: Sequence[Bucket], step: Step) -> list[Array]:
    """Return a key for every tensor of every bucket, all made in one go."""
    if not groups:
        return []
    numbers = [number for bucket in groups for number in bucket.numbers]
    keys = slice_keys(step.key, step.number, jnp.asarray(numbers, jnp.int32))
    ends = list(itertools.accumulate(len(bucket.numbers) for bucket in groups))
    return [keys[end - len(bucket.numbers) : end] for bucket, end in zip(groups, ends, strict=True)]


def _mapped(
    move: Callable[[_Tensor], _Moved], stack: _Tensor, rule: Rule, mapping: Mapping
) -> _Moved:
    """Move every tensor of a stack."""
    if stack.gradient.shape[0] == 1:
        return jax.tree.map(lambda x: x[None], move(jax.tree.map(lambda x: x[0], stack)))
    if rule.geometry.basis == "whitened":
        # Batched triangular solves of several buckets can stop for ever in jaxlib 0.10.
        return jax.lax.map(move, stack)
    if mapping.in_turn:
        size = mapping.batch_size if mapping.batch_size > 1 else None
        return jax.lax.map(move, stack, batch_size=size)
    return jax.lax.platform_dependent(
        stack, cpu=lambda tensors: jax.lax.map(move, tensors), default=jax.vmap(move)
    )


def _moved(tensor: _Tensor, item: DrawnSlice, rule: Rule, scale: Array) -> _Moved:
    """Move the factors of one tensor."""
    power = 2 if rule.geometry.basis == "direct" else 1
    share = scale ** (power / len(item.shape))
    real = jnp.finfo(item.dtype).dtype

    def wide(array: Array, by: Array) -> Array:
        return array.astype(item.dtype if array.ndim == 2 else real) * by.astype(real)

    factors = [wide(q, share) for q in tensor.factors]
    normals = [None if p is None else wide(p, share**2) for p in tensor.normals]
    zeros = [jnp.zeros([], real)] * len(factors)
    estimates = zeros if tensor.estimates is None else tensor.estimates
    rule = rule.in_dtype(real)
    draws = draw_slice(tensor.key, item, rule.geometry, rule.damping is not None)
    moved, tracked = update_factors(
        factors, estimates, tensor.gradient, tensor.probe, draws, rule, normals
    )
    kept = [new.astype(old.dtype) for new, old in zip(moved, tensor.factors, strict=True)]
    beside = [
        None if old is None else kronecker.normal_factor(new.astype(q.dtype)).astype(old.dtype)
        for new, old, q in zip(kept, tensor.normals, factors, strict=True)
    ]
    return _Moved(kept, beside, None if tensor.estimates is None else tracked)


def apply(
    state: Preconditioner,
    leaves: Sequence[Array],
    layouts: Sequence[LeafLayout],
    basis: str,
    positive: Array,
) -> list[Array]:
    """Return P g of every leaf; a leaf without entries as it is.

    Args:
        state: The factors.
        leaves: g, in the dtype of its sums.
        layouts: Of all leaves.
        basis: Of the geometry, which says whether a factor is one of P itself.
        positive: See `unstack`.
    """

    def one(factors: list[Array], normals: list[Array | None], tensor: Array) -> Array:
        real = jnp.finfo(tensor.dtype).dtype
        wide = [q.astype(tensor.dtype if q.ndim == 2 else real) for q in factors]
        if basis == "direct":
            return kronecker.apply(wide, tensor)
        known = [None if p is None else p.astype(tensor.dtype) for p in normals]
        return kronecker.apply_normal(wide, tensor, known)

    parts: dict[tuple[int, int], Array] = {}
    for bucket, factors, normals in zip(
        buckets(layouts), state.factors, state.normals, strict=True
    ):
        stacks = [layouts[leaf].split(leaves[leaf])[block] for leaf, block in bucket.entries]
        applied = _each(one, factors, normals, stacks, positive)
        parts.update(zip(bucket.entries, applied, strict=True))
    directions = []
    for index, (layout, array) in enumerate(zip(layouts, leaves, strict=True)):
        blocks = [parts[index, block] for block in range(len(layout.blocks))]
        directions.append(layout.join(blocks) if blocks else array)
    return directions


def _each(
    one: Callable[[list[Array], list[Array | None], Array], Array],
    factors: list[Array],
    normals: list[Array | None],
    stacks: Sequence[Array],
    positive: Array,
) -> list[Array]:
    """Apply factors to tensors that come in stacks of one layer or more."""
    layers = [stack.shape[0] for stack in stacks]
    ends = list(itertools.accumulate(layers))
    if ends[-1] <= _MOST_ONE_BY_ONE:
        apart = jax.tree.map(lambda array: unstack(array, positive), (factors, normals))
        own: list[tuple[list[Array], list[Array | None]]] = jax.tree.transpose(
            jax.tree.structure((factors, normals)), jax.tree.structure([0] * ends[-1]), apart
        )
        return [
            jnp.stack([one(*own[end - count + row], stack[row]) for row in range(count)])
            for stack, count, end in zip(stacks, layers, ends, strict=True)
        ]
    whole = stacks[0] if len(stacks) == 1 else jnp.concatenate(stacks)
    applied = jax.lax.platform_dependent(
        (factors, normals, whole),
        cpu=lambda arrays: jax.lax.map(lambda each: one(*each), arrays),
        default=jax.vmap(lambda each: one(*each)),
    )
    if set(layers) == {1}:
        return [piece[None] for piece in unstack(applied, positive)]
    return [applied[end - count : end] for end, count in zip(ends, layers, strict=True)]
