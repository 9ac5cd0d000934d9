"""Schedules and weights with roots and powers, and Schedule-Free AdamW, in fifty digits."""

import mpmath as mp
import numpy as np
import pytest

from reference.psgd.fitting import newton_scale, second_moment_scale, whitening_scale
from reference.psgd.probability import precond_update_prob_schedule
from reference.schedule_free.methods import schedule_free_adamw
from reference.schedule_free.weighting import averaging_weight
from reference.schedules import wsd_schedule
from reference.tests.high_precision import EPS, error, wide

POWERS = {"theoretical": 0, "schedulet": 1, "practical": 2}


def relative(value, expected):
    return float(abs(mp.mpf(float(value)) - expected) / abs(expected) / EPS)


@pytest.mark.parametrize("mode", POWERS)
@pytest.mark.parametrize("power", [0.5, 0.75, 3.3])
def test_averaging_weights(mode, power):
    for count in (0, 1, 6, 3000):
        expected = mp.mpf(count + 1) ** mp.mpf(power) * mp.mpf(0.3) ** POWERS[mode]
        # Two powers and a product.
        assert relative(averaging_weight(0.3, count, mode, power), expected) < 3


def test_probabilities():
    schedule = precond_update_prob_schedule(0.9, 0.03, 0.001, 500)
    for count in (500, 501, 900, 3000, 5000):
        expected = max(mp.mpf(0.9) * mp.exp(-mp.mpf(0.001) * (count - 500)), mp.mpf(0.03))
        # An exponential of a rounded product of up to 4.5, and a product.
        assert relative(schedule(count), expected) < 4


def test_root_shape_of_the_decay():
    schedule = wsd_schedule(0.3, 40, 0.1, 0.5, "sqrt")
    for count in range(21, 40):
        share = mp.mpf(40 - count) / 20
        # A difference from one, whose smallest value is 0.025 here.
        assert relative(schedule(count), mp.mpf(0.3) * (1 - mp.sqrt(1 - share))) < 4 / 0.025


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
def test_initial_scales(size):
    rng = np.random.default_rng(0)
    g, v = size * rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    fourth = sum(x**4 for x in wide(g)) / 6 + mp.mpf(1e-9) ** 4
    second = sum(x**2 for x in wide(v))
    whitening = fourth ** (-mp.mpf(1) / 8)
    # Powers, roots and a mean of six.
    assert relative(whitening_scale([g], 1e-9), whitening) < 4
    assert relative(newton_scale([v], [g], 1e-9), (second / 6) ** (mp.mpf(1) / 4) * whitening) < 4
    ratio = second / sum(x**2 for x in wide(g))
    assert relative(second_moment_scale([v], [g]), ratio ** (mp.mpf(1) / 4)) < 4


@pytest.mark.parametrize("correction", ["denominator", "learning_rate"])
def test_schedule_free_adamw(correction):
    rate, b1, b2, eps, decay, power = 0.1, 0.9, 0.99, 1e-3, 0.2, 0.75
    optimizer = schedule_free_adamw(rate, b1, b2, eps, decay, 4, power, bias_correction=correction)
    gradients = np.random.default_rng(1).standard_normal((12, 3))
    start = np.array([1.0, -2.0, 0.5])
    state = optimizer.init({"w": start})
    rate, b1, b2, eps, decay, power = map(mp.mpf, (rate, b1, b2, eps, decay, power))
    y = z = wide(start)
    iterates, shares, squares = [], [], []
    for t, gradient in enumerate(gradients, start=1):
        state = optimizer.step(state, {"w": gradient})
        squares.append([x**2 for x in wide(gradient)])
        # sum_s (1 - b2) b2^(t - s) g_s^2, the recurrence written out.
        v = [
            sum((1 - b2) * b2 ** (t - s) * square[i] for s, square in enumerate(squares, start=1))
            for i in range(3)
        ]
        gamma, root = rate * min(mp.mpf(t) / 4, 1), mp.sqrt(1 - b2**t)
        if correction == "learning_rate":
            gamma, root = gamma * root, 1
        direction = mp.matrix(
            [g / (mp.sqrt(x) / root + eps) for g, x in zip(wide(gradient), v, strict=True)]
        )
        z = z - gamma * (direction + decay * y)
        iterates.append(z)
        shares.append(t**power * gamma**2)
        x = sum((w * point for w, point in zip(shares, iterates, strict=True)), mp.zeros(3, 1))
        x = x / sum(shares)
        y = (1 - b1) * z + b1 * x
        # Some ten roundings in each step, and b2^t against 1, which is amplified by fifty.
        assert error(state["nu"]["w"], mp.matrix(v)) < 2
        for field, wanted in (("z", z), ("x", x), ("params", y)):
            assert error(state[field]["w"], wanted) < 8, field
