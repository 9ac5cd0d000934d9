"""Leaves of one shape share one compiled body."""

from collections.abc import Callable, Hashable, Sequence

import jax
import jax.numpy as jnp

from rollfast.typing import Array

__all__ = ["group_by", "map_columns", "map_matrices", "sum_over_columns", "unstack"]

# Columns of forty float32 rows that fit the cache of a core, and are enough for both.
_COLUMNS = 16384


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


def map_columns(function: Callable[..., Array], *matrices: Array) -> Array:
    """Apply a function of a few rows to all columns, of which each goes by itself.

    On a CPU some thousand columns are taken at a time, so that what is between them and the result
    stays in the cache, and the result takes the place of the first matrix where nobody else needs
    it.

    Args:
        function: From matrices (mᵢ, k) to one matrix (m₁, k), for any k.
        *matrices: (mᵢ, n).

    Returns:
        (m₁, n), in the dtype of the first.
    """
    first = matrices[0]
    columns = first.shape[1]
    if columns <= _COLUMNS:
        return function(*matrices)

    def chunked(first: Array, *others: Array) -> Array:
        def move(index: Array, carried: Array) -> Array:
            # The last turn begins before its time, among columns that have moved already: what is
            # written outside of the loop costs a copy of the whole.
            start = jnp.minimum(index * _COLUMNS, columns - _COLUMNS)
            parts = [
                jax.lax.dynamic_slice_in_dim(matrix, start, _COLUMNS, 1)
                for matrix in (carried, *others)
            ]
            is_due = start + jnp.arange(_COLUMNS) >= index * _COLUMNS
            moved = jnp.where(is_due, function(*parts), parts[0])
            return jax.lax.dynamic_update_slice_in_dim(carried, moved, start, 1)

        return jax.lax.fori_loop(0, -(-columns // _COLUMNS), move, first)

    return jax.lax.platform_dependent(*matrices, cpu=chunked, default=function)


def sum_over_columns(
    function: Callable[[Array], Array], matrix: Array, known: Array, wanted: Array
) -> Array:
    """Return a sum over columns, of which each goes by itself, where it is wanted.

    On a CPU it is a loop that makes no turn if it is not: a branch would copy the matrix, if that
    has its place in a state.

    Args:
        function: From some columns (m, k) to their part of the sum, for any k.
        matrix: (m, n).
        known: What to return where the sum is not wanted.
        wanted: Whether it is, a boolean.

    Returns:
        In the shape that the function returns.
    """
    columns = matrix.shape[1]
    whole, rest = divmod(columns, _COLUMNS)

    def chunked(matrix: Array, known: Array, wanted: Array) -> Array:
        def add(index: Array, total: Array) -> Array:
            part = jax.lax.dynamic_slice_in_dim(matrix, index * _COLUMNS, _COLUMNS, 1)
            return total + function(part)

        start = function(matrix[:, columns - rest :])
        total = jax.lax.fori_loop(0, jnp.where(wanted, whole, 0), add, start)
        return jnp.where(wanted, total, known)

    def branched(matrix: Array, known: Array, wanted: Array) -> Array:
        return jax.lax.cond(wanted, lambda: function(matrix), lambda: known)

    return jax.lax.platform_dependent(matrix, known, wanted, cpu=chunked, default=branched)
