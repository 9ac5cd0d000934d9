from fractions import Fraction

import numpy as np
import pytest

from reference.schedule_free.sequences import average, evaluation_point, interpolate, iterate_update
from reference.schedule_free.weighting import averaging_coefficient, averaging_weight

EPS = np.finfo(np.float64).eps
RATES = [Fraction(k, 10) for k in (1, 3, 5, 5, 5, 2, 1)]
POWERS = {"theoretical": 0, "schedulet": 1, "practical": 2}


@pytest.mark.parametrize("mode", POWERS)
@pytest.mark.parametrize("averaging_power", [0, 1, 2])
def test_average_is_the_weighted_mean_of_all_iterates_exactly(mode, averaging_power):
    x, weight_sum = Fraction(99), Fraction(0)  # the first share is 1: the start is forgotten
    iterates = [Fraction(k * k - 5, 3) for k in range(len(RATES))]
    weights = []
    for count, (rate, z) in enumerate(zip(RATES, iterates, strict=True)):
        weight = averaging_weight(rate, count, mode, averaging_power)
        weights.append((count + 1) ** averaging_power * rate ** POWERS[mode])
        assert weight == weights[-1]
        weight_sum += weight
        x = average(x, z, averaging_coefficient(weight, weight_sum))
        mean = sum(w * z for w, z in zip(weights, iterates, strict=False)) / sum(weights)
        assert x == mean


@pytest.mark.parametrize("averaging_power", [0, 1])
def test_shares_are_those_of_polynomial_averaging(averaging_power):
    weight_sum = Fraction(0)
    for t in range(30):
        weight = averaging_weight(Fraction(1, 3), t, "practical", averaging_power)
        weight_sum += weight
        share = averaging_coefficient(weight, weight_sum)
        assert share == Fraction(averaging_power + 1, t + averaging_power + 1)


def test_vanishing_weights():
    assert averaging_coefficient(0.0, 0.0) == 0
    assert averaging_weight(0.0, 0, "theoretical") == 1
    assert averaging_weight(0.0, 3, "schedulet") == averaging_weight(0.0, 3, "practical") == 0
    with pytest.raises(ValueError, match="'THEORY'.*'theoretical', 'schedulet', 'practical'"):
        averaging_weight(1.0, 0, "THEORY")


def test_evaluation_point_undoes_interpolation_exactly():
    x, z = Fraction(5, 3), Fraction(-2, 7)
    for b1 in (Fraction(1, 10), Fraction(9, 10), Fraction(1)):
        assert evaluation_point(interpolate(x, z, b1), z, b1) == x
    assert interpolate(x, z, Fraction(0)) == z
    assert interpolate(x, z, Fraction(1)) == x
    with pytest.raises(ValueError, match="b1 is 0"):
        evaluation_point(z, z, 0)


@pytest.mark.parametrize("b1", [Fraction(0), Fraction(1, 2), Fraction(9, 10), Fraction(1)])
@pytest.mark.parametrize("share", [Fraction(0), Fraction(1, 3), Fraction(1)])
def test_iterate_update_is_the_change_of_y_exactly(b1, share):
    x, z, step = Fraction(5, 3), Fraction(-2, 7), Fraction(11, 13)
    y = interpolate(x, z, b1)
    x_next = average(x, z + step, share)
    assert iterate_update(y, z, step, b1, share) == interpolate(x_next, z + step, b1) - y
    # The form that production uses, equal for every y, also off the line between x and z.
    y += Fraction(1, 17)
    expected = (1 - b1) * (1 - share) * step + share * (z + step - y)
    assert iterate_update(y, z, step, b1, share) == expected


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_kernels_agree_with_exact_arithmetic_on_arrays(dtype):
    x, z, step = (np.array([k + 0.1, -k]).astype(dtype) for k in (1, 2, 3))
    y = interpolate(x, z, 0.9)
    x_next = average(x, z + step, 0.25)
    # Sums of a few terms below 10 in size.
    np.testing.assert_allclose(y, 0.1 * z + 0.9 * x, atol=20 * EPS)
    np.testing.assert_allclose(evaluation_point(y, z, 0.9), x, atol=20 * EPS)
    np.testing.assert_allclose(
        iterate_update(y, z, step, 0.9, 0.25), interpolate(x_next, z + step, 0.9) - y, atol=40 * EPS
    )
