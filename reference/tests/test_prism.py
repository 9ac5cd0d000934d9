import numpy as np
import pytest

from reference.guards import clip_by_tensor_rms
from reference.linalg.newton_schulz import coefficients, newton_schulz, polar
from reference.prism.prism import prism, scale_by_prism
from reference.prism.shaping import shape, shape_exact
from reference.schedule_free.methods import schedule_free_prism
from reference.schedule_free.sequences import interpolate
from reference.schedules import wsd_schedule

EPS = np.finfo(np.float64).eps


def gradients(count, *, complex_=False):
    rng = np.random.default_rng(count)
    leaves = {"w": rng.standard_normal((4, 3)), "b": rng.standard_normal(5)}
    if complex_:
        leaves = {k: v + 1j * rng.standard_normal(v.shape) for k, v in leaves.items()}
    return leaves


def run(optimizer, steps=4, *, complex_=False):
    states = [optimizer.init(gradients(99, complex_=complex_))]
    for count in range(steps):
        states.append(optimizer.step(states[-1], gradients(count, complex_=complex_)))
    return states


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("b1", [0.9, 0.95])
def test_direction_without_options_is_the_papers(complex_, b1):
    optimizer = scale_by_prism(b1, 1.5, nesterov=False, grad_clip_max_amps=None, ns_coeffs="exact")
    states = run(optimizer, complex_=complex_)
    m = 0
    for count, state in enumerate(states[1:]):
        g = gradients(count, complex_=complex_)["w"]
        m = b1 * m + (1 - b1) * g
        expected = shape_exact(m, g - m, 1.5)
        np.testing.assert_array_equal(state["mu"]["w"], m)
        np.testing.assert_array_equal(state["updates"]["w"], expected)
        assert state["count"] == count + 1


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("shape_nesterov", [False, True])
@pytest.mark.parametrize("bias_correction", [False, True])
def test_each_combination_of_options(nesterov, shape_nesterov, bias_correction):
    b1, gamma, rows = 0.9, 0.7, coefficients("dion")
    optimizer = scale_by_prism(
        b1, gamma, 5, nesterov, shape_nesterov, bias_correction, (0.3, 0.4), ns_coeffs="dion"
    )
    states = run(optimizer)
    for leaf in ("w", "b"):
        m = 0
        for t in range(1, 5):
            g = gradients(t - 1)[leaf]
            m = b1 * m + (1 - b1) * g
            now, ahead = (1 - b1**t, 1 - b1 ** (t + 1)) if bias_correction else (1.0, 1.0)
            target = m / now
            if nesterov and shape_nesterov:
                target = b1 * m / ahead + (1 - b1) * g / now
            o = target
            if leaf == "w":
                o = shape(target, g - m / now, gamma, rows, 5, 0.0)
            if nesterov and not shape_nesterov:
                o = b1 * o + (1 - b1) * g
            expected = clip_by_tensor_rms(o, 0.3, 0.4)
            # The same operations; only trivial divisions by 1 differ.
            np.testing.assert_allclose(states[t]["updates"][leaf], expected, atol=8 * EPS)
            np.testing.assert_allclose(states[t]["mu"][leaf], m, atol=8 * EPS)


def test_gamma_zero_is_muon_with_look_ahead():
    states = run(scale_by_prism(0.95, 0.0, grad_clip_max_amps=None))
    m = np.zeros((4, 3))
    for count, state in enumerate(states[1:]):
        g = gradients(count)["w"]
        m = 0.95 * m + 0.05 * g
        muon = newton_schulz(0.95 * m + 0.05 * g, coefficients("jordan"), 5, 0.0)
        # Zeros added to the sums, through five polynomials.
        np.testing.assert_allclose(state["updates"]["w"], muon, atol=200 * EPS)


@pytest.mark.parametrize("nesterov", [False, True])
def test_bias_correction_makes_the_first_direction_the_polar_factor(nesterov):
    options = {"nesterov": nesterov, "grad_clip_max_amps": None, "ns_coeffs": "exact"}
    corrected = run(scale_by_prism(bias_correction=True, **options), 1)[-1]["updates"]["w"]
    # (1 - b1) / (1 - b1) leaves an innovation of some eps in place of 0.
    np.testing.assert_allclose(corrected, polar(gradients(0)["w"]), atol=100 * EPS)


def test_first_direction_without_correction_has_gain_0_053():
    options = {"nesterov": False, "grad_clip_max_amps": None, "ns_coeffs": "exact"}
    update = run(scale_by_prism(**options), 1)[-1]["updates"]["w"]
    # 0.05 / hypot(0.05, 0.95); 1 - 0.95 is rounded in relation to 0.05.
    np.testing.assert_allclose(
        update, 0.05 / np.hypot(0.05, 0.95) * polar(gradients(0)["w"]), atol=100 * EPS
    )


def test_default_limits_and_short_form_of_limits():
    huge = {"b": np.array([1e3, 0.0, 0, 0])}
    for limits, expected in (((2.0, 3.0), 3.0), (2.0, 4.0), (20.0, 10.0), ((2.0, None), 4.0)):
        optimizer = scale_by_prism(grad_clip_max_amps=limits, dimension_numbers={})
        state = optimizer.step(optimizer.init(huge), huge)
        # One norm and one quotient.
        np.testing.assert_allclose(state["updates"]["b"], [expected, 0, 0, 0], rtol=8 * EPS)


def test_tensors_are_shaped_matrix_by_matrix():
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((2, 4, 3, 5))  # axis 1 is a batch; rows (3, 0), columns 2
    optimizer = scale_by_prism(
        nesterov=False,
        grad_clip_max_amps=None,
        ns_coeffs="exact",
        dimension_numbers={"k": ((3, 0), 2), "m": None},
    )
    leaves = {"k": kernel, "m": rng.standard_normal((3, 2))}
    updates = optimizer.step(optimizer.init(leaves), leaves)["updates"]
    m = (1 - 0.95) * leaves["m"]
    np.testing.assert_array_equal(updates["m"], m)  # a matrix, but told not to be shaped
    for batch in range(4):
        places = [(j, i) for j in range(5) for i in range(2)]
        matrix = np.array([[kernel[i, batch, c, j] for c in range(3)] for j, i in places])
        mean = (1 - 0.95) * matrix
        expected = shape_exact(mean, matrix - mean, 1.0)
        for row, (j, i) in enumerate(places):
            # The same numbers through the same SVD.
            np.testing.assert_allclose(updates["k"][i, batch, :, j], expected[row], atol=8 * EPS)


@pytest.mark.parametrize("make", [scale_by_prism, lambda **options: prism(0.1, **options)])
@pytest.mark.parametrize("spike", [np.nan, np.inf, 1e3])
def test_a_spike_freezes_everything(make, spike):
    optimizer = make(raw_global_grad_clip=50.0, permissive_spike_protection=False)
    before = run(optimizer, 3)[-1]
    bad = gradients(3)
    bad["b"][2] = spike
    after = optimizer.step(before, bad)
    assert after.keys() == before.keys()
    for field, value in after.items():
        for name in value if isinstance(value, dict) else ():
            expected = np.zeros_like(bad[name]) if field == "updates" else before[field][name]
            np.testing.assert_array_equal(value[name], expected)
    assert after["count"] == before["count"] == 3


@pytest.mark.parametrize("make", [scale_by_prism, lambda **options: prism(0.1, **options)])
def test_a_spike_is_shortened_when_permitted(make):
    optimizer = make(raw_global_grad_clip=0.5)
    plain = make()
    before = run(optimizer, 2)[-1]
    g = gradients(2)
    norm = np.sqrt(sum(np.sum(leaf**2) for leaf in g.values()))
    shortened = {name: leaf * (0.5 / norm) for name, leaf in g.items()}
    left, right = optimizer.step(before, g), plain.step(before, shortened)
    for name in g:
        # The norm is summed in another way: one eps, times the slope of five polynomials.
        np.testing.assert_allclose(
            left["updates"][name], right["updates"][name], rtol=1e-12, atol=200 * EPS
        )
    assert not np.array_equal(left["updates"]["w"], plain.step(before, g)["updates"]["w"])
    # Nothing limits a gradient that is not finite but the freeze.
    nan = {name: np.full_like(leaf, np.nan) for name, leaf in g.items()}
    assert optimizer.step(before, nan)["count"] == plain.step(before, nan)["count"] == 2


def test_prism_steps_matrices_along_the_direction_and_decays():
    rates = [0.3, 0.2, 0.1, 0.05]
    adam_rates = [0.03, 0.02, 0.01, 0.005]
    optimizer = prism(
        lambda t: rates[t], weight_decay=0.1, adam_learning_rate=lambda t: adam_rates[t]
    )
    directions = run(scale_by_prism())
    states = run(optimizer)
    w, b = gradients(99)["w"], gradients(99)["b"]
    m = v = np.zeros(5)
    for t in range(4):
        o = directions[t + 1]["updates"]["w"]
        w = w - rates[t] * (o + 0.1 * w)
        g = gradients(t)["b"]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        adam = (m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        b = b - adam_rates[t] * (adam + 0.1 * b)
        state = states[t + 1]
        # 1 - 0.9 is 0.1 but for an eps of 1, that is 10 eps; 1 - 0.999 loses a thousand.
        np.testing.assert_allclose(state["params"]["w"], w, rtol=100 * EPS, atol=20 * EPS)
        np.testing.assert_allclose(state["params"]["b"], b, rtol=2000 * EPS, atol=20 * EPS)
        np.testing.assert_allclose(state["adam_nu"]["b"], v, rtol=2000 * EPS)
        np.testing.assert_allclose(
            state["updates"]["b"], state["params"]["b"] - states[t]["params"]["b"], atol=20 * EPS
        )
    assert list(state["mu"]) == ["w"]
    assert list(state["adam_mu"]) == list(state["adam_nu"]) == ["b"]


def test_one_rate_serves_both_kinds_of_leaves():
    left = run(prism(0.1))[-1]["params"]["b"]
    np.testing.assert_array_equal(left, run(prism(0.1, adam_learning_rate=0.1))[-1]["params"]["b"])
    assert not np.array_equal(left, run(prism(0.1, adam_learning_rate=0.2))[-1]["params"]["b"])


def test_schedule_free_prism_is_its_parts():
    peak, total = 0.2, 12
    schedule = wsd_schedule(peak, total, 0.25, 0.25, "sqrt")
    optimizer = schedule_free_prism(
        peak,
        total,
        0.25,
        0.25,
        "schedulet",
        sf_b1=0.7,
        prism_b1=0.8,
        weight_decay=0.1,
        adam_learning_rate=0.02,
        decay_shape="sqrt",
        gamma=0.5,
    )
    adam_schedule = wsd_schedule(0.02, total, 0.25, 0.25, "sqrt")
    states = run(optimizer, total)
    y = x = z = gradients(99)
    m, v, weight_sum = np.zeros((4, 3)), np.zeros(5), 0.0
    for t in range(total):
        g = gradients(t)
        m = 0.8 * m + 0.2 * g["w"]
        o = clip_by_tensor_rms(shape(m, g["w"] - m, 0.5, coefficients("jordan"), 5, 0.0), 2.0, 10.0)
        v = 0.999 * v + 0.001 * g["b"] ** 2
        adam = g["b"] / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        z = {
            "w": z["w"] - schedule(t) * (o + 0.1 * y["w"]),
            "b": z["b"] - adam_schedule(t) * (adam + 0.1 * y["b"]),
        }
        weight_sum += schedule(t)
        c = schedule(t) / weight_sum
        x = {name: (1 - c) * x[name] + c * z[name] for name in x}
        y = {name: interpolate(x[name], z[name], 0.7) for name in x}
        for name in x:
            # 1 - 0.999 loses a thousand eps, in relation to one Adam step of size 0.02.
            np.testing.assert_allclose(states[t + 1]["x"][name], x[name], atol=400 * EPS)
            np.testing.assert_allclose(states[t + 1]["params"][name], y[name], atol=400 * EPS)


def test_unknown_coefficients_raise_at_once():
    for make in (lambda: scale_by_prism(ns_coeffs="svd"), lambda: prism(0.1, ns_coeffs="svd")):
        with pytest.raises(ValueError, match="'svd'"):
            make()
