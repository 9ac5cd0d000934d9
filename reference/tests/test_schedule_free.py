import numpy as np
import pytest

from reference.optimizer import Optimizer
from reference.schedule_free.methods import (
    schedule_free_adamw,
    schedule_free_prism,
    schedule_free_sgd,
)
from reference.schedule_free.sequences import evaluation_point, interpolate
from reference.schedule_free.weighting import averaging_weight
from reference.schedule_free.wrapper import schedule_free

EPS = np.finfo(np.float64).eps


def run(optimizer, params, gradient, steps):
    """Return all states, the initial one first; `gradient` is of (count, leaf at y)."""
    states = [optimizer.init(params)]
    for count in range(steps):
        gradients = {name: gradient(count, leaf) for name, leaf in states[-1]["params"].items()}
        states.append(optimizer.step(states[-1], gradients))
    return states


def noisy_quadratic(count, y):
    rng = np.random.default_rng(count)
    return np.linspace(0.2, 1, y.size).reshape(y.shape) * y + 0.3 * rng.standard_normal(y.shape)


def start(dtype=np.float64):
    return {"w": np.array([[1.0, -2, 3], [0.5, 4, -1]]).astype(dtype), "b": np.array(2.0, dtype)}


def plain_sgd(learning_rate):
    def step(state, gradients):
        updates = {name: -learning_rate(state["count"]) * g for name, g in gradients.items()}
        params = {name: state["params"][name] + u for name, u in updates.items()}
        return {"params": params, "updates": updates, "count": state["count"] + 1}

    return Optimizer(lambda params: {"params": params, "count": 0}, step)


OPTIMIZERS = {
    "sgd": schedule_free_sgd(0.3, b1=0.8, warmup_steps=4, weight_decay=0.1, averaging_power=1.0),
    "adamw": schedule_free_adamw(0.1, b1=0.8, warmup_steps=4, weight_decay=0.1),
    "adamw paper": schedule_free_adamw(0.1, b1=0.8, bias_correction="learning_rate"),
    "prism": schedule_free_prism(0.1, 20, sf_b1=0.8),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_y_stays_between_x_and_z(name):
    states = run(OPTIMIZERS[name], start(), noisy_quadratic, 20)
    for state in states:
        for leaf in ("w", "b"):
            x, y, z = (state[field][leaf] for field in ("x", "params", "z"))
            # y is computed by this very formula: one rounding per term.
            np.testing.assert_allclose(y, 0.2 * z + 0.8 * x, rtol=8 * EPS, atol=8 * EPS)
    assert np.abs(states[-1]["x"]["w"] - states[-1]["z"]["w"]).max() > 1e-3


def test_beta_zero_is_polyak_averaging_of_plain_sgd():
    states = run(schedule_free_sgd(0.3, b1=0.0), start(), noisy_quadratic, 30)
    w, iterates = start()["w"], []
    for count in range(30):
        w = w - 0.3 * noisy_quadratic(count, w)
        iterates.append(w)
        # Thirty steps of a contraction: tens of eps on numbers below 5.
        np.testing.assert_allclose(states[count + 1]["params"]["w"], w, atol=100 * EPS)
        np.testing.assert_allclose(
            states[count + 1]["x"]["w"], np.mean(iterates, axis=0), atol=100 * EPS
        )


def test_beta_one_is_primal_averaging():
    states = run(schedule_free_sgd(0.3, b1=1.0), start(), noisy_quadratic, 30)
    x = z = start()["w"]
    for count in range(30):
        z = z - 0.3 * noisy_quadratic(count, x)
        x = x + (z - x) / (count + 1)
        np.testing.assert_array_equal(states[count]["params"]["w"], states[count]["x"]["w"])
        # Thirty short steps: tens of eps on numbers below 10.
        np.testing.assert_allclose(states[count + 1]["x"]["w"], x, atol=200 * EPS)


def test_momentum_form_of_theorem_4():
    # m_t = (t-1)/(t+1) m_{t-1} + Delta_t/(t+1),  u_t = beta m_t + (1-beta) Delta_t
    beta, rate = 0.9, 0.3
    optimizer = schedule_free_sgd(rate, b1=beta, weighting_mode="theoretical")
    states = run(optimizer, start(), noisy_quadratic, 30)
    m = np.zeros((2, 3))
    for t in range(30):
        old, new = states[t], states[t + 1]
        delta = -rate * noisy_quadratic(t, old["params"]["w"])
        m = (t - 1) / (t + 1) * m + delta / (t + 1)
        # Differences of numbers below 5, some roundings each.
        np.testing.assert_allclose(new["x"]["w"] - old["x"]["w"], m, atol=100 * EPS)
        np.testing.assert_allclose(
            new["params"]["w"] - old["params"]["w"], beta * m + (1 - beta) * delta, atol=100 * EPS
        )


@pytest.mark.parametrize("warmup_steps", [0, 5])
@pytest.mark.parametrize("averaging_power", [0.0, 0.75])
@pytest.mark.parametrize("adam", [False, True])
def test_released_two_sequence_form(warmup_steps, averaging_power, adam):
    # The released code stores y and z only; the first share of 1 makes y = z after one step.
    b1, b2, eps, decay, gamma = 0.9, 0.99, 1e-8, 0.05, 0.2
    options = {
        "warmup_steps": warmup_steps,
        "weight_decay": decay,
        "averaging_power": averaging_power,
    }
    if adam:
        optimizer = schedule_free_adamw(gamma, b1=b1, b2=b2, eps=eps, **options)
    else:
        optimizer = schedule_free_sgd(gamma, b1=b1, **options)
    states = run(optimizer, start(), noisy_quadratic, 40)
    y = z = start()["w"]
    v, weight_sum, largest = np.zeros_like(y), 0.0, 0.0
    for k in range(40):
        rate = gamma * ((k + 1) / warmup_steps if k < warmup_steps else 1.0)
        largest = max(largest, rate)
        weight = (k + 1) ** averaging_power * largest**2
        weight_sum += weight
        c = weight / weight_sum
        g = noisy_quadratic(k, y)
        if adam:
            v = b2 * v + (1 - b2) * g * g
            g = g / (np.sqrt(v / (1 - b2 ** (k + 1))) + eps)
        g = g + decay * y
        y = (1 - c) * y + c * z + rate * (b1 * (1 - c) - 1) * g
        z = z - rate * g
        # Both forms round numbers below 5 some times a step, and 40 steps forget slowly.
        np.testing.assert_allclose(states[k + 1]["params"]["w"], y, atol=400 * EPS)
        np.testing.assert_allclose(states[k + 1]["z"]["w"], z, atol=400 * EPS)
        np.testing.assert_allclose(
            states[k + 1]["x"]["w"], evaluation_point(y, z, b1), atol=800 * EPS
        )


def test_algorithm_1_of_the_paper():
    b1, b2, eps, decay, gamma, warmup = 0.9, 0.9, 1e-8, 0.05, 0.2, 5
    optimizer = schedule_free_adamw(
        gamma, b1, b2, eps, decay, warmup, bias_correction="learning_rate"
    )
    states = run(optimizer, start(), noisy_quadratic, 30)
    x = z = start()["w"]
    v, squares = np.zeros_like(x), 0.0
    for t in range(1, 31):
        y = (1 - b1) * z + b1 * x
        g = noisy_quadratic(t - 1, y)
        v = b2 * v + (1 - b2) * g**2
        rate = gamma * np.sqrt(1 - b2**t) * min(1, t / warmup)
        z = z - rate * g / (np.sqrt(v) + eps) - rate * decay * y
        squares += rate**2
        x = (1 - rate**2 / squares) * x + rate**2 / squares * z
        # The same sums in another order, thirty times.
        np.testing.assert_allclose(states[t]["x"]["w"], x, atol=400 * EPS)
        np.testing.assert_allclose(states[t]["z"]["w"], z, atol=400 * EPS)
        np.testing.assert_allclose(states[t]["nu"]["w"], v, rtol=400 * EPS)


@pytest.mark.parametrize(
    ("optimizer", "printed"),
    [
        (schedule_free_sgd(1.0), [14.0, 0.0, 0.996, 0.806, 0.241]),
        (schedule_free_adamw(1.0), [5.00, 3.05, 1.73, 0.894, 0.413]),
    ],
)
def test_values_printed_in_the_documentation_of_optax(optimizer, printed):
    states = run(optimizer, {"x": np.array([1.0, 2.0, 3.0])}, lambda _, y: 2 * y, 5)
    values = [np.sum(state["x"]["x"] ** 2) for state in states[1:]]
    # Three printed digits: half a unit of the last.
    np.testing.assert_allclose(values, printed, rtol=5e-3, atol=1e-30)


def expected_gap(seed, beta, steps):
    """Return F(x_T) - F*, and the bound of Theorem 1, for least absolute deviations."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((50, 5))
    solution = rng.standard_normal(5)
    lipschitz = np.linalg.norm(rows, axis=1).max()
    distance = np.linalg.norm(solution)
    rate = distance / (lipschitz * np.sqrt(steps))

    def gradient(_, y):
        row = rows[rng.integers(50)]
        return row * np.sign(row @ (y - solution))

    # The first share is 1, so that the paper's x_1 = z_1 is the point after one step.
    states = run(schedule_free_sgd(rate, b1=beta), {"x": np.zeros(5)}, gradient, steps)
    distance_1 = np.linalg.norm(states[1]["x"]["x"] - solution)
    bound = distance_1**2 / (2 * rate * steps) + rate * lipschitz**2 / 2
    return np.mean(np.abs(rows @ (states[-1]["x"]["x"] - solution))), bound


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 1.0])
def test_last_iterate_bound_of_theorem_1(beta):
    for steps in (4, 64, 256):
        gaps, bounds = zip(*(expected_gap(seed, beta, steps) for seed in range(12)), strict=True)
        # A bound in expectation, on a mean of 12 runs. It holds with room to spare: no tolerance.
        assert np.mean(gaps) <= np.mean(bounds)


@pytest.mark.parametrize("beta", [0.0, 0.9, 1.0])
def test_regret_bound_is_nearly_attained_on_the_absolute_value(beta):
    # With rate 1 / T the iterate walks straight from 1 to 0, and its average is near 1/2, as is
    # the bound D^2 / (2 rate T) + rate / 2 (Theorem 2 with the regret of gradient descent).
    steps = 100
    optimizer = schedule_free_sgd(1 / steps, b1=beta)
    states = run(optimizer, {"x": np.array(1.0)}, lambda _, y: np.sign(y), steps)
    bound = (1 - 1 / steps) ** 2 / 2 + 1 / (2 * steps)
    # The two differ by 1 / (2 T^2) analytically.
    assert bound - 1.01 / (2 * steps**2) <= states[-1]["x"]["x"] <= bound


@pytest.mark.parametrize("mode", ["theoretical", "schedulet", "practical"])
@pytest.mark.parametrize("use_max", [False, True])
def test_wrapper_around_sgd_averages_with_its_schedule(mode, use_max):
    def schedule(count):
        return 0.3 * [0.5, 1.0, 1.0, 0.6, 0.2, 0.1][count]

    wrapped = schedule_free(
        plain_sgd(schedule), schedule, 0.8, mode, averaging_power=0.5, use_max_learning_rate=use_max
    )
    states = run(wrapped, start(), noisy_quadratic, 6)
    x = z = y = start()["w"]
    weights, iterates = [], []
    for k in range(6):
        z = z - schedule(k) * noisy_quadratic(k, y)
        largest = max(schedule(i) for i in range(k + 1))
        weights.append(averaging_weight(largest if use_max else schedule(k), k, mode, 0.5))
        iterates.append(z)
        x = np.average(iterates, axis=0, weights=weights)
        y_old, y = y, interpolate(x, z, 0.8)
        # A recurrence against the mean it stands for: some eps a step on numbers below 5.
        np.testing.assert_allclose(states[k + 1]["x"]["w"], x, atol=100 * EPS)
        np.testing.assert_allclose(states[k + 1]["params"]["w"], y, atol=100 * EPS)
        np.testing.assert_allclose(states[k + 1]["updates"]["w"], y - y_old, atol=100 * EPS)
        assert states[k + 1]["base_count"] == k + 1


def test_wrapper_around_sgd_is_schedule_free_sgd():
    wrapped = schedule_free(plain_sgd(lambda _: 0.3), 0.3, 0.9, "practical")
    direct = schedule_free_sgd(0.3, 0.9)
    left, right = (run(o, start(), noisy_quadratic, 10)[-1] for o in (wrapped, direct))
    # One sum is bracketed differently.
    np.testing.assert_allclose(left["x"]["w"], right["x"]["w"], atol=50 * EPS)


def test_complex_parameters_move_as_their_real_and_imaginary_parts():
    # Holds for SGD, which is linear. AdamW shares one |g|^2 between both parts.
    optimizer = schedule_free_sgd(0.3, warmup_steps=2)
    coefficients = np.array([0.2, 1.0])
    w = np.array([1 + 2j, 3 - 1j])
    joint = run(optimizer, {"w": w}, lambda _, y: coefficients * y, 8)[-1]["x"]["w"]
    for part in (np.real, np.imag):
        alone = run(optimizer, {"w": part(w)}, lambda _, y: coefficients * y, 8)[-1]["x"]["w"]
        np.testing.assert_array_equal(part(joint), alone)
    turned = run(schedule_free_adamw(0.1), {"w": 1j * w}, lambda _, y: coefficients * y, 8)[-1]
    plain = run(schedule_free_adamw(0.1), {"w": w}, lambda _, y: coefficients * y, 8)[-1]
    # Turning the phase by i swaps parts and changes no modulus.
    np.testing.assert_allclose(turned["x"]["w"], 1j * plain["x"]["w"], rtol=50 * EPS)
    assert turned["nu"]["w"].dtype == np.float64


def test_gamma_is_idle_in_schedule_free_prism_without_momentum():
    # M = G leaves no innovation; with momentum gamma matters.
    def last(gamma, **options):
        optimizer = schedule_free_prism(0.1, 10, gamma=gamma, **options)
        return run(optimizer, start(), noisy_quadratic, 10)[-1]["x"]["w"]

    np.testing.assert_array_equal(last(0.0, prism_b1=0.0), last(100.0, prism_b1=0.0))
    assert np.abs(last(0.0) - last(100.0)).max() > 1e-2


def test_unknown_options_raise():
    with pytest.raises(ValueError, match="'both'.*'denominator', 'learning_rate'"):
        schedule_free_adamw(bias_correction="both")
