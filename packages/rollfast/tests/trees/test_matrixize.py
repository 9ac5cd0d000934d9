"""Tensors as batches of matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollfast.trees.matrixize import from_matrices, to_matrices


@st.composite
def layouts(draw):
    """A shape of up to five axes, and two disjoint lists of its axes, some counted from the end."""
    ndim = draw(st.integers(2, 5))
    shape = draw(st.lists(st.integers(1, 4), min_size=ndim, max_size=ndim))
    order = draw(st.permutations(range(ndim)))
    rows = draw(st.integers(1, ndim - 1))
    columns = draw(st.integers(1, ndim - rows))
    ends = draw(st.lists(st.sampled_from([0, ndim]), min_size=ndim, max_size=ndim))
    named = [axis - end for axis, end in zip(order, ends, strict=True)]
    return shape, named[:rows], named[rows : rows + columns]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(layouts())
def test_there_and_back(layout):
    shape, rows, columns = layout
    tensor = np.arange(np.prod(shape)).reshape(shape)
    matrices = to_matrices(tensor, rows, columns)
    assert matrices.shape[1] == np.prod([shape[axis] for axis in rows])
    assert matrices.shape[2] == np.prod([shape[axis] for axis in columns])
    np.testing.assert_array_equal(from_matrices(matrices, shape, rows, columns), tensor)


def test_order_of_axes():
    tensor = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(to_matrices(tensor, (1,), (2,)), tensor)
    np.testing.assert_array_equal(to_matrices(tensor, (2,), (1,)), tensor.transpose(0, 2, 1))
    want = tensor.transpose(1, 0, 2).reshape(1, 6, 4)
    np.testing.assert_array_equal(to_matrices(tensor, (1, 0), (2,)), want)


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ((), (1,), "at least one"),
        ((0,), (2,), "-2, 1"),
        ((0,), (0,), "once"),
        ((0,), (-2,), "once"),
    ],
)
def test_axes_that_do_not_fit(rows, columns, said):
    with pytest.raises(ValueError, match=said):
        to_matrices(np.ones((3, 4)), rows, columns)
