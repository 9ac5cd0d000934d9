"""Which tensors a tree is cut into, with which factors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rollfast import scale_by_kron
from rollfast.psgd.layout import buckets, layout_of, scanned_flags
from rollfast.psgd.options import Structure
from rollfast.psgd.plan import block_slices, dense_axes, view_shape

from ..helpers import normal

DEFAULTS = {"max_size": 8192, "max_skew": 1.0, "min_ndim": 2, "memory_save_mode": None}


def structure(merge_limit=None, block_size=None, **options):
    return Structure(merge_limit=merge_limit, block_size=block_size, **(DEFAULTS | options))


def abstract(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize(
    ("shape", "limit", "view"),
    [
        ((), None, (1,)),
        ((1, 1), None, (1,)),
        ((1, 3, 1, 4, 1), None, (3, 4)),
        ((2, 3, 4), 6, (6, 4)),
        ((2, 3, 4), 5, (2, 3, 4)),
        ((2, 3, 4, 5), 20, (6, 20)),
        ((2, 1, 3, 4), 24, (24,)),
        ((9, 2, 2), 4, (9, 4)),
        ((0, 3), None, (0, 3)),
    ],
)
def test_axes_are_squeezed_and_merged(shape, limit, view):
    assert view_shape(shape, limit) == view


@pytest.mark.parametrize(
    ("shape", "size", "blocks"),
    [
        ((5,), None, [((0, 5),)]),
        ((4,), 4, [((0, 4),)]),
        ((5,), 2, [((0, 2),), ((2, 4),), ((4, 5),)]),
        ((2, 5), 3, [((0, 2), (0, 3)), ((0, 2), (3, 5))]),
        (
            (4, 4),
            2,
            [((0, 2), (0, 2)), ((0, 2), (2, 4)), ((2, 4), (0, 2)), ((2, 4), (2, 4))],
        ),
    ],
)
def test_long_axes_are_cut(shape, size, blocks):
    assert block_slices(shape, size) == blocks


@pytest.mark.parametrize(
    ("shape", "options", "dense"),
    [
        ((3, 4), {}, (True, False)),
        ((4, 3), {}, (False, True)),
        # n² = N is dense still.
        ((3, 3), {}, (True, True)),
        ((3, 4), {"max_skew": 4 / 3}, (True, True)),
        ((3, 4), {"max_skew": float("inf")}, (True, True)),
        ((3, 4), {"max_skew": 100.0, "max_size": 3}, (True, False)),
        ((4,), {"max_skew": 100.0}, (False,)),
        ((4,), {"max_skew": 100.0, "min_ndim": 1}, (True,)),
        ((1,), {"max_skew": 100.0, "min_ndim": 0}, (False,)),
        ((3, 5, 4), {"max_skew": 100.0, "memory_save_mode": "one_diag"}, (True, False, True)),
        ((5, 5, 4), {"max_skew": 100.0, "memory_save_mode": "one_diag"}, (True, False, True)),
        ((3, 3), {"memory_save_mode": "all_diag"}, (False, False)),
    ],
    ids=str,
)
def test_which_factors_are_dense(shape, options, dense):
    assert dense_axes(shape, **(DEFAULTS | options)) == dense


@pytest.mark.parametrize(
    ("shape", "scanned", "options"),
    [
        ((5, 7), False, {}),
        ((5, 7), False, {"block_size": 3}),
        ((2, 5, 7), True, {"block_size": 4}),
        ((3, 1, 2, 5), True, {"block_size": 4, "merge_limit": 10}),
        ((3,), True, {}),
        ((), False, {}),
    ],
    ids=str,
)
def test_a_leaf_is_split_and_joined_again(shape, scanned, options):
    leaf = normal(0, *shape)
    (layout,) = layout_of([leaf], [scanned], structure(**options))
    parts = layout.split(leaf)
    layers = shape[0] if scanned else 1
    assert [part.shape for part in parts] == [(layers, *b.shape) for b in layout.blocks]
    np.testing.assert_array_equal(layout.join(parts), leaf)
    # The entries of a block are neighbours in the leaf, not any that fit its shape.
    whole = leaf.reshape(layers, *layout.view)
    for block, part in zip(layout.blocks, parts, strict=True):
        places = tuple(slice(start, stop) for start, stop in block.places)
        np.testing.assert_array_equal(part, whole[(slice(None), *places)].reshape(part.shape))
        assert 1 not in block.shape or block.shape == (1,)


def test_tensors_are_numbered_leaf_by_leaf_layer_by_layer_block_by_block():
    leaves = [abstract(2, 6), abstract(0, 3), abstract(3, 4, 2), abstract()]
    layouts = layout_of(leaves, [False, False, True, False], structure(block_size=3))
    assert [layout.tensors for layout in layouts] == [2, 0, 6, 1]
    numbers = [[layout.numbers(b) for b in range(len(layout.blocks))] for layout in layouts]
    assert numbers == [[[0], [1]], [], [[2, 4, 6], [3, 5, 7]], [[8]]]


def test_an_unrolled_tree_has_the_numbers_of_a_scanned_one():
    options = structure(block_size=2)
    (scanned,) = layout_of([abstract(3, 4)], [True], options)
    unrolled = layout_of([abstract(4)] * 3, [False] * 3, options)
    each = [[scanned.numbers(b)[layer] for b in range(2)] for layer in range(3)]
    assert each == [[layout.numbers(b)[0] for b in range(2)] for layout in unrolled]


def test_tensors_are_alike_if_shape_factors_and_dtype_are():
    leaves = [
        abstract(3, 4),
        abstract(2, 3, 4),
        abstract(3, 4, dtype=jnp.bfloat16),
        abstract(3, 4, dtype=jnp.complex64),
        abstract(4, 3),
        abstract(3, 1, 4),
    ]
    flags = [False, True, False, False, False, False]
    found = buckets(layout_of(leaves, flags, structure()))
    # Bfloat16 is summed in float32, in the bucket of float32 leaves.
    members = {tuple(leaf for leaf, _ in bucket.entries): bucket for bucket in found}
    assert set(members) == {(0, 1, 2, 5), (3,), (4,)}
    assert members[0, 1, 2, 5].layers == (1, 2, 1, 1)
    assert members[0, 1, 2, 5].numbers == (0, 1, 2, 3, 6)


TREE = {
    "a": {"b": abstract(2, 3), "c": abstract(3)},
    "d": None,
    "e": optax.MaskedNode(),
    "f": [abstract(2), abstract(2)],
}


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (None, [False, False, False, False]),
        (True, [True, True, True, True]),
        ({"a": True, "f": False}, [True, True, False, False]),
        ({"a": {"b": True, "c": False}, "f": [False, True]}, [True, False, False, True]),
        ({"a": {"b": True}}, [True, False, False, False]),
        ({"a": None, "d": True, "e": True, "f": True}, [False, False, True, True]),
    ],
    ids=str,
)
def test_layers_by_a_tree_or_a_prefix_of_one(flags, wanted):
    assert scanned_flags(flags, TREE) == wanted


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"g": True}, r"scanned_layers\['g'\] is not allowed"),
        ({"a": {"b": {"x": True}}}, r"scanned_layers\['a'\]\['b'\]\['x'\] is not allowed"),
        ([False], r"scanned_layers\[0\] is not allowed"),
        ({"a": {"b": 1}}, r"scanned_layers\['a'\]\['b'\]=1 is not allowed"),
        ("b", "scanned_layers='b' is not allowed"),
    ],
    ids=str,
)
def test_a_flag_that_would_be_overlooked_is_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        scanned_flags(flags, TREE)


def test_a_flag_inside_what_is_masked_or_for_an_empty_tree_is_passed_over():
    assert not any(scanned_flags({"d": [True], "e": {"x": True}}, TREE))
    assert scanned_flags(True, {}) == []


def test_the_state_has_the_factors_of_the_layout():
    """A list for every kind of tensor, at the leaf with the first, of stacks for every axis."""
    optimizer = scale_by_kron(
        scanned_layers={"stack": True}, partition_large_dims=4, merge_small_dims=4
    )
    params = {
        "masked": optax.MaskedNode(),
        "merged": abstract(2, 2, 3),
        "none": None,
        "parted": abstract(6, 3),
        "scalar": abstract(),
        "stack": abstract(5, 3, 1, 4),
        "zero": abstract(0, 3),
    }
    state = jax.eval_shape(optimizer.init, params)
    shapes = jax.tree.map(lambda leaf: leaf.shape, state.Qs_preconditioners)
    # (4, 3) of `merged` and of `parted`, the (2, 3) that is left of it, the scalar, five layers.
    absent = {"masked": optax.MaskedNode(), "none": None}
    assert shapes == {
        **absent,
        "merged": [[(2, 4), (2, 3, 3)]],
        "parted": [[(1, 2, 2), (1, 3)]],
        "scalar": [[(1, 1)]],
        "stack": [[(5, 3, 3), (5, 4)]],
        "zero": [],
    }
    estimates = jax.tree.map(lambda leaf: leaf.shape, state.Ls_lipschitz)
    assert estimates == {
        **absent,
        "merged": [[(2,), (2,)]],
        "parted": [[(1,), (1,)]],
        "scalar": [[(1,)]],
        "stack": [[(5,), (5,)]],
        "zero": [],
    }
