"""The options of a step that takes all parameters as one vector."""

import numpy as np
import pytest

from reference.guards import clip_by_global_rms
from reference.psgd import dense, lra, xmat
from reference.psgd.flat import FlatDraws
from reference.tests.flat_steps import assert_same, flat, gradients, run

EPS = np.finfo(np.float64).eps


def draws(count, size=7):
    rng = np.random.default_rng([9, count])
    decision, side, balance = rng.random(3)
    probe, noise = rng.choice([-1.0, 1.0], (2, size))
    return FlatDraws(decision, probe, noise, None, side, balance)


def rank_two(**options):
    return lra.scale_by_lra(2, **options)


def dense_mode(mode):
    return lambda **options: dense.scale_by_dense_newton(mode, **options)


FACTORIES = {
    "xmat": xmat.scale_by_xmat,
    "lra": rank_two,
    "dense EQ": dense_mode("EQ"),
    "dense QUAD4P": dense_mode("QUAD4P"),
}
ALIASES = [xmat.xmat, lra.low_rank_approximation, dense.dense_newton]


@pytest.fixture(params=FACTORIES)
def name(request):
    return request.param


def fits(optimizer, steps, override=None):
    """Return in which steps the preconditioner moved."""
    state, moved = optimizer.init(gradients(0)), []
    for count in range(steps):
        new = optimizer.step(state, gradients(count), update_preconditioner=override)
        moved.append(bool(np.any(state["L"] != new["L"])))
        state = new
    return moved


def test_decisions_by_probability_interval_and_argument(name):
    make, uniform = FACTORIES[name], [draws(count).decision for count in range(8)]
    pending = make(preconditioner_update_probability=0.0, draws=draws)
    # The step that finds the scale is fitted too.
    assert fits(pending, 3) == [True, False, False]
    options = {"draws": draws, "precond_init_scale": 1.0}
    half = make(preconditioner_update_probability=0.5, **options)
    assert fits(half, 8) == [u < 0.5 for u in uniform]
    assert len(set(fits(half, 8))) == 2
    rising = make(preconditioner_update_probability=lambda t: t / 8, **options)
    assert fits(rising, 8) == [u < t / 8 for t, u in enumerate(uniform)]
    never = make(preconditioner_update_probability=0.0, **options)
    assert fits(never, 3) == [False] * 3
    assert fits(never, 3, True) == [True] * 3
    every = make(preconditioner_update_interval=3, **options)
    assert fits(every, 7) == [True, False, False, True, False, False, True]
    assert fits(every, 4, False) == [False] * 4
    assert fits(make(**options), 4) == [True] * 4


@pytest.mark.parametrize("spike", [np.nan, np.inf, 1e3])
def test_a_spike_changes_nothing(name, spike):
    alias = {"xmat": xmat.xmat, "lra": lra.low_rank_approximation}.get(name, dense.dense_newton)
    extra = {"uvd_rank_of_approximation": 2} if name == "lra" else {}
    options = {"raw_global_grad_clip": 50.0, "permissive_spike_protection": False}
    bad = gradients(3)
    bad["b"][2] = spike
    for optimizer in (FACTORIES[name](**options), alias(0.1, 0.1, **extra, **options)):
        before = run(optimizer, steps=3)
        after = optimizer.step(before, bad)
        assert_same(before, after, but=("updates", "skipped"))
        assert after["skipped"]
        assert all(np.all(update == 0) for update in after["updates"].values())
        assert not optimizer.step(after, gradients(3))["skipped"]


def test_permissive_shortens_the_gradient(name):
    limited = run(FACTORIES[name](raw_global_grad_clip=1.0))

    def shortened(count):
        g = gradients(count)
        return {leaf: value / np.linalg.norm(flat(g)) for leaf, value in g.items()}

    expected = run(FACTORIES[name](), shortened)
    assert np.any(run(FACTORIES[name]())["mu"]["w"] != limited["mu"]["w"])
    # The norm and the division are rounded in another order.
    for leaf, update in expected["updates"].items():
        np.testing.assert_allclose(limited["updates"][leaf], update, rtol=1e5 * EPS)


def test_limits_over_all_leaves_together(name):
    # A direction of a root mean square of some 100, so that every limit acts.
    options = {"precond_init_scale": 10.0, "preconditioner_update_probability": 0.0}

    def last(**limits):
        return run(FACTORIES[name](**options, **limits))["updates"]

    free = last()
    assert np.sqrt(np.mean(flat(free) ** 2)) > 30
    for limits, both in (((0.5, 0.8), (0.5, 0.8)), (15.0, (15.0, 10.0))):
        (expected,) = clip_by_global_rms([flat(free)], *both)
        np.testing.assert_array_equal(flat(last(grad_clip_max_amps=limits)), expected)
        norm = np.linalg.norm(expected)
        shorter = last(grad_clip_max_amps=limits, update_global_norm_clip=norm / 3)
        np.testing.assert_allclose(flat(shorter), expected / 3, rtol=8 * EPS)
        longer = last(grad_clip_max_amps=limits, update_global_norm_clip=2 * norm)
        np.testing.assert_array_equal(flat(longer), expected)
    clipped = flat(last(update_global_norm_clip=0.7))
    np.testing.assert_allclose(clipped, 0.7 * flat(free) / np.linalg.norm(flat(free)), rtol=8 * EPS)


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_step_against_the_direction_with_decay(alias):
    scaled = {
        xmat.xmat: xmat.scale_by_xmat,
        lra.low_rank_approximation: lra.scale_by_lra,
        dense.dense_newton: dense.scale_by_dense_newton,
    }[alias]
    options = {"uvd_rank_of_approximation": 2} if alias is ALIASES[1] else {}
    masks = (
        None,
        {"w": True, "b": False},
        lambda params: {k: v.ndim > 1 for k, v in params.items()},
    )
    for mask in masks:
        whole = alias(lambda t: 0.1 / (t + 1), 0.3, mask, **options)
        only = scaled(**options)
        state, other = whole.init(gradients(9)), only.init(gradients(9))
        for count in range(3):
            g = gradients(count)
            new, other = whole.step(state, g), only.step(other, g)
            for leaf, w in state["params"].items():
                decay = 0.3 if mask is None or leaf == "w" else 0.0
                expected = w - 0.1 / (count + 1) * (other["updates"][leaf] + decay * w)
                np.testing.assert_allclose(new["params"][leaf], expected, atol=8 * EPS)
                np.testing.assert_array_equal(new["params"][leaf], w + new["updates"][leaf])
            state = new
        assert state["count"] == 3
    # By default 0.01 without decay.
    plain = alias(**options)
    moved = plain.step(plain.init(gradients(9)), gradients(0))
    first = scaled(**options).step(only.init(gradients(9)), gradients(0))
    np.testing.assert_array_equal(moved["updates"]["w"], -0.01 * first["updates"]["w"])


def test_own_draws_depend_on_seed_and_step_alone(name):
    one, same, other = (run(FACTORIES[name](damping=0.1, seed=seed)) for seed in (3, 3, 4))
    assert_same(one, same)
    assert np.any(one["L"] != other["L"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_normalizer_order": "3rd"}, "'3rd'.*'tracked', '2nd', '1st'"),
        ({"precond_init_moment": "3rd"}, "'3rd'.*'4th', '2nd'"),
    ],
)
def test_unknown_names(name, options, message):
    with pytest.raises(ValueError, match=message):
        FACTORIES[name](**options)
    with pytest.raises(TypeError, match="learning"):
        FACTORIES[name](learning=1)
