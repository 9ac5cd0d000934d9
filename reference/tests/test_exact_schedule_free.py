"""Whole runs of Schedule-Free in float64 against the same runs over the rational numbers."""

from fractions import Fraction

import numpy as np
import pytest

from reference.optimizer import Optimizer
from reference.schedule_free.methods import schedule_free_adamw, schedule_free_sgd
from reference.schedule_free.weighting import averaging_weight
from reference.schedule_free.wrapper import schedule_free
from reference.schedules import wsd_schedule
from reference.tests import exact

EPS = Fraction(2) ** -52
STEPS = 12
START = np.array([1.0, -2.5, 0.3])
GRADIENTS = np.random.default_rng(0).standard_normal((STEPS, 3))
MODES = tuple(exact.POWERS)


def run(optimizer, gradients=GRADIENTS):
    """Return the states after each step."""
    states = [optimizer.init({"w": START})]
    for gradient in gradients:
        states.append(optimizer.step(states[-1], {"w": gradient}))
    return states[1:]


def errors(states, expected):
    """Return the largest error of every sequence, in eps of the largest number that occurs.

    Args:
        states: after each step.
        expected: per entry of the parameters, (x, y, z) after each step.
    """
    largest = max(abs(value) for entry in expected for point in entry for value in point)
    found = []
    for position, field in enumerate(("x", "params", "z")):
        gaps = [
            abs(Fraction(float(state[field]["w"][index])) - entry[step][position])
            for step, state in enumerate(states)
            for index, entry in enumerate(expected)
        ]
        found.append(float(max(gaps) / largest / EPS))
    return found


def relative(value, expected):
    """Return the relative error in eps."""
    return float(abs(Fraction(float(value)) - expected) / abs(expected) / EPS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("warmup", "power", "decay"), [(0, 0, 0.0), (5, 1, 0.1), (1, 2, 0.5)])
@pytest.mark.parametrize("b1", [0.0, 0.9, 1.0])
def test_sgd(mode, warmup, power, decay, b1):
    states = run(schedule_free_sgd(0.3, b1, warmup, decay, power, mode))
    rates = exact.warmed(0.3, STEPS, warmup)
    shares = exact.weights(rates, mode, power, largest=True)
    numbers = Fraction(b1), Fraction(decay)
    expected = [
        exact.schedule_free(
            Fraction(START[i]), exact.stored(GRADIENTS[:, i]), rates, shares, *numbers
        )
        for i in range(3)
    ]
    # Twelve steps of a contraction, some three roundings in each.
    assert max(errors(states, expected)) < 4
    # Two roundings of a weight and one of every sum.
    for step in (0, 5, STEPS - 1):
        assert relative(states[step]["weight_sum"], sum(shares[: step + 1])) < 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("power", [0, 3])
def test_the_wrapper_with_a_rate_that_rises_and_falls(mode, largest, power):
    schedule = wsd_schedule(0.3, STEPS, 0.25, 0.5)

    def step(state, gradients):
        update = -schedule(state["count"]) * gradients["w"]
        params = {"w": state["params"]["w"] + update}
        return {"params": params, "updates": {"w": update}, "count": state["count"] + 1}

    plain = Optimizer(lambda params: {"params": params, "count": 0}, step)
    states = run(schedule_free(plain, schedule, 0.75, mode, power, largest))
    # T_w = 3 and T_c = 6: four steps up, three flat, five down.
    shape = [Fraction(k, 4) for k in (1, 2, 3, 4, 4, 4, 4)] + [
        Fraction(k, 6) for k in (5, 4, 3, 2, 1)
    ]
    rates = [Fraction(0.3) * share for share in shape]
    shares = exact.weights(rates, mode, power, largest)
    expected = [
        exact.schedule_free(
            Fraction(START[i]), exact.stored(GRADIENTS[:, i]), rates, shares, Fraction(0.75)
        )
        for i in range(3)
    ]
    # Twelve steps, some three roundings in each.
    assert max(errors(states, expected)) < 4
    assert relative(states[-1]["weight_sum"], sum(shares)) < 8


@pytest.mark.parametrize("b2", [0.75, 0.999])
def test_adamw_on_one_gradient_steps_by_its_sign(b2):
    # v_t = (1 - b2^t) g^2: the root of the corrected moment is |g|, and all is rational.
    gradient, eps = np.array([0.7, -3.0, 1e-3]), 1e-3
    optimizer = schedule_free_adamw(0.1, 0.9, b2, eps, weight_decay=0.2, warmup_steps=4)
    states = run(optimizer, [gradient] * STEPS)
    rates = exact.warmed(0.1, STEPS, 4)
    shares = exact.weights(rates, "practical", largest=True)
    expected = []
    for start, g in zip(exact.stored(START), exact.stored(gradient), strict=True):
        directions = [g / (abs(g) + Fraction(eps))] * STEPS
        expected.append(
            exact.schedule_free(start, directions, rates, shares, Fraction(0.9), Fraction(0.2))
        )
    # As above; a rounding of b2^t is amplified by 1 / (1 - b2^t) / 2, in steps 25 times smaller
    # than the largest number.
    assert max(errors(states, expected)) < 8


@pytest.mark.parametrize("b2", [0.75, 0.999])
def test_weights_of_algorithm_1_have_the_bias_correction(b2):
    optimizer = schedule_free_adamw(0.1, b2=b2, warmup_steps=3, bias_correction="learning_rate")
    states = run(optimizer)
    rates = exact.warmed(0.1, STEPS, 3)
    squares = [rate**2 * (1 - Fraction(b2) ** t) for t, rate in enumerate(rates, start=1)]
    for step in range(STEPS):
        # A quarter of an eps of b2^t, amplified by 1 / (1 - b2^t).
        assert relative(states[step]["weight_sum"], sum(squares[: step + 1])) < 8 + 0.25 / (1 - b2)


@pytest.mark.parametrize("mode", MODES)
def test_a_root_of_a_square_is_a_whole_number(mode):
    for root in (1, 2, 3, 10, 300):
        weight = averaging_weight(0.3, root**2 - 1, mode, 0.5)
        # A power or two and a product.
        assert relative(weight, root * Fraction(0.3) ** exact.POWERS[mode]) < 3
