"""Roundings at random: what is rounded, by how much, and what becomes of it in a trajectory."""

import re
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import scipy.linalg

from reference.optimizer import Optimizer
from reference.prism.prism import prism
from reference.psgd.kron import kron
from reference.schedule_free.methods import schedule_free_adamw
from verification import free_running, registry, rounding
from verification.free_running import Divergence
from verification.report import plots
from verification.results import Finding
from verification.states import stored
from verification.trajectory import Field, Trajectory, updated_params
from verification.wide_numbers import enable_x64

ROOT = Path(__file__).parents[2]
EPS = np.finfo(np.float64).eps
OPTIMIZERS = {
    "kron": kron(0.1, preconditioner_mode="EQ"),
    "prism": prism(0.1),
    "schedule_free_adamw": schedule_free_adamw(0.1, warmup_steps=3),
}


def tensors(seed):
    rng = np.random.default_rng(seed)
    return {"w": rng.standard_normal((4, 3)), "b": rng.standard_normal(5)}


def carried(array, seed=0):
    return rounding.carrying(array, rounding.Source([seed]))


def spread(optimizer, width):
    """Return the states after two steps, plain and rounded."""
    plain = rounded = optimizer.init(tensors(0))
    for count in range(2):
        plain = optimizer.step(plain, tensors(count + 1))
        source = rounding.Source([count], width)
        rounded = rounding.step(optimizer, rounded, tensors(count + 1), {}, source)
    return plain, rounded


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_width_nothing_changes(name):
    plain, rounded = spread(OPTIMIZERS[name], 0.0)
    assert jax.tree.structure(plain) == jax.tree.structure(rounded)
    for left, right in zip(jax.tree.leaves(plain), jax.tree.leaves(rounded), strict=True):
        np.testing.assert_array_equal(left, right)
        assert not isinstance(right, rounding.Rounded)
        assert np.asarray(left).dtype == np.asarray(right).dtype


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_field_that_is_computed_is_rounded(name):
    plain, rounded = spread(OPTIMIZERS[name], EPS)
    for field, value in plain.items():
        for left, right in zip(
            jax.tree.leaves(value), jax.tree.leaves(rounded[field]), strict=True
        ):
            if np.ndim(left) and np.unique(left).size > 1:
                assert 0 < np.linalg.norm(right - left) < 1e3 * EPS * np.linalg.norm(left), field


def test_a_number_goes_up_or_down_or_stays():
    exact = np.linspace(1.01, 1.99, 8000)
    units = (np.asarray(carried(exact) * 1.0) - exact) / EPS
    shares = [np.mean(units == unit) for unit in (-1, 0, 1)]
    # Of 8000 draws: six standard deviations of a share.
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.035)
    both = np.asarray(carried(exact + 1j * exact) * 1.0)
    assert np.any(both.real != both.imag)
    np.testing.assert_array_equal(carried(np.zeros(9)) + 0.0, np.zeros(9))


@pytest.mark.parametrize("function", [np.abs, np.max, np.flip, np.negative, np.triu, np.argmax])
def test_what_computes_nothing_is_exact(function):
    exact = np.random.default_rng(0).standard_normal((3, 3))
    result = function(carried(exact))
    np.testing.assert_array_equal(np.asarray(result), function(exact))
    assert isinstance(result, rounding.Rounded) or function is np.argmax


@pytest.mark.parametrize("function", ["sum", "dot", "trace"])
def test_the_error_of_a_sum_is_that_of_its_terms(function):
    totals = {"sum": np.sum, "dot": np.ones(3).__matmul__, "trace": lambda x: np.trace(np.diag(x))}
    total = totals[function]
    terms = np.array([1e8, 1.0, -1e8])
    errors = [abs(float(total(carried(terms, seed))) - 1) for seed in range(9)]
    assert 0.01 * EPS * 1e8 < max(errors) < 4 * EPS * 1e8


def test_every_function_of_scipy_that_the_reference_calls_is_rounded():
    called = set()
    for path in (ROOT / "reference").rglob("*.py"):
        if "tests" not in path.parts:
            called |= set(re.findall(r"scipy\.linalg\.(\w+)\(", path.read_text(encoding="utf-8")))
    assert called == set(rounding.FROM_SCIPY)
    kept = scipy.linalg.svd

    def step(state, gradients):
        return {"singular": scipy.linalg.svd(gradients["w"])[1], "inside": scipy.linalg.svd}

    gradients = {"w": np.diag(np.arange(9.0, 0.0, -1))}
    state = rounding.step(Optimizer(None, step), {}, gradients, {}, rounding.Source([0]))
    assert np.any(state["singular"] != np.diag(gradients["w"]))
    assert state["inside"] is not kept
    assert scipy.linalg.svd is kept
    with pytest.raises(TypeError):
        rounding.step(Optimizer(None, None), {}, {}, {}, rounding.Source([0]))
    assert scipy.linalg.svd is kept


def heavy_ball(rate=0.1, decay=0.9):
    def init(params):
        return {"params": params, "trace": jax.tree.map(np.zeros_like, params)}

    def step(state, gradients):
        trace = {name: g + decay * state["trace"][name] for name, g in gradients.items()}
        params = {name: leaf - rate * trace[name] for name, leaf in state["params"].items()}
        return {"params": params, "trace": trace}

    return Optimizer(init, step)


def measured(monkeypatch, decay):
    monkeypatch.setattr(registry, "reference", lambda name: heavy_ball)
    monkeypatch.setattr(registry, "production", lambda name: lambda: optax.sgd(0.1, decay))
    trajectory = Trajectory(
        name="made.up",
        problem="quadratic",
        build=lambda factory, is_production: factory(),
        fields=(Field("params", updated_params), stored("trace")),
        budget=4.0,
        reason="test",
        steps=12,
    )
    with enable_x64(True):
        return trajectory.run("float64", 0)


def test_an_equal_optimizer_stays_near_the_floor(monkeypatch):
    forced, free = measured(monkeypatch, 0.9)
    assert [step for step, _, _ in forced.floor_series] == [0, 5, 11]
    assert all(0 < low < high < 4 for _, low, high in forced.floor_series)
    assert forced.over_floor < 2
    assert len(free.floor_series) == 12
    assert free.floor_runs == free_running.CONTROL_RUNS
    assert free.floor_series[-1][2] > free.floor_series[0][2]


def test_a_wrong_number_is_far_above_the_floor(monkeypatch):
    forced, free = measured(monkeypatch, 0.9 * (1 + 1e-12))
    assert forced.over_floor > 100
    level, production, first, last = free.horizons[0]
    assert (level, first, last) == (10.0, None, None)
    assert production < 5
    assert "production at step" in free.detail


def test_horizons_are_where_levels_are_first_exceeded():
    run = Divergence(1.0)
    for error, controls in [
        (1.0, (2.0, 1.0)),
        (11.0, (9.0, 12.0)),
        (5.0, (20.0, 2e3)),
        (1.0, (9.0, 9.0)),
    ]:
        run.add(error, controls)
    assert run.horizons() == [(10.0, 1, 1, 2), (1e3, None, 2, None)]
    assert run.control_series == [2.0, 12.0, 2e3, 2e3]
    assert run.ratio.where.startswith("step 1")


def test_a_band_is_drawn_under_its_line():
    band = plots.Series("floor", [4.0, None, 40.0], "band", 0, [2.0, None, 0.02])
    drawn = plots.plot([band, plots.Series("production", [1.0, 1.0, 1.0])], plots.Axes("t", "eps"))
    edge = re.search(r'<polygon class="band c0" points="([^"]*)"', drawn).group(1).split()
    places = [point.split(",")[0] for point in edge]
    assert len(edge) == 4
    assert places == [places[0], places[1], places[1], places[0]]
    assert drawn.count('<path class="band c0" d="M') == 2 + 1  # And one in the legend.
    assert drawn.index("<polygon") < drawn.index("<polyline")
    # Both edges are on the scale, which ends at powers of ten.
    assert ">0.01<" in drawn
    assert ">100<" in drawn
    assert "floor: 2 to 4 at step 0, 0.02 to 40 at step 2" in drawn


def test_what_rounding_goes_as_far_as_is_explained_and_nothing_else():
    def floor(step, run):
        assert step in (1, 2)
        return {"a": 30.0 if run else 10.0, "b": 1.0}

    errors = [
        rounding.Error(0, "a", 3.0, Finding(3.0, "small")),
        rounding.Error(1, "a", 55.0, Finding(55.0, "explained")),
        rounding.Error(2, "b", 9.0, Finding(9.0, "another field")),
    ]
    worst = rounding.unexplained(errors, 4.0, floor)
    assert (worst.error, worst.where) == (9.0, "another field")
    assert worst.detail.endswith("rounded at random: 1")
    within = rounding.unexplained(errors[:2], 4.0, floor)
    assert (within.error, within.where) == (3.0, "small")
    nothing = Finding(float("nan"), "no number")
    assert np.isnan(
        rounding.unexplained([rounding.Error(1, "a", np.nan, nothing)], 4.0, floor).error
    )
    far = rounding.Error(1, "a", 61.0, Finding(61.0, "too far"))
    assert rounding.unexplained([far], 4.0, floor).where == "too far"


def test_a_complex_array_is_rounded_in_both_parts():
    array = np.full((4, 5), 1 + 2j, np.complex64)
    found = rounding.Source([0], 0.5).round(array)
    assert found.shape == array.shape
    assert len(np.unique(found.real)) == len(np.unique(found.imag)) == 3
