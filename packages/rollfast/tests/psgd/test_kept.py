"""Gradients that do not fit the factors of a state, where there is no momentum to compare with."""

import jax.numpy as jnp
import pytest

from rollfast import scale_by_kron

PARAMS = {"bias": jnp.ones(6), "weight": jnp.ones((4, 6))}
WRONG = {
    "turned": ({**PARAMS, "weight": jnp.ones((6, 4))}, "weight"),
    "longer": ({**PARAMS, "bias": jnp.ones(7)}, "bias"),
    "of another kind": ({**PARAMS, "weight": jnp.ones(6)}, "bias"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_gradient_of_another_shape_is_named(name):
    optimizer, (wrong, leaf) = scale_by_kron(b1=0.0), WRONG[name]
    state = optimizer.init(PARAMS)
    with pytest.raises(ValueError, match=rf"updates\['{leaf}'\] of shape .* not allowed"):
        optimizer.update(wrong, state)


def test_a_gradient_with_another_number_of_layers_is_named():
    optimizer = scale_by_kron(b1=0.0, scanned_layers=True)
    state = optimizer.init({"stack": jnp.ones((3, 4, 6))})
    with pytest.raises(ValueError, match=r"updates\['stack'\] of shape \(2, 4, 6\)"):
        optimizer.update({"stack": jnp.ones((2, 4, 6))}, state)


def test_a_tree_of_another_structure_is_refused():
    optimizer = scale_by_kron(b1=0.0)
    state = optimizer.init(PARAMS)
    with pytest.raises(ValueError, match="factors in the state are those of another tree"):
        optimizer.update({"weight": PARAMS["weight"]}, state)
