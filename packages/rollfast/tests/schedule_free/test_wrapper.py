"""Properties of `schedule_free` and of finding the parameters to evaluate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rollfast import schedule_free, schedule_free_eval_params, schedule_free_sgd
from rollfast.schedule_free.wrapper import ScheduleFreeState

from ..helpers import assert_close, assert_finite, assert_identical, gradients, parameters, train

RATE = 0.1
STEPS = 4
# A few rounded operations a step, each on numbers of the size of the parameters.
ROUNDINGS = 8 * STEPS


def built(b1=0.9, **options):
    return schedule_free(optax.sgd(RATE), RATE, b1=b1, **options)


def trained(optimizer, steps=STEPS):
    params = parameters()
    return train(jax.jit(optimizer.update), params, optimizer.init(params), range(steps))


def iterates(steps=STEPS):
    """The points z of plain SGD on the same gradients."""
    points = [parameters()]
    for step in range(steps):
        moved = jax.tree.map(lambda z, g: z - RATE * g, points[-1], gradients(step))
        points.append(moved)
    return points


def mean_of(points):
    return jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *points)


@pytest.mark.parametrize("b1", [0.0, 0, np.float32(0), 0.5, 0.9, 1.0], ids=repr)
def test_evaluation_is_the_average_of_the_iterates(b1):
    """For every β; β = 0 is Polyak averaging, whose parameters are the iterates themselves."""
    params, state = trained(built(b1))
    points = iterates()
    mean = mean_of(points[1:])
    assert_close(schedule_free_eval_params(state, params), mean, ROUNDINGS)
    want = jax.tree.map(lambda x, z: b1 * x + (1 - b1) * z, mean, points[-1])
    assert_close(params, want, ROUNDINGS)


@pytest.mark.parametrize("b1", [0.0, 0.5])
def test_injected_interpolation(b1):
    """An injected β does what the number does, also zero."""
    injected = optax.inject_hyperparams(schedule_free)(optax.sgd(RATE), RATE, b1=b1)
    params, state = trained(injected)
    assert_close(schedule_free_eval_params(state, params), mean_of(iterates()[1:]), ROUNDINGS)


def test_changing_an_injected_interpolation_changes_the_update():
    injected = optax.inject_hyperparams(schedule_free)(optax.sgd(RATE), RATE, b1=0.9)
    params, state = trained(injected)
    other = state._replace(hyperparams=state.hyperparams | {"b1": jnp.asarray(0.5)})
    want, _ = injected.update(gradients(9), state, params)
    got, _ = injected.update(gradients(9), other, params)
    assert bool(jnp.any(got["matrix"] != want["matrix"]))


WRAPPERS = {
    "chain": lambda inner: optax.chain(optax.clip_by_global_norm(1e6), inner),
    "masked": lambda inner: optax.masked(inner, {"matrix": True, "vector": True}),
    "partition": lambda inner: optax.partition({"all": inner}, "all"),
    "partition by leaf": lambda inner: optax.partition(
        {"one": inner, "other": inner}, {"matrix": "one", "vector": "other"}
    ),
    "multi steps": lambda inner: optax.MultiSteps(inner, 1),
    "apply if finite": lambda inner: optax.apply_if_finite(inner, 3),
    "nested": lambda inner: optax.chain(optax.masked(optax.chain(inner), lambda tree: True)),
}


@pytest.mark.parametrize(
    ("wrapper", "b1"), [*((name, 0.5) for name in WRAPPERS), ("chain", 0.0), ("masked", 0.0)]
)
def test_state_is_found_anywhere(wrapper, b1):
    params, state = trained(WRAPPERS[wrapper](built(b1)), 2)
    want = mean_of(iterates(2)[1:])
    assert_close(schedule_free_eval_params(state, params), want, ROUNDINGS)


def test_leaves_under_another_optimizer_are_left_as_they_are():
    mask = {"matrix": True, "vector": False}
    params, state = trained(optax.masked(built(), mask))
    x = schedule_free_eval_params(state, params)
    assert_identical(x["vector"], params["vector"])
    assert_close(x["matrix"], mean_of(iterates()[1:])["matrix"], ROUNDINGS)


@pytest.mark.parametrize("state", [optax.EmptyState(), (), None, {"z": 1.0}], ids=str)
def test_no_state_to_be_found(state):
    with pytest.raises(ValueError, match="no ScheduleFreeState.*pass the state"):
        schedule_free_eval_params(state, parameters())


def test_before_the_first_step_evaluation_is_the_start():
    params = parameters()
    assert_close(schedule_free_eval_params(built().init(params), params), params, 8)


def test_dtype_of_the_state():
    params = parameters("bfloat16")
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(built().init(params).z))
    narrow = built(state_dtype=jnp.bfloat16).init(parameters())
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(narrow.z))


def test_small_steps_are_not_lost_in_bfloat16():
    """Steps below the spacing of the parameters add up in the state, which is float32."""
    params = jnp.ones(3, jnp.bfloat16)
    optimizer = schedule_free_sgd(1e-4)
    step = jax.jit(optimizer.update)
    state = optimizer.init(params)
    for _ in range(20):
        _, state = step(jnp.ones(3, jnp.bfloat16), state, params)
    np.testing.assert_allclose(state.z, 1 - 20e-4, rtol=1e-6)


def test_weights_do_not_underflow_in_half_precision():
    """γ² of a small rate is nothing in float16; the sum of weights is float32."""
    params = jnp.ones(3, jnp.float16)
    optimizer = schedule_free_sgd(1e-6)
    state = optimizer.init(params)
    _, state = optimizer.update(params, state, params)
    assert float(state.weight_sum) == pytest.approx(1e-12, rel=1e-5)


def test_zero_learning_rate_averages_nothing():
    """While all weights are zero nothing is divided by their sum."""
    params, state = trained(schedule_free(optax.sgd(0.0), 0.0))
    assert_identical(params, parameters())
    assert_finite(state)


def test_later_iterates_count_more_with_a_power():
    params, state = trained(built(averaging_power=2.0, weighting_mode="theoretical"))
    weights = np.arange(1, STEPS + 1) ** 2.0
    want = jax.tree.map(
        lambda *leaves: (
            sum(w * leaf for w, leaf in zip(weights, leaves, strict=True)) / weights.sum()
        ),
        *iterates()[1:],
    )
    got = schedule_free_eval_params(state, params)
    assert_close(got, jax.tree.map(jnp.asarray, want), ROUNDINGS)


def test_largest_rate_keeps_weights_from_falling():
    rates = jnp.asarray([0.1, 0.4, 0.2, 0.1])

    def weight_sum(use_max):
        optimizer = schedule_free(
            optax.sgd(RATE), lambda count: rates[count], use_max_learning_rate=use_max
        )
        return float(trained(optimizer)[1].weight_sum)

    assert weight_sum(True) == pytest.approx(0.1 + 3 * 0.4)
    assert weight_sum(False) == pytest.approx(0.8)


def test_state_type():
    assert isinstance(built().init(parameters()), ScheduleFreeState)
