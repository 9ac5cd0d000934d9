"""Leaves of one shape share one compiled body."""

from collections.abc import Callable, Hashable, Sequence

import jax
import jax.numpy as jnp

from rollfast.typing import Array

__all__ = ["group_by", "map_stacks"]


def group_by(keys: Sequence[Hashable]) -> list[list[int]]:
    """Return the positions of equal keys, in order of first appearance."""
    groups: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    return list(groups.values())


def map_stacks(function: Callable[..., Array], stacks: Sequence[tuple[Array, ...]]) -> list[Array]:
    """Apply a function of matrices to every matrix of several stacks, compiling it once.

    On a CPU the matrices are taken one after another, where a product already fills the cores
    and a batched one is slower; elsewhere all at once.

    Args:
        function: From matrices (m, n) to one matrix.
        stacks: One tuple per leaf, of arrays (batch, m, n); m and n are the same for all leaves.

    Returns:
        One array (batch, …) per leaf.
    """
    sizes = [stack[0].shape[0] for stack in stacks]
    joined = tuple(jnp.concatenate(arrays) for arrays in zip(*stacks, strict=True))
    if sum(sizes) == 1:
        results = function(*(array[0] for array in joined))[None]
    else:
        results = jax.lax.platform_dependent(
            *joined,
            cpu=lambda *arrays: jax.lax.map(lambda matrices: function(*matrices), arrays),
            default=lambda *arrays: jax.vmap(function)(*arrays),
        )
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes) - 1)]
    return jnp.split(results, ends)
