"""P g of a whole tree: every tensor with its own factors, within its own limit."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rollfast.linalg import kronecker
from rollfast.psgd.layout import Bucket, LeafLayout, buckets
from rollfast.psgd.preconditioner import Preconditioner
from rollfast.trees.batching import joined, map_stack
from rollfast.trees.turns import Turns, at_once, map_in_place
from rollfast.typing import Array

__all__ = ["Way", "directed"]

# Up to this many tensors of one shape are multiplied one by one, which saves the copies to and from
# a stack, a fifth of a step of 24 blocks; more go in a loop, which compiles one body (two cores).
_MOST_ONE_BY_ONE = 32

# From so many entries on one keeps the cores busy, and several would have their norms taken twice
# (`guards.global_norm`).
_LARGE = 2**17


class _Known(NamedTuple):
    """The factors of a tensor and what is kept of their QᴴQ, or stacks of both."""

    factors: list[Array]
    normals: list[Array | None]


class Way(NamedTuple):
    """How a tensor becomes a direction.

    Attributes:
        basis: Of the geometry, which says whether a factor is one of P itself.
        missing: The factor of P that is not in the factors yet, or None.
        finish: From the direction of a leaf, or of one of its layers, to what the step makes of it.
        positive: See `Turns`.
    """

    basis: str
    missing: Array | None
    finish: Callable[[Array], Array]
    positive: Array

    def begun(self, known: _Known, tensor: Array) -> Array:
        """Return P g of one tensor."""
        real = jnp.finfo(tensor.dtype).dtype
        wide = [q.astype(tensor.dtype if q.ndim == 2 else real) for q in known.factors]
        if self.basis == "direct":
            direction = kronecker.apply(wide, tensor)
        else:
            kept = [None if p is None else p.astype(tensor.dtype) for p in known.normals]
            direction = kronecker.apply_normal(wide, tensor, kept)
        return direction if self.missing is None else direction * self.missing.astype(real)

    def finished(self, known: _Known, tensor: Array) -> Array:
        """Return the direction of one tensor that is a whole leaf, or a layer of one."""
        return self.finish(self.begun(known, tensor))


def directed(
    state: Preconditioner, leaves: Sequence[Array], layouts: Sequence[LeafLayout], way: Way
) -> list[Array]:
    """Return what the step makes of P g of every leaf; a leaf without entries as it is.

    Args:
        state: The factors.
        leaves: g, in the dtype of its sums.
        layouts: Of all leaves.
        way: How a tensor becomes a direction.
    """
    pieces: dict[tuple[int, int], Array] = {}
    finished: set[int] = set()
    turns = Turns(way.positive)
    # Traced once for all tensors of a shape, whichever way they are mapped.
    begun, done = jax.jit(way.begun), jax.jit(way.finished)
    for number, bucket in enumerate(buckets(layouts)):
        known = _Known(state.factors[number], state.normals[number])
        parts = bucket.parts(leaves, layouts)
        alone = all(len(layouts[leaf].blocks) == 1 for leaf, _ in bucket.entries)
        if len(bucket.numbers) <= _MOST_ONE_BY_ONE:
            made = _one_by_one(begun, bucket, known, parts, turns)
        elif alone:
            made = _in_a_loop(done, bucket, known, joined(parts), turns)
            finished.update(leaf for leaf, _ in bucket.entries)
        else:
            made = _in_a_loop(begun, bucket, known, joined(parts), turns)
        pieces.update(zip(bucket.entries, made, strict=True))
    whole = []
    for index, (layout, array) in enumerate(zip(layouts, leaves, strict=True)):
        blocks = [pieces[index, block] for block in range(len(layout.blocks))]
        direction = layout.join(blocks) if blocks else array
        if blocks and index not in finished:
            finish = jax.vmap(way.finish) if layout.scanned else way.finish
            direction = finish(direction)
        whole.append(direction)
    return whole


def _one_by_one(
    function: Callable[[_Known, Array], Array],
    bucket: Bucket,
    known: _Known,
    parts: Sequence[Array],
    turns: Turns,
) -> list[Array]:
    """Return what a function makes of tensors that come in stacks of one layer or more."""
    tensors = [part[row] for part in parts for row in range(part.shape[0])]
    # What is chosen for a tensor is copied: its factors, which may be larger than itself.
    sizes = [math.prod(stack.shape[1:]) for stack in jax.tree.leaves(known)]
    size = max(tensors[0].size, *sizes)
    made = turns.take(known, lambda own, index: function(own, tensors[index]), size)
    ends = itertools.accumulate(bucket.layers)
    return [
        jnp.stack(made[end - count : end]) for count, end in zip(bucket.layers, ends, strict=True)
    ]


def _in_a_loop(
    function: Callable[[_Known, Array], Array],
    bucket: Bucket,
    known: _Known,
    stack: Array,
    turns: Turns,
) -> list[Array]:
    """Return what a function makes of a stack of all tensors, those of a leaf in one stack."""
    size = math.prod(stack.shape[1:])
    width = at_once(stack.shape[0], size) if size < _LARGE else 1

    def replace(tensors: Array, turn: Array) -> Array:
        first = (turn * width).astype(jnp.uint32)
        own = jax.tree.map(lambda one: jax.lax.dynamic_slice_in_dim(one, first, width), known)
        return map_stack(function, own, tensors)

    made = jax.lax.platform_dependent(
        stack,
        cpu=lambda tensors: map_in_place(replace, tensors, width),
        default=lambda tensors: jax.vmap(function)(known, tensors),
    )
    if set(bucket.layers) == {1}:
        return turns.unstack(made)
    ends = itertools.accumulate(bucket.layers)
    return [made[end - count : end] for count, end in zip(bucket.layers, ends, strict=True)]
