"""Dtypes of sums and of what is kept."""

import jax
import jax.numpy as jnp
import optax
import pytest

from rollfast.trees import precision

from ..helpers import gradients, kinds, parameters


@pytest.mark.parametrize(
    ("dtype", "want"),
    [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float32")]
    + [("complex64", "complex64")],
)
def test_sums_are_kept_in_float32_at_least(dtype, want):
    tree = precision.to_accumulators(parameters(dtype))
    assert all(leaf.dtype == want for leaf in jax.tree.leaves(tree))
    assert kinds(precision.cast_like(tree, parameters(dtype))) == kinds(parameters(dtype))


@pytest.mark.usefixtures("x64")
def test_double_precision_is_kept():
    assert precision.to_accumulators(jnp.ones(2, "float64")).dtype == "float64"
    assert precision.copied(jnp.ones(2, "complex128"), None).dtype == "complex128"
    assert precision.storage_dtype("complex128", "float32") == "complex64"
    assert precision.storage_dtype("complex64", "float64") == "complex128"


def test_copies_are_buffers_of_their_own():
    params = jnp.ones(1000)
    copy = precision.copied(params, None)
    assert copy.unsafe_buffer_pointer() != params.unsafe_buffer_pointer()


def test_inner_optimizer_sees_wide_numbers_only():
    seen = []

    def update(updates, state, params=None):
        seen.extend([kinds(updates), kinds(params)])
        return updates, state

    inner = optax.GradientTransformation(lambda params: seen.append(kinds(params)), update)
    wide = precision.in_accumulator_dtype(inner)
    params = parameters("bfloat16")
    updates, _ = wide.update(gradients(0, params), wide.init(params), params, unknown=1)
    assert seen == 3 * [kinds(parameters())]
    assert kinds(updates) == kinds(params)
