import itertools
import math

import numpy as np
import pytest

from reference.psgd.plan import block_slices, dense_axes, matrix_view, view_shape


@pytest.mark.parametrize(
    ("shape", "limit", "view"),
    [
        ((), None, (1,)),
        ((1, 1), None, (1,)),
        ((1, 3, 1, 4), None, (3, 4)),
        ((2, 3, 4), 6, (6, 4)),
        ((2, 3, 4), 5, (2, 3, 4)),
        ((2, 3, 4), 12, (6, 4)),
        ((4, 3, 2), 6, (4, 6)),
        ((2, 1, 3), 6, (6,)),
        ((2, 2, 2, 2), 4, (4, 4)),
        ((0, 3), 6, (0,)),
        ((0, 1, 3), None, (0, 3)),
    ],
)
def test_views(shape, limit, view):
    assert view_shape(shape, limit) == view
    assert math.prod(view) == math.prod(shape)


@pytest.mark.parametrize("shape", [(5,), (5, 4), (3, 7, 2), (1,)])
@pytest.mark.parametrize("size", [None, 1, 2, 3, 100])
def test_blocks_cover_every_entry_once_in_order(shape, size):
    counted = np.zeros(shape, int)
    blocks = block_slices(shape, size)
    for block in blocks:
        assert all(0 < stop - start <= (size or 100) for start, stop in block)
        counted[tuple(slice(*pair) for pair in block)] += 1
    assert np.all(counted == 1)
    assert blocks == sorted(blocks)
    assert len(blocks) == math.prod(math.ceil(n / (size or n)) for n in shape)


def test_only_the_last_block_is_shorter():
    assert block_slices((7,), 3) == [((0, 3),), ((3, 6),), ((6, 7),)]
    assert block_slices((6, 2), 3) == [((0, 3), (0, 2)), ((3, 6), (0, 2))]


@pytest.mark.parametrize(
    ("shape", "options", "dense"),
    [
        ((3, 4), {}, (True, False)),
        ((4, 4), {}, (True, True)),
        ((3, 4), {"max_skew": 16 / 12}, (True, True)),
        ((4, 4), {"max_size": 4}, (True, True)),
        ((4, 4), {"max_size": 3}, (False, False)),
        ((5,), {"max_skew": 10}, (False,)),
        ((5,), {"max_skew": 10, "min_ndim": 1}, (True,)),
        ((1,), {"max_skew": 10, "min_ndim": 1}, (False,)),
        ((4, 4), {"memory_save_mode": "one_diag"}, (True, False)),
        ((4, 3, 4, 2), {"memory_save_mode": "one_diag"}, (True, True, False, True)),
        ((5, 3, 4), {"memory_save_mode": "one_diag"}, (False, True, True)),
        ((4, 4), {"memory_save_mode": "all_diag"}, (False, False)),
    ],
)
def test_dense_axes(shape, options, dense):
    defaults = {"max_size": 10, "max_skew": 1.0, "min_ndim": 2, "memory_save_mode": None}
    assert dense_axes(shape, **(defaults | options)) == dense


def test_an_unknown_memory_mode_names_all():
    with pytest.raises(ValueError, match="'half'.*None, 'one_diag', 'all_diag'"):
        dense_axes((2, 2), 8, 1.0, 2, "half")


@pytest.mark.parametrize(
    "shape",
    [(2, 3, 5), (3, 4, 5, 6), (7, 2, 2, 7), (2, 2, 2, 2, 2), (2, 3, 5, 7, 11), (1024, 16, 64)],
)
def test_no_set_of_axes_makes_a_smaller_preconditioner(shape):
    order, rows, columns = matrix_view(shape)
    assert sorted(order) == list(range(len(shape)))
    assert rows * columns == math.prod(shape)
    # The rows are the first axes of the order.
    assert rows in itertools.accumulate((shape[axis] for axis in order[:-1]), int.__mul__)
    sizes = [
        math.prod(side) ** 2 + (math.prod(shape) // math.prod(side)) ** 2
        for length in range(1, len(shape))
        for side in itertools.combinations(shape, length)
    ]
    assert rows**2 + columns**2 == min(sizes)


@pytest.mark.parametrize(
    ("shape", "view"),
    [
        ((), ((), 1, 1)),
        ((7,), ((0,), 1, 7)),
        ((9, 2), ((0, 1), 9, 2)),
        ((2, 3, 5), ((0, 1, 2), 6, 5)),
        ((2, 3, 5, 7, 11), ((0, 1, 3, 2, 4), 42, 55)),
        ((1024, 16, 64), ((0, 1, 2), 1024, 1024)),
        # {2, 5} and {3, 3} are as good on the left as on the right: the first axis stays first.
        ((2, 3, 3, 5), ((0, 3, 1, 2), 10, 9)),
        ((2, 2, 2, 2), ((0, 1, 2, 3), 4, 4)),
        # One split is as good as the other: the left one.
        ((2, 2, 2), ((0, 1, 2), 2, 4)),
    ],
)
def test_the_first_of_equal_views(shape, view):
    assert matrix_view(shape) == view
