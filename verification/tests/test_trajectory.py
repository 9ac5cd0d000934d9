"""A trajectory finds the step, the field and the leaf."""

import numpy as np
import optax
import pytest

from reference.optimizer import Optimizer
from verification import registry
from verification.results import Verdict
from verification.states import counters, stored
from verification.trajectory import Field, Trajectory, updated_params
from verification.wide_numbers import enable_x64


def momentum_reference(rate=0.1, decay=0.9):
    """Return heavy-ball descent as a reference optimizer."""

    def init(params):
        return {
            "params": params,
            "trace": {name: np.zeros_like(leaf) for name, leaf in params.items()},
        }

    def step(state, gradients):
        trace = {
            name: gradient + decay * state["trace"][name] for name, gradient in gradients.items()
        }
        params = {name: leaf - rate * trace[name] for name, leaf in state["params"].items()}
        return {"params": params, "trace": trace}

    return Optimizer(init, step)


def made(monkeypatch, production, **options):
    monkeypatch.setattr(registry, "reference", lambda name: momentum_reference)
    monkeypatch.setattr(registry, "production", lambda name: production)
    settings = {"budget": 4.0, "reason": "test", "steps": 12} | options
    return Trajectory(
        name="made.up",
        problem="quadratic",
        build=lambda factory, is_production: factory(),
        fields=(Field("params", updated_params), stored("trace")),
        **settings,
    )


def run(trajectory, dtype="float64"):
    with enable_x64(dtype == "float64"):
        return trajectory.run(dtype, 0)


def test_an_equal_optimizer_passes_forced_and_free(monkeypatch):
    forced, free = run(made(monkeypatch, lambda: optax.sgd(0.1, 0.9)))
    assert forced.verdict is Verdict.PASS
    assert free.verdict is Verdict.PASS
    assert len(forced.series) == len(free.series) == len(free.control_series) == 12
    (low,) = run(made(monkeypatch, lambda: optax.sgd(0.1, 0.9)), "float32")
    assert low.verdict is Verdict.PASS


def test_a_slightly_wrong_decay_is_convicted_in_its_field(monkeypatch):
    forced, free = run(made(monkeypatch, lambda: optax.sgd(0.1, 0.9 * (1 + 1e-12))))
    assert forced.verdict is Verdict.FAIL
    assert free.verdict is Verdict.FAIL
    assert forced.field in ("trace", "params")
    assert "step" in forced.where
    assert "leaf" in forced.where


def test_an_error_at_one_step_is_found_at_that_step(monkeypatch):
    def at_seven():
        rate = optax.join_schedules([lambda _: 0.1, lambda _: 0.2, lambda _: 0.1], [7, 8])
        return optax.chain(optax.trace(0.9), optax.scale_by_learning_rate(rate))

    trajectory = made(monkeypatch, at_seven, free=False)
    fields = (*trajectory.fields, counters("step", "count"))

    def with_count():
        inner = momentum_reference()
        return Optimizer(
            lambda params: {**inner.init(params), "step": 0},
            lambda state, g: {**inner.step(state, g), "step": state["step"] + 1},
        )

    monkeypatch.setattr(registry, "reference", lambda name: with_count)
    counted = Trajectory(**{**vars(trajectory), "fields": fields})
    (forced,) = run(counted)
    assert forced.where.startswith("step 7;")
    assert forced.series[6] < 4 < forced.series[7]
    assert forced.series[8] < 4


def test_a_state_that_is_not_kept_is_convicted_although_the_first_step_is_right(monkeypatch):
    (forced, *_) = run(made(monkeypatch, lambda: optax.sgd(0.1, 0.0), free=False, budget=1e18))
    assert forced.verdict is not Verdict.PASS


def test_a_field_that_stands_still_is_mistrusted(monkeypatch):
    frozen = Optimizer(momentum_reference().init, lambda state, gradients: state)
    trajectory = made(monkeypatch, lambda: optax.sgd(0.0, 0.9), free=False)
    monkeypatch.setattr(registry, "reference", lambda name: lambda: frozen)
    still = Trajectory(**{**vars(trajectory), "fields": trajectory.fields[:1]})
    (forced,) = run(still)
    assert forced.verdict is Verdict.MISTRUSTED
    assert "never moves" in forced.detail


@pytest.mark.parametrize("steps", [3, 5])
def test_a_long_run_takes_ten_times_the_steps(monkeypatch, steps):
    trajectory = made(monkeypatch, lambda: optax.sgd(0.1, 0.9), steps=steps, free=False)
    with enable_x64(True):
        (forced,) = trajectory.run("float64", 0, long=True)
    assert len(forced.series) == 10 * steps
