"""Leaves of one shape share one compiled body."""

from collections.abc import Callable, Hashable, Sequence

import jax
import jax.numpy as jnp

from rollfast.typing import Array

__all__ = ["group_by", "map_matrices", "unstack"]


def group_by(keys: Sequence[Hashable]) -> list[list[int]]:
    """Return the positions of equal keys, in order of first appearance."""
    groups: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    return list(groups.values())


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


def unstack(stack: Array, positive: Array) -> list[Array]:
    """Return the entries of a stack along its first axis.

    The CPU compiler makes one kernel of all that are equal, and a place written into a slice makes
    it unlike the others: each would cost as much to compile as a small step. The branch keeps the
    places out of the slices.

    Args:
        stack: (n, …).
        positive: A number above zero, which the compiler does not know.

    Returns:
        n arrays (…).
    """
    places = list(range(stack.shape[0]))
    hidden = jax.lax.platform_dependent(
        positive,
        cpu=lambda number: jax.lax.cond(number > 0, lambda: places, lambda: [0] * len(places)),
        default=lambda number: [jnp.asarray(place) for place in places],
    )
    return [jax.lax.dynamic_index_in_dim(stack, place, keepdims=False) for place in hidden]
