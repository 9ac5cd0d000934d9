"""Dimension numbers of Equinox models."""

import jax
import jax.numpy as jnp
import pytest

from rollfast import PrismDimensionNumbers, get_equinox_prism_spec, prism

eqx = pytest.importorskip("equinox")


@pytest.fixture(scope="module")
def model():
    keys = iter(jax.random.split(jax.random.key(0), 5))
    return [
        eqx.nn.Linear(2, 3, key=next(keys)),
        eqx.nn.Conv2d(2, 4, 3, key=next(keys)),
        eqx.nn.ConvTranspose1d(2, 3, 2, key=next(keys)),
        eqx.nn.Conv1d(4, 4, 3, groups=4, key=next(keys)),
        eqx.nn.LayerNorm(3),
        eqx.nn.Embedding(5, 2, key=next(keys)),
        jax.nn.relu,
    ]


def test_linear_and_convolution_weights_are_matrices(model):
    spec = get_equinox_prism_spec(model)
    linear, convolution, transposed, depthwise, norm, embedding, _ = spec
    assert linear.weight == PrismDimensionNumbers((1,), 0)
    assert convolution.weight == PrismDimensionNumbers((1, 2, 3), 0)
    assert transposed.weight == PrismDimensionNumbers((1, 2), 0)
    others = (linear.bias, convolution.bias, depthwise.weight, norm.weight, embedding.weight)
    assert others == (None,) * 5


def test_depthwise_convolutions_on_request(model):
    spec = get_equinox_prism_spec(model, skip_depthwise_conv=False)
    assert spec[3].weight == PrismDimensionNumbers((1, 2), 0)


def test_drives_prism(model):
    params = eqx.filter(model, eqx.is_inexact_array)
    for spec in (get_equinox_prism_spec(params), get_equinox_prism_spec(model)):
        optimizer = prism(0.1, prism_weight_dimension_numbers=spec)
        state = optimizer.init(params)
        momentum = state.inner_states["prism"].inner_state[0].mu
        assert momentum[1].weight.shape == (4, 2, 3, 3)
        updates, _ = jax.eval_shape(optimizer.update, params, state, params)
        assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(updates))


def test_stacked_layers_stay_layers():
    keys = jax.random.split(jax.random.key(0), 5)
    linear = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 3, key=key))(keys)
    convolution = eqx.filter_vmap(lambda key: eqx.nn.Conv1d(4, 3, 2, key=key))(keys)
    spec = get_equinox_prism_spec([linear, convolution])
    assert spec[0].weight == PrismDimensionNumbers((2,), 1)
    assert spec[1].weight == PrismDimensionNumbers((2, 3), 1)
