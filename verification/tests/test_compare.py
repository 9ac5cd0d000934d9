"""Errors in units, held against numbers worked out by hand."""

import math

import ml_dtypes
import numpy as np
import pytest

from verification import compare

EPS = compare.epsilon("float64")


def test_norm_of_numbers_whose_squares_leave_the_range():
    assert compare.norm([3e200, 4e200]) == pytest.approx(5e200, rel=1e-15)
    assert compare.norm([3e-200, 4e-200j]) == pytest.approx(5e-200, rel=1e-15)
    assert compare.norm([0.0, 0.0]) == 0.0


def test_epsilon_is_the_spacing_above_one():
    assert compare.epsilon("float64") == 2.0**-52
    assert compare.epsilon("float32") == 2.0**-23
    assert compare.epsilon("bfloat16") == 2.0**-7


def test_error_is_relative_to_the_norm_of_what_was_expected():
    expected = np.array([3.0, 4.0])
    assert compare.error_in_eps(expected + [0, 10 * EPS], expected, EPS) == pytest.approx(2, 0.2)
    assert compare.error_in_eps(expected, expected, EPS) == 0.0


def test_condition_and_scale_divide_the_error():
    expected, actual = np.array([1.0]), np.array([1.0 + 64 * EPS])
    plain = compare.error_in_eps(actual, expected, EPS)
    assert compare.error_in_eps(actual, expected, EPS, condition=4.0) == plain / 4
    assert compare.error_in_eps(actual, expected, EPS, scale=8.0) == plain / 8


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (np.ones(3), np.ones((3, 1))),
        (np.array([1.0, np.nan]), np.ones(2)),
        (np.array([1.0, np.inf]), np.ones(2)),
        (np.array([1e-300]), np.zeros(1)),
    ],
)
def test_what_cannot_be_compared_is_infinitely_wrong(actual, expected):
    assert compare.error_in_eps(actual, expected, EPS) == math.inf


def test_bfloat16_arrays_are_compared_as_numbers():
    actual = np.array([1.0, 2.0], ml_dtypes.bfloat16)
    assert compare.error_in_eps(actual, np.array([1.0, 2.0]), EPS) == 0.0


def test_lists_are_as_wrong_as_their_worst_member():
    good, bad = np.ones(2), np.ones(2) + 8 * EPS
    assert compare.worst_error([good, bad], [good, good], EPS) == pytest.approx(8)


def test_a_budget_is_loose_above_sixteen_times_the_worst_error():
    assert compare.is_loose(17.0, 1.0)
    assert not compare.is_loose(16.0, 1.0)
    assert not compare.is_loose(4.0, 0.1)
    assert not compare.is_loose(17.0, 0.0)
