"""Long matrices of a few rows, some thousand columns at a time.

On a CPU what is between a matrix and a result then stays in the cache.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from rollfast.typing import Array, PyTree

__all__ = ["fold_columns", "map_columns", "sum_over_columns"]

# Of 8192 to 262144 columns, those with which the rows of a low-rank factor of rank 10 moved fastest
# (two cores, 1,000,000 parameters).
_COLUMNS = 32768


def map_columns(
    function: Callable[..., tuple[Array, ...]], moving: Sequence[Array], still: Sequence[Array]
) -> tuple[Array, ...]:
    """Apply a function of a few rows to all columns, of which each goes by itself.

    On a CPU some thousand columns are taken at a time, so that what is between them and the result
    stays in the cache, and the results take the places of what moves where nobody else needs it.

    Args:
        function: From matrices (mᵢ, k), those that move and the others, to new ones in the place
            of the first, for any k.
        moving: (mᵢ, n).
        still: (mᵢ, n).

    Returns:
        In the shapes and dtypes of `moving`.
    """
    columns = moving[0].shape[1]
    if columns <= _COLUMNS:
        return function(*moving, *still)

    def chunked(moving: tuple[Array, ...], still: tuple[Array, ...]) -> tuple[Array, ...]:
        def move(index: Array, carried: tuple[Array, ...]) -> tuple[Array, ...]:
            # The last turn begins before its time, among columns that have moved already: what is
            # written outside of the loop costs a copy of the whole.
            start = jnp.minimum(index * _COLUMNS, columns - _COLUMNS)
            parts = [_columns(matrix, start) for matrix in (*carried, *still)]
            is_due = start + jnp.arange(_COLUMNS) >= index * _COLUMNS
            return tuple(
                jax.lax.dynamic_update_slice_in_dim(whole, jnp.where(is_due, new, old), start, 1)
                for whole, new, old in zip(carried, function(*parts), parts, strict=False)
            )

        return jax.lax.fori_loop(0, -(-columns // _COLUMNS), move, moving)

    return jax.lax.platform_dependent(
        tuple(moving),
        tuple(still),
        cpu=chunked,
        default=lambda moving, still: function(*moving, *still),
    )


def fold_columns(
    function: Callable[..., PyTree],
    combine: Callable[[PyTree, PyTree], PyTree],
    matrices: Sequence[Array],
) -> PyTree:
    """Fold something over columns, on a CPU some thousand at a time.

    Args:
        function: From matrices (mᵢ, k) to what some columns give, for any k from one.
        combine: From what some columns and what others give to what they give together.
        matrices: (mᵢ, n).

    Returns:
        What all columns give.
    """
    columns = matrices[0].shape[1]
    if columns <= _COLUMNS:
        return function(*matrices)

    def chunked(*matrices: Array) -> PyTree:
        # What is left over comes first.
        first = columns % _COLUMNS or _COLUMNS

        def add(index: Array, total: PyTree) -> PyTree:
            start = first + index * _COLUMNS
            return combine(total, function(*(_columns(matrix, start) for matrix in matrices)))

        start = function(*(matrix[:, :first] for matrix in matrices))
        return jax.lax.fori_loop(0, (columns - first) // _COLUMNS, add, start)

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
    if not whole:
        return jnp.where(wanted, function(matrix), known)

    def chunked(matrix: Array, known: Array, wanted: Array) -> Array:
        def add(index: Array, total: Array) -> Array:
            return total + function(_columns(matrix, index * _COLUMNS))

        start = function(matrix[:, columns - rest :])
        total = jax.lax.fori_loop(0, jnp.where(wanted, whole, 0), add, start)
        return jnp.where(wanted, total, known)

    def branched(matrix: Array, known: Array, wanted: Array) -> Array:
        return jax.lax.cond(wanted, lambda: function(matrix), lambda: known)

    return jax.lax.platform_dependent(matrix, known, wanted, cpu=chunked, default=branched)


def _columns(matrix: Array, start: Array) -> Array:
    return jax.lax.dynamic_slice_in_dim(matrix, start, _COLUMNS, 1)
