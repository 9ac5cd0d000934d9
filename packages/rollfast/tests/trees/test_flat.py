"""A tree seen as one real vector, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast.trees.flat import flat_dtype, flat_size, flatten, unflatten

from ..helpers import assert_identical, normal


def leaves(*dtypes):
    """Of every dtype a matrix, a scalar, and what has no entries."""
    shapes = ((2, 3), (), (0, 2))
    return [
        normal(10 * row + column, *shape, dtype=dtype)
        for row, dtype in enumerate(dtypes)
        for column, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize(
    ("dtypes", "want"),
    [
        ((), "float32"),
        (("bfloat16",), "float32"),
        (("float16", "bfloat16"), "float32"),
        (("float32", "complex64"), "float32"),
    ],
)
def test_there_and_back(dtypes, want):
    given = leaves(*dtypes)
    vector = flatten(given)
    assert vector.dtype == flat_dtype(given) == want
    assert vector.shape == (flat_size(given),)
    assert_identical(unflatten(vector, given), given)
    assert_identical(flatten(unflatten(vector, given)), vector)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("wide", ["float64", "complex128"])
def test_double_precision_is_kept(wide):
    given = leaves("bfloat16", wide)
    assert flatten(given).dtype == flat_dtype(given) == "float64"
    assert_identical(unflatten(flatten(given), given), given)


def test_order_of_the_entries():
    """C order; real parts before imaginary ones."""
    matrix = jnp.arange(6.0).reshape(2, 3)
    number = jnp.asarray([[1 + 2j], [3 - 4j]], "complex64")
    assert flat_size([matrix, number]) == 10
    want = [0, 1, 2, 3, 4, 5, 1, 3, 2, -4]
    np.testing.assert_array_equal(flatten([matrix, number]), want)


def test_what_like_says_is_what_comes_back():
    """Shapes and dtypes are those of `like`, which need not be arrays."""
    like = [jax.ShapeDtypeStruct((2,), "bfloat16"), jax.ShapeDtypeStruct((1, 2), "complex64")]
    got = unflatten(jnp.arange(6.0), like)
    assert_identical(got[0], jnp.asarray([0, 1], "bfloat16"))
    assert_identical(got[1], jnp.asarray([[2 + 4j, 3 + 5j]], "complex64"))
