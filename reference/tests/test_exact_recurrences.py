"""Scalar recurrences and rational steps of PSGD and PRISM against the rational numbers."""

from fractions import Fraction

import numpy as np
import pytest

from reference.linalg import kronecker
from reference.prism import shaping
from reference.prism.prism import scale_by_prism
from reference.psgd.affine import scale_by_affine
from reference.psgd.factor import lipschitz
from reference.psgd.flat import StepRule
from reference.psgd.kron import scale_by_kron
from reference.psgd.xmat import XMatrix, inverse, product, scale_by_xmat, update_factor
from reference.tests import exact

EPS = Fraction(2) ** -52
STEPS = 25
GRADIENTS = np.random.default_rng(3).standard_normal((STEPS, 4))
# A step of the fit does not touch the momentum; without one it costs less.
IDLE = {"preconditioner_update_probability": 0.0, "b1": 0.8}


def gap(value, expected, size):
    """Return the error of a number, in eps of a size."""
    return float(abs(Fraction(float(value)) - expected) / size / EPS)


def momenta(optimizer):
    """Return the momentum after each step."""
    state = optimizer.init({"w": np.zeros(4)})
    found = []
    for gradient in GRADIENTS:
        state = optimizer.step(state, {"w": gradient})
        found.append(state["mu"]["w"])
    return found


@pytest.mark.parametrize("factory", [scale_by_kron, scale_by_affine, scale_by_xmat])
def test_momentum_of_psgd_is_a_mean_and_then_a_moving_average(factory):
    for step, mu in enumerate(momenta(factory(**IDLE))):
        for index in range(4):
            entry = exact.stored(GRADIENTS[: step + 1, index])
            expected = exact.running_mean(entry, Fraction(0.8))
            # Three roundings in each step, of which the next ones keep four fifths.
            assert gap(mu[index], expected, max(map(abs, entry))) < 2


def test_momentum_of_prism_is_a_moving_average():
    for step, mu in enumerate(momenta(scale_by_prism(b1=0.8))):
        for index in range(4):
            entry = exact.stored(GRADIENTS[: step + 1, index])
            expected = exact.exponential_mean(entry, Fraction(0.8))
            # As above.
            assert gap(mu[index], expected, max(map(abs, entry))) < 2


def test_corrected_momentum_is_a_weighted_mean_exactly():
    decay = Fraction(19, 20)
    values = [Fraction(k * k - 7, 3) for k in range(9)]
    momentum = Fraction(0)
    for count, value in enumerate(values, start=1):
        momentum = shaping.momentum(momentum, value, decay)
        shares = [decay ** (count - s) for s in range(1, count + 1)]
        mean = exact.weighted_mean(values[:count], shares)
        assert shaping.corrected_momentum(momentum, decay, count) == mean
        # NAdam: the mean as it will be divided in the next step, and the gradient of this one.
        ahead = shaping.corrected_nesterov(momentum, value, decay, count)
        scale = 1 / sum(decay**s for s in range(count + 1))
        assert ahead == decay * scale * mean * sum(shares) + value / sum(shares)


def test_innovation_is_what_the_last_momentum_had_not_foreseen_exactly():
    decay, before, gradient = Fraction(19, 20), Fraction(5, 3), Fraction(-2, 7)
    momentum = shaping.momentum(before, gradient, decay)
    assert shaping.innovation(gradient, momentum) == decay * (gradient - before)


def test_smoothness_decays_to_its_present_value_geometrically():
    beta, high, low = Fraction(0.9), Fraction(7), Fraction(1, 3)
    tracked, rounded = (
        lipschitz(Fraction(0), high, beta),
        lipschitz(np.zeros(()), np.array(7.0), 0.9),
    )
    assert tracked == high
    for count in range(1, 40):
        tracked = lipschitz(tracked, low, beta)
        rounded = lipschitz(rounded, np.array(1 / 3), 0.9)
        assert tracked == low + beta**count * (high - low)
        # A product, a sum and a constant, of which the next steps keep nine tenths.
        assert gap(rounded, tracked, tracked) < 8
    assert lipschitz(tracked, high, beta) == high


@pytest.mark.parametrize(
    ("largest", "mean"),
    [((4, 9), 6), ((1, 4, 16), 4), ((2, 8, 1), Fraction(16, 1) ** Fraction(1, 3))],
)
def test_balanced_factors(largest, mean):
    rng = np.random.default_rng(0)
    factors = [
        size * q / np.abs(q).max() for size in largest for q in [rng.standard_normal((2, 2))]
    ]
    balanced = kronecker.balance(factors)
    for before, after, size in zip(factors, balanced, largest, strict=True):
        for old, new in zip(before.ravel(), after.ravel(), strict=True):
            # Roots, whose last digits libraries round differently, a quotient and a product.
            assert gap(new, Fraction(float(old)) * Fraction(mean) / size, abs(new)) < 4


def x_shaped(a, b):
    """Return diag(a) + adiag(b), row by row."""
    n = len(a)
    rows = [[Fraction(0)] * n for _ in range(n)]
    for i in range(n):
        rows[i][i] += a[i]
        rows[i][n - 1 - i] += b[i]
    return rows


def times(left, right):
    return [
        [sum(x * right[k][j] for k, x in enumerate(row)) for j in range(len(right[0]))]
        for row in left
    ]


def solved(matrix, vector):
    """Return the solution of a linear system, by elimination."""
    rows = [[*row, right] for row, right in zip(matrix, vector, strict=True)]
    n = len(rows)
    for i in range(n):
        pivot = next(k for k in range(i, n) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for k in set(range(n)) - {i}:
            rows[k] = [x - rows[k][i] * y for x, y in zip(rows[k], rows[i], strict=True)]
    return [row[-1] for row in rows]


def moved_by_hand(a, b, h, v, rate, order):
    """Return Q - mu E Q with E the part of (Q h)(Q h)^T - s s^T on the X, s = Q^-T v, and ell."""
    n, q = len(a), x_shaped(a, b)
    y = [sum(x * z for x, z in zip(row, h, strict=True)) for row in q]
    s = solved([list(column) for column in zip(*q, strict=True)], v)
    e = [
        [y[i] * y[j] - s[i] * s[j] if j in (i, n - 1 - i) else Fraction(0) for j in range(n)]
        for i in range(n)
    ]
    ell = max(abs(x) for row in e for x in row)
    if order == "2nd":
        ell = max(y[i] ** 2 + s[i] ** 2 for i in range(n))
    change = times(e, q)
    return [[q[i][j] - rate / ell * change[i][j] for j in range(n)] for i in range(n)], ell


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("order", ["1st", "2nd"])
def test_a_step_of_x_matrices_is_one_of_matrices(n, order):
    rng = np.random.default_rng(n)
    a, b = rng.uniform(1, 2, n), rng.uniform(-0.5, 0.5, n)
    if n % 2:
        b[n // 2] = 0
    h, v = rng.standard_normal((2, n))
    numbers = [np.array(exact.stored(x), object) for x in (a, b, h, v)]
    rule = StepRule(Fraction(1, 10), Fraction(0), order)
    factor, ell = update_factor(XMatrix(*numbers[:2]), np.array(0, object), *numbers[2:], rule)
    expected, size = moved_by_hand(*numbers, Fraction(1, 10), order)
    assert ell == size
    assert x_shaped(*factor) == expected
    inside = product(factor, inverse(factor))
    assert list(inside.diagonal) == [1] * n
    assert list(inside.antidiagonal) == [0] * n
    rounded, _ = update_factor(XMatrix(a, b), np.zeros(()), h, v, StepRule(0.1, 0.0, order))
    for given, true in zip(rounded, factor, strict=True):
        for value, entry in zip(given, true, strict=True):
            # A solution and a dozen products, with a condition below 4.
            assert gap(value, entry, 1) < 8
