"""Columns taken some thousand at a time give what all of them give at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast.trees.columns import fold_columns, map_columns, sum_over_columns

# Below, at and above what is taken at a time, with a last turn that is whole and one that is not.
COUNTS = (1, 7, 32768, 32769, 65536, 70001)


def whole_numbers(rows, columns):
    """Small whole numbers, of which float32 sums are exact in any order."""
    generator = np.random.default_rng([rows, columns])
    return jnp.asarray(generator.integers(-3, 4, (rows, columns)), jnp.float32)


@pytest.mark.parametrize("count", COUNTS)
def test_every_column_moves_once(count):
    first, second, still = (whole_numbers(rows, count) for rows in (2, 1, 3))

    def move(one, two, beside):
        return 2 * one + beside[:2], two - beside[2:]

    moved = jax.jit(lambda *parts: map_columns(move, parts[:2], parts[2:]))(first, second, still)
    for got, want in zip(moved, move(first, second, still), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("count", COUNTS)
def test_every_column_is_folded_once(count):
    matrices = [whole_numbers(rows, count) for rows in (2, 1)]

    def some(rows, row):
        return rows @ rows.T, jnp.max(jnp.abs(row))

    def together(left, right):
        return left[0] + right[0], jnp.maximum(left[1], right[1])

    folded = jax.jit(lambda *parts: fold_columns(some, together, parts))(*matrices)
    for got, want in zip(folded, some(*matrices), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("count", COUNTS)
def test_a_sum_is_made_where_it_is_wanted(count):
    matrix, known = whole_numbers(3, count), jnp.full((3, 3), 0.5)
    made = jax.jit(lambda wanted: sum_over_columns(lambda m: m @ m.T, matrix, known, wanted))
    np.testing.assert_array_equal(made(True), matrix @ matrix.T)
    np.testing.assert_array_equal(made(False), known)
