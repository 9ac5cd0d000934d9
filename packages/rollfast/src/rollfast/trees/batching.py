"""Leaves of one shape share one compiled body."""

from collections.abc import Callable, Hashable, Sequence

import jax
import jax.numpy as jnp

from rollfast.typing import Array, PyTree

__all__ = ["by_shape", "group_by", "joined", "map_matrices", "map_stack"]

# Leaves that one kernel combines: for another number of them another kernel is compiled.
_MOST_TOGETHER = 8


def by_shape(leaves: Sequence[Array]) -> list[list[Array]]:
    """Return the leaves of one shape together, some at a time, to combine entry by entry."""
    return [
        [leaves[index] for index in group[first : first + _MOST_TOGETHER]]
        for group in group_by([(leaf.shape, leaf.dtype) for leaf in leaves])
        for first in range(0, len(group), _MOST_TOGETHER)
    ]


def group_by(keys: Sequence[Hashable]) -> list[list[int]]:
    """Return the positions of equal keys, in order of first appearance."""
    groups: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    return list(groups.values())


def joined(stacks: Sequence[Array]) -> Array:
    """Return stacks in one along their first axis, a single one as it is."""
    return stacks[0] if len(stacks) == 1 else jnp.concatenate(stacks)


def map_stack(function: Callable[..., PyTree], *stacks: PyTree) -> PyTree:
    """Return what a function makes of all entries of some stacks at once.

    One entry alone goes without the axis of the stack, under which a branch would be taken both
    ways.

    Args:
        function: From an entry of every stack to a tree of arrays.
        *stacks: Trees of arrays (n, …).

    Returns:
        A tree of arrays (n, …).
    """
    if jax.tree.leaves(stacks)[0].shape[0] > 1:
        return jax.vmap(function)(*stacks)
    alone = jax.tree.map(lambda stack: stack[0], stacks)
    return jax.tree.map(lambda result: result[None], function(*alone))


def map_matrices(function: Callable[..., Array], *stacks: Array) -> Array:
    """Apply a function of matrices to every matrix of some stacks, compiling it once.

    On a CPU the matrices are taken one after another, where a product already fills the cores
    and a batched one is slower; elsewhere all at once.

    Args:
        function: From matrices (m, n) to one matrix.
        *stacks: (…, m, n), one for each argument of the function, of one shape.

    Returns:
        (…, m, n).
    """
    shape = stacks[0].shape
    flat = [stack.reshape(-1, *shape[-2:]) for stack in stacks]
    if flat[0].shape[0] == 1:
        return function(*(stack[0] for stack in flat)).reshape(shape)
    return jax.lax.platform_dependent(
        *flat,
        cpu=lambda *arrays: jax.lax.map(lambda matrices: function(*matrices), arrays),
        default=lambda *arrays: jax.vmap(function)(*arrays),
    ).reshape(shape)
