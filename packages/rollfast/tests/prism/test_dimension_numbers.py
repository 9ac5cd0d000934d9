"""Which leaves are matrices."""

import jax.numpy as jnp
import optax
import pytest

from rollfast import PrismDimensionNumbers, prism
from rollfast.prism.dimension_numbers import partition_labels, resolve

TREE = {"bias": jnp.ones(3), "kernel": jnp.ones((2, 3)), "stack": jnp.ones((4, 2, 3)), "no": None}
MATRIX = PrismDimensionNumbers()
STACK = PrismDimensionNumbers(1, 2)


def test_default_is_every_leaf_of_two_axes():
    assert resolve(None, TREE) == [None, MATRIX, None]
    assert partition_labels(None, TREE) == {
        "bias": "adam",
        "kernel": "prism",
        "stack": "adam",
        "no": None,
    }


@pytest.mark.parametrize("absent", [None, optax.MaskedNode()], ids=str)
def test_tree_or_function_of_the_parameters(absent):
    given = {"bias": None, "kernel": MATRIX, "stack": STACK, "no": None}
    tree = TREE | {"no": absent}
    assert resolve(given, tree) == [None, MATRIX, STACK]
    assert resolve(lambda params: {name: given[name] for name in params}, tree) == [
        None,
        MATRIX,
        STACK,
    ]


def test_one_specification_is_that_of_every_leaf():
    assert resolve(STACK, {"a": jnp.ones((1, 2, 3)), "b": jnp.ones((4, 5, 6))}) == [STACK, STACK]


def test_prism_routes_leaves_by_their_numbers():
    """In each branch's state the leaves of the other are masked out."""
    numbers = {"bias": None, "kernel": None, "stack": STACK, "no": None}
    state = prism(0.1, prism_weight_dimension_numbers=numbers).init(TREE)
    momentum = optax.tree.get(state.inner_states["prism"], "mu")
    first = optax.tree.get(state.inner_states["adam"], "mu")
    assert momentum["stack"].shape == (4, 2, 3)
    assert isinstance(first["stack"], optax.MaskedNode)
    for name in ("bias", "kernel"):
        assert isinstance(momentum[name], optax.MaskedNode)
        assert first[name].shape == TREE[name].shape
