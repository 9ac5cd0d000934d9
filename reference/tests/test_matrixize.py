import itertools

import numpy as np
import pytest

from reference.trees.matrixize import from_matrices, to_matrices

CASES = [
    ((3, 4), 0, 1),
    ((3, 4), 1, 0),
    ((3, 4), -1, -2),
    ((2, 3, 4), 1, 2),
    ((2, 3, 4), (0, 2), 1),
    ((2, 3, 4), (2, 0), 1),
    ((2, 3, 4, 5), (1, 3), 0),
    ((2, 3, 4, 5), 3, 0),
    ((5,), 0, ()),
    ((2, 0, 3), 0, 2),
]


def explicit(tensor, reduction_axes, output_axes):
    """Fill the matrices entry by entry."""
    shape = tensor.shape
    reduction = [a % tensor.ndim for a in np.atleast_1d(reduction_axes).astype(int)]
    output = [a % tensor.ndim for a in np.atleast_1d(output_axes).astype(int)]
    batch = [a for a in range(tensor.ndim) if a not in reduction + output]

    def position(index, axes):
        place = 0
        for axis in axes:
            place = place * shape[axis] + index[axis]
        return place

    sizes = [int(np.prod([shape[a] for a in axes])) for axes in (batch, reduction, output)]
    matrices = np.full(sizes, np.nan)
    for index in itertools.product(*map(range, shape)):
        place = tuple(position(index, axes) for axes in (batch, reduction, output))
        matrices[place] = tensor[index]
    return matrices


@pytest.mark.parametrize(("shape", "reduction_axes", "output_axes"), CASES)
def test_matrices_equal_the_explicit_loops_and_come_back(shape, reduction_axes, output_axes):
    tensor = np.arange(np.prod(shape), dtype=float).reshape(shape)
    matrices = to_matrices(tensor, reduction_axes, output_axes)
    # Moving numbers about rounds nothing.
    np.testing.assert_array_equal(matrices, explicit(tensor, reduction_axes, output_axes))
    back = from_matrices(matrices, shape, reduction_axes, output_axes)
    np.testing.assert_array_equal(back, tensor)


@pytest.mark.parametrize(
    ("reduction_axes", "output_axes"), [(0, 0), (0, -3), ((0, 0), 1), (3, 0), (0, -4)]
)
def test_shared_repeated_or_missing_axes_raise(reduction_axes, output_axes):
    with pytest.raises(ValueError, match="axes"):
        to_matrices(np.zeros((2, 3, 4)), reduction_axes, output_axes)
    with pytest.raises(ValueError, match="axes"):
        from_matrices(np.zeros((1, 1, 24)), (2, 3, 4), reduction_axes, output_axes)
