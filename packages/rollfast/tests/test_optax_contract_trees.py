"""The Optax contract: trees of any leaves and dtypes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from .helpers import (
    OF_ALL_PARAMETERS,
    Optimizer,
    assert_finite,
    gradients,
    kinds,
    named_leaves,
    normal,
    parameters,
)

DTYPES = ("bfloat16", "float16", "float32", "complex64")
WIDE_DTYPES = ("float64", "complex128")


def mixed(dtypes: tuple[str, ...]) -> dict[str, Any]:
    """A tree with every dtype in it."""
    return {name: parameters(name) for name in dtypes}


def abstract(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def assert_stable(optimizer: Optimizer, params: Any, grads: Any) -> Any:
    """Trace one step: shapes and dtypes of the state stay, updates are like the gradients."""
    transformation = optimizer.transformation
    state = jax.eval_shape(transformation.init, params)
    updates, after = jax.eval_shape(transformation.update, grads, state, params)
    assert updates == abstract(grads)
    assert after == state
    return state


def assert_scalars_wide(state: Any, dtype: str) -> None:
    """All sums are wide; what counts and weighs steps is so whatever the parameters are."""
    inexact = [
        (name, leaf)
        for name, leaf in named_leaves(state)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    assert all(jnp.finfo(leaf.dtype).bits >= 32 for _, leaf in inexact), inexact
    for name, leaf in inexact:
        assert leaf.ndim or name.endswith(OF_ALL_PARAMETERS) or leaf.dtype == dtype, name


@pytest.mark.parametrize("dtypes", [*[(name,) for name in DTYPES], DTYPES], ids="+".join)
def test_dtypes_and_shapes_stay(optimizer, dtypes):
    params = abstract(mixed(dtypes))
    assert_scalars_wide(assert_stable(optimizer, params, params), "float32")


@pytest.mark.usefixtures("x64")
def test_dtypes_and_shapes_stay_in_double_precision(optimizer):
    for dtypes in (("bfloat16",), ("float64",), DTYPES + WIDE_DTYPES):
        params = abstract(mixed(dtypes))
        assert_scalars_wide(assert_stable(optimizer, params, params), "float64")


@pytest.mark.parametrize(
    ("of_params", "of_grads"), [("bfloat16", "float32"), ("float32", "float16")]
)
def test_gradients_may_have_another_dtype(optimizer, of_params, of_grads):
    assert_stable(optimizer, abstract(parameters(of_params)), abstract(parameters(of_grads)))


def all_kinds_of_leaves() -> dict[str, Any]:
    shapes: dict[str, tuple[int, ...]] = {
        "scalar": (),
        "1-D": (3,),
        "2-D": (2, 3),
        "3-D": (2, 3, 2),
        "4-D": (2, 1, 3, 2),
        "5-D": (1, 2, 1, 3, 2),
        "row": (1, 4),
        "empty": (0,),
        "empty matrix": (0, 3),
    }
    leaves = {name: normal(7, *shape) for name, shape in shapes.items()}
    narrow = {name: normal(8, 2, 3, dtype=name) for name in DTYPES}
    return leaves | narrow | {"none": None, "masked": optax.MaskedNode(), "nested": [{}, ()]}


def test_every_kind_of_leaf(optimizer):
    params = all_kinds_of_leaves()
    grads = gradients(0, params)
    transformation = optimizer.transformation
    state = jax.jit(transformation.init)(params)
    step = jax.jit(transformation.update)
    updates, after = step(grads, state, params)
    updates, after = step(grads, after, params)
    assert kinds(updates) == kinds(grads)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert kinds(after) == kinds(state)
    assert_finite(updates)
    assert_finite(after)
    for name, leaf in named_leaves(updates):
        assert leaf.size == 0 or bool(jnp.any(leaf != 0)), f"{name} did not move"


@pytest.mark.parametrize("empty", [{}, (), {"a": None, "b": optax.MaskedNode()}], ids=str)
def test_tree_without_leaves(optimizer, empty):
    state = optimizer.transformation.init(empty)
    updates, after = optimizer.transformation.update(empty, state, empty)
    assert jax.tree.structure(updates) == jax.tree.structure(empty)
    assert kinds(after) == kinds(state)


def test_leaves_that_are_no_arrays_of_jax(optimizer):
    """Numbers of Python and arrays of NumPy, in double precision, do what arrays in JAX's do."""
    leaves = {"number": 0.5, "array": np.arange(6.0).reshape(2, 3)}
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), leaves)
    transformation = optimizer.transformation
    given, wanted = (transformation.init(tree) for tree in (leaves, arrays))
    assert kinds(given) == kinds(wanted)
    shapes = jax.eval_shape(lambda state: transformation.update(leaves, state, leaves), given)
    assert shapes == jax.eval_shape(transformation.update, arrays, wanted, arrays)


def test_ranks_are_not_promoted(optimizer):
    """Who has JAX refuse arithmetic between arrays of different ranks can use it."""
    params = {**parameters(), "tensor": jnp.zeros((2, 3, 4)), "scalar": jnp.zeros([])}
    with jax.numpy_rank_promotion("raise"):
        assert_stable(optimizer, params, params)


def test_params_are_asked_for_only_if_needed(optimizer):
    params, grads = parameters(), gradients(5)
    state = jax.eval_shape(optimizer.transformation.init, params)
    if optimizer.needs_params:
        with pytest.raises(ValueError, match="param"):
            jax.eval_shape(optimizer.transformation.update, grads, state)
    else:
        _, after = jax.eval_shape(optimizer.transformation.update, grads, state)
        assert after == state
