"""Properties of the Schedule-Free methods."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rollfast import (
    schedule_free_adamw,
    schedule_free_eval_params,
    schedule_free_prism,
    schedule_free_sgd,
    wsd_schedule,
)

from ..helpers import assert_close, gradients, kinds, parameters, train


def trained(optimizer, steps=3):
    params = parameters()
    return train(jax.jit(optimizer.update), params, optimizer.init(params), range(steps))


def test_innovation_has_an_effect():
    """The momentum of PRISM is not switched off, so γ matters, in the first step and later."""
    for steps in (1, 3):
        with_it, _ = trained(schedule_free_prism(0.1, 10, gamma=1.0), steps)
        without, _ = trained(schedule_free_prism(0.1, 10, gamma=0.0), steps)
        assert not np.allclose(with_it["matrix"], without["matrix"], rtol=1e-3)


def test_averaging_takes_the_place_of_nesterov():
    """The momentum of the base optimizer does not look ahead unless asked to."""
    default, asked_not, asked = (
        trained(schedule_free_prism(0.1, 10, **options))[0]["matrix"]
        for options in ({}, {"nesterov": False}, {"nesterov": True})
    )
    np.testing.assert_array_equal(default, asked_not)
    assert not np.allclose(default, asked, rtol=1e-3)


@pytest.mark.parametrize("numbers", [{}, {"weight_decay": 0.1, "adam_learning_rate": 0.2}], ids=str)
def test_options_of_prism_can_be_injected(numbers):
    """Built by `inject_hyperparams` it does what it does when built from numbers."""
    injected = optax.inject_hyperparams(schedule_free_prism, static_args=("total_steps",))(
        learning_rate=0.1, total_steps=10, **numbers
    )
    want, _ = trained(schedule_free_prism(0.1, 10, **numbers))
    assert_close(trained(injected)[0], want, 200)


def test_learning_rate_of_the_vectors():
    """Twice the rate of the leaves without dimension numbers is twice their first step."""

    def moved(**options):
        start, (end, _) = parameters(), trained(schedule_free_prism(0.1, 10, **options), 1)
        return jax.tree.map(lambda a, b: a - b, end, start)

    one, two = moved(), moved(adam_learning_rate=0.2)
    np.testing.assert_allclose(two["vector"], 2 * one["vector"], atol=1e-6)
    np.testing.assert_allclose(two["matrix"], one["matrix"], atol=1e-6)


def test_weights_follow_the_schedule():
    _, state = trained(schedule_free_prism(0.1, 10), 3)
    rate = wsd_schedule(0.1, 10)
    assert float(state.weight_sum) == pytest.approx(sum(float(rate(t)) for t in range(3)))


def test_skipped_spike_moves_no_sequence():
    limited = schedule_free_prism(
        0.1, 10, raw_global_grad_clip=1.0, permissive_spike_protection=False
    )
    params = parameters()
    state = limited.init(params)
    big = jax.tree.map(lambda leaf: 100 * leaf, gradients(0))
    updates, after = jax.jit(limited.update)(big, state, params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(updates))
    assert int(after.step_count) == 0
    assert kinds(after) == kinds(state)


@pytest.mark.parametrize("factory", [schedule_free_sgd, schedule_free_adamw])
def test_warmup_rises_linearly(factory):
    """Steps of γ (t+1) / warmup, the first one not zero."""
    params = parameters()
    optimizer = factory(0.1, warmup_steps=4)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    largest = []
    for step in range(6):
        _, state = update(gradients(step), state, params)
        largest.append(float(state.max_learning_rate))
    np.testing.assert_allclose(largest, [0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rtol=1e-6)


def test_weight_decay_is_taken_at_the_parameters():
    params = parameters()
    optimizer = schedule_free_sgd(0.5, weight_decay=0.1)
    zeros = jax.tree.map(jnp.zeros_like, params)
    _, state = optimizer.update(zeros, optimizer.init(params), params)
    assert_close(state.z, jax.tree.map(lambda leaf: 0.95 * leaf, params), 4)


def test_bias_correction_of_the_first_step():
    """In the denominator the first step is γ sign(g); in the rate √(1-β₂) goes twice."""
    params, grads = parameters(), gradients(0)
    for where, weight in (("denominator", 0.01), ("learning_rate", 0.01 * (1 - 0.999))):
        optimizer = schedule_free_adamw(0.1, bias_correction=where, eps=0.0)
        _, state = optimizer.update(grads, optimizer.init(params), params)
        want = jax.tree.map(lambda leaf, g: leaf - 0.1 * jnp.sign(g), params, grads)
        np.testing.assert_allclose(state.z["matrix"], want["matrix"], atol=1e-4)
        assert float(state.weight_sum) == pytest.approx(weight, rel=1e-3)


@pytest.mark.parametrize("factory", [schedule_free_sgd, schedule_free_adamw])
def test_minimum_of_a_quadratic_is_found(factory):
    """With no decay of the rate the average comes closer than a hundredth."""
    target = jnp.asarray([1.0, -2.0, 0.5])
    optimizer = factory(0.1)

    def body(carry, _):
        params, state = carry
        updates, state = optimizer.update(params - target, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.zeros(3), optimizer.init(jnp.zeros(3))
    (params, state), _ = jax.jit(lambda carry: jax.lax.scan(body, carry, length=600))(start)
    assert float(jnp.max(jnp.abs(schedule_free_eval_params(state, params) - target))) < 0.01
