"""Grouping of leaves of one shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast.trees.batching import group_by, map_matrices

from ..helpers import normal


def test_groups_are_in_order_of_appearance():
    assert group_by(["b", "a", "b", "c", "a"]) == [[0, 2], [1, 4], [3]]
    assert group_by([]) == []


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3)], ids=str)
def test_every_matrix_of_a_stack_is_mapped_by_one_body(batch):
    left, right = normal(10, *batch, 3, 4), normal(20, *batch, 3, 4)
    traced = []

    def function(left, right):
        traced.append(left.shape)
        return left - 2 * right

    result = jax.jit(lambda *stacks: map_matrices(function, *stacks))(left, right)
    np.testing.assert_allclose(result, left - 2 * right, rtol=1e-6)
    assert result.dtype == jnp.float32
    assert set(traced) == {(3, 4)}
    assert len(traced) <= 2
