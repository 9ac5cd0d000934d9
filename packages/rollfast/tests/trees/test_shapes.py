"""A tree of wrong shapes is refused by name, before anything is broadcast."""

import jax.numpy as jnp
import optax
import pytest

from rollfast import (
    affine,
    dense_newton,
    kron,
    low_rank_approximation,
    scale_by_affine,
    scale_by_kron,
    scale_by_lra,
    scale_by_prism,
    scale_by_xmat,
    schedule_free,
    schedule_free_kron,
    xmat,
)

PARAMS = {"bias": jnp.ones(4), "weight": jnp.ones((3, 4))}
# A gradient that arithmetic would broadcast, and one that it could not.
WRONG = {"broadcast": jnp.ones((3, 1)), "other": jnp.ones((4, 3))}
FITTED = {
    "affine": scale_by_affine,
    "kron": scale_by_kron,
    "lra": scale_by_lra,
    "xmat": scale_by_xmat,
}
OPTIMIZERS = {
    **FITTED,
    "low_rank_approximation": low_rank_approximation,
    "prism": scale_by_prism,
    "schedule_free": lambda: schedule_free(optax.sgd(0.1), 0.1),
    "schedule_free_kron": lambda: schedule_free_kron(0.1, 10),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_gradient_of_another_shape_is_named(make, wrong):
    optimizer = make()
    state = optimizer.init(PARAMS)
    with pytest.raises(ValueError, match=r"updates\['weight'\] of shape .* \(3, 4\)"):
        optimizer.update({**PARAMS, "weight": wrong}, state, PARAMS)


@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_a_missing_leaf_is_counted(make):
    optimizer = make()
    state = optimizer.init(PARAMS)
    with pytest.raises(ValueError, match=r"updates with 1 leaves is not .* 2, .*\['bias'\] is not"):
        optimizer.update({"weight": PARAMS["weight"]}, state, PARAMS)
    more = {**PARAMS, "other": jnp.ones(2)}
    with pytest.raises(
        ValueError, match=r"updates with 3 leaves is not .* 2, .*\['other'\] is none"
    ):
        optimizer.update(more, state, more)


@pytest.mark.parametrize("make", [affine, dense_newton, kron, low_rank_approximation, xmat])
def test_parameters_that_decay_are_not_broadcast(make):
    optimizer = make(0.1, weight_decay=0.1)
    state = optimizer.init(PARAMS)
    with pytest.raises(ValueError, match=r"params\['bias'\] of shape \(4, 1\)"):
        optimizer.update(PARAMS, state, {**PARAMS, "bias": jnp.ones((4, 1))})


@pytest.mark.parametrize("name", ["Hvp", "vector"])
@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_a_product_of_another_shape_is_named(make, name):
    optimizer = make()
    state = optimizer.init(PARAMS)
    given = {"Hvp": PARAMS, "vector": PARAMS, name: {**PARAMS, "bias": jnp.ones(1)}}
    with pytest.raises(ValueError, match=rf"{name}\['bias'\] of shape \(1,\)"):
        optimizer.update(PARAMS, state, PARAMS, update_preconditioner=True, **given)
