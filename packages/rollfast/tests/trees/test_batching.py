"""Grouping of leaves of one shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast.trees.batching import group_by, map_stacks

from ..helpers import normal


def test_groups_are_in_order_of_appearance():
    assert group_by(["b", "a", "b", "c", "a"]) == [[0, 2], [1, 4], [3]]
    assert group_by([]) == []


@pytest.mark.parametrize("sizes", [(1,), (3,), (2, 1, 3)], ids=str)
def test_every_matrix_is_mapped_and_returned_to_its_leaf(sizes):
    stacks = [
        (normal(10 + index, size, 3, 4), normal(20 + index, size, 3, 4))
        for index, size in enumerate(sizes)
    ]
    traced = []

    def function(left, right):
        traced.append(left.shape)
        return left - 2 * right

    results = jax.jit(lambda stacks: map_stacks(function, stacks))(stacks)
    assert [result.shape for result in results] == [(size, 3, 4) for size in sizes]
    for result, (left, right) in zip(results, stacks, strict=True):
        np.testing.assert_allclose(result, left - 2 * right, rtol=1e-6)
    assert set(traced) == {(3, 4)}
    assert len(traced) <= 2
    assert all(result.dtype == jnp.float32 for result in results)
