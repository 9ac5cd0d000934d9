"""A case convicts what is wrong, and distrusts inputs that could not."""

import numpy as np
import pytest

from verification import registry
from verification.case import Case, Invariant, Sample
from verification.results import Verdict
from verification.wide_numbers import enable_x64


def scaled(array, factor):
    return array * factor


def samples(*rows):
    return lambda rng: iter([Sample(str(i), row) for i, row in enumerate(rows)])


ARRAY = np.array([1.0, -2.0, 3.0])


@pytest.fixture
def check(monkeypatch):
    """Return a function that runs a case of two given functions."""

    def run(production, reference, rows, dtype="float64", **options):
        monkeypatch.setattr(registry, "production", lambda name: production)
        monkeypatch.setattr(registry, "reference", lambda name: reference)
        settings = {"budget": 4.0, "reason": "test"} | options
        case = Case(name="made.up", samples=samples(*rows), **settings)
        with enable_x64(dtype == "float64"):
            return case.run(dtype, 0)

    return run


def test_equal_functions_pass(check):
    (result,) = check(scaled, scaled, [(ARRAY, 0.3)])
    assert result.verdict is Verdict.PASS
    assert result.error <= 1


def test_a_wrong_function_fails_and_says_where(check):
    def wrong(array, factor):
        return array * factor * (1 + 1e-13 * (array > 0))

    (result,) = check(wrong, scaled, [(0 * ARRAY - 1, 0.3), (ARRAY, 0.3)])
    assert result.verdict is Verdict.FAIL
    assert 100 < result.error < 1000
    assert result.where == "1"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_low_precision_is_measured_against_the_control(check, dtype):
    (good,) = check(scaled, scaled, [(ARRAY, 0.3)], dtype)
    assert good.verdict is Verdict.PASS
    assert good.unit == "ratio to control"
    (bad,) = check(lambda a, f: (a * f * 1.5).astype(a.dtype), scaled, [(ARRAY, 0.3)], dtype)
    assert bad.verdict is Verdict.FAIL


def test_a_control_that_overflows_excuses_nothing(check):
    def squares(array):
        return (array * array) / array

    rows = [(np.array([1e30, 2e30]),)]
    (result,) = check(lambda a: a * 1.5, squares, rows, "float32")
    assert result.verdict is Verdict.FAIL


def test_a_result_in_another_dtype_fails(check):
    (result,) = check(lambda a, f: (a * f).astype("float32"), scaled, [(ARRAY, 0.25)], budget=1e9)
    assert result.verdict is Verdict.FAIL
    assert "came back as float32" in result.detail


def test_mostly_zero_results_are_mistrusted(check):
    rows = [(np.array([1.0, 0.0, 0.0]), 0.3)]
    (result,) = check(scaled, scaled, rows)
    assert result.verdict is Verdict.MISTRUSTED
    assert "zero" in result.detail


def test_an_argument_that_does_not_matter_is_mistrusted(check):
    def half(array, unused):
        return array * 0.3

    (result,) = check(half, half, [(ARRAY, 0.7)])
    assert result.verdict is Verdict.MISTRUSTED
    assert "[0][1]" in result.detail


def test_a_scale_that_hides_everything_is_mistrusted(check, monkeypatch):
    monkeypatch.setattr(registry, "production", lambda name: scaled)
    monkeypatch.setattr(registry, "reference", lambda name: scaled)
    case = Case(
        name="made.up",
        samples=lambda rng: iter([Sample("hidden", (ARRAY, 0.3), scale=1e17)]),
        budget=4.0,
        reason="test",
    )
    with enable_x64(True):
        (result,) = case.run("float64", 0)
    assert result.verdict is Verdict.MISTRUSTED


def test_a_loose_budget_is_mistrusted(check):
    def rounded(array, factor):
        return array * factor * (1 + 2**-52)

    (result,) = check(rounded, scaled, [(ARRAY, 0.3)], budget=100.0)
    assert result.verdict is Verdict.MISTRUSTED
    assert "tighten" in result.detail


def test_an_invariant_that_is_broken_fails(check):
    broken = Invariant("positive", lambda a, sample, eps: -float(a.min()) / eps, 4.0, "test")
    results = check(scaled, scaled, [(ARRAY, 0.3)], invariants=(broken,))
    assert [result.verdict for result in results] == [Verdict.PASS, Verdict.FAIL]


def test_samples_outside_of_a_dtype_are_left_out(check):
    rows = [(ARRAY, 0.3), (ARRAY * 1e300, 0.3), (ARRAY * 1j, 0.3)]
    (result,) = check(scaled, scaled, rows, "bfloat16")
    assert result.verdict is Verdict.PASS
