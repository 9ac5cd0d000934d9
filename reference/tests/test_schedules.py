import math
from fractions import Fraction

import pytest

from reference.schedules import wsd_schedule


def test_ten_steps_by_hand():
    schedule = wsd_schedule(Fraction(6), 10, 0.2, 0.3)
    # T = 9, T_w = 2, T_c = 7: three rising values, five flat, then 2/3 and 1/3 of the peak.
    assert [schedule(t) for t in range(12)] == [2, 4, 6, 6, 6, 6, 6, 6, 4, 2, 0, 0]


@pytest.mark.parametrize("total", [1, 7, 20, 101])
@pytest.mark.parametrize("fractions", [(0.1, 0.1), (0.0, 0.0), (0.5, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_phases_exactly(total, fractions):
    schedule = wsd_schedule(Fraction(1), total, *fractions)
    rise, fall = (int(total * fraction) for fraction in fractions)
    for t in range(total):
        if t <= rise:
            expected = Fraction(t + 1, rise + 1)
        elif t <= total - fall:
            expected = Fraction(1)
        else:
            expected = Fraction(total - t, fall)
        assert schedule(t) == expected
        assert 0 < schedule(t) <= 1
    assert schedule(total) == (fall == 0)
    assert schedule(total + 1) == schedule(total + 50) == 0


def test_root_shape_is_below_the_linear_one_and_shares_its_ends():
    linear = wsd_schedule(2.0, 100, 0.1, 0.4)
    root = wsd_schedule(2.0, 100, 0.1, 0.4, "sqrt")
    assert [root(t) for t in range(61)] == [linear(t) for t in range(61)]
    for t in range(61, 100):
        s = linear(t) / 2
        # One subtraction, root and product of numbers near 1, in units of the smallest value 0.01.
        assert root(t) == pytest.approx(2 * (1 - math.sqrt(1 - s)), rel=1e-13)
        assert 0 < root(t) < linear(t)
    assert root(100) == linear(100) == 0


def test_wrong_arguments_raise():
    for fractions in ((-0.1, 0.1), (0.1, -0.1), (0.6, 0.6)):
        with pytest.raises(ValueError, match="warmup_fraction"):
            wsd_schedule(1.0, 100, *fractions)
    with pytest.raises(ValueError, match="'cosine'.*'linear', 'sqrt'"):
        wsd_schedule(1.0, 100, decay_shape="cosine")
