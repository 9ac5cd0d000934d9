"""A step of the fit of a Kronecker product in fifty digits, for every geometry.

The oracle forms the whole matrix Q = Q_1 x Q_2 and applies it to the vector of the entries; the
reference applies one factor after the other.
"""

import mpmath as mp
import numpy as np
import pytest

from reference.linalg.procrustes import rotate_second_order, rotate_third_order
from reference.psgd.fitting import Rule, SliceDraws, update_factors
from reference.psgd.geometry import GEOMETRIES
from reference.tests.high_precision import error, kronecker, spectral_norm, wide
from reference.tests.high_precision_geometry import BASES, largest, moved, moved_diagonal, turned

SHAPE = (3, 2)
RATE, BETA, DAMPING = 0.3, 0.9, 0.25
BEFORE = (np.array(20.0), np.array(0.1))


def problem(mode, kind):
    """Return factors, gradient, probe and noise; the factors are well away from the identity."""
    rng = np.random.default_rng([3, 2, kind == "complex"])

    def normal(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if kind == "complex" else real

    factors = []
    for n, size in zip(SHAPE, (1.5, 0.4), strict=True):
        q = np.eye(n) + 0.2 * normal(n, n)
        if mode == "EQ":
            q = np.triu(q) - 1j * np.diag(np.imag(np.diag(q))) * (kind == "complex")
        elif mode not in ("QEP", "QEQ"):
            q = q @ q.conj().T
        factors.append(size * q)
    if kind == "diagonal":
        factors[1] = np.array([0.7, 1.9])
    return factors, *(normal(*SHAPE) for _ in range(3))


def terms(mode, factors, h, v, sides):
    """Return T1 and T2 of both axes, from the matrix of the whole product.

    Args:
        mode: of the geometry.
        factors: Q_1 and Q_2, as matrices.
        h: the gradient, a column of six entries.
        v: the probe, the same; None integrates it out.
        sides: for each axis the matrix Q_i x I, or I x Q_i.
    """
    q, basis = kronecker(*factors), BASES[mode]
    p = q if basis == "direct" else q.H * q
    found = []
    for axis, side in enumerate(sides):
        rest = mp.mpf(6) / SHAPE[axis]
        first = {"whitened": q * h, "factor": side * p * h}.get(basis, p * h)
        if basis == "whitened":
            second = gram(mp.inverse(q.H) * v, axis)
        elif v is not None:
            second = gram(side * v if basis == "factor" else v, axis)
        else:
            square = factors[axis] * factors[axis].H
            second = rest * (square if basis == "factor" else mp.eye(SHAPE[axis]))
        found.append((gram(first, axis), second))
    return found


def gram(column, axis):
    """Return X X^H of the tensor unfolded along an axis."""
    x = mp.matrix(*SHAPE)
    for i in range(SHAPE[0]):
        for j in range(SHAPE[1]):
            x[i, j] = column[i * SHAPE[1] + j]
    x = x if axis == 0 else x.T
    return x * x.H


def step(mode, factors, gradient, probe, noise):
    """Return the factors and L after a step."""
    g, z = wide(gradient.ravel()), wide(noise.ravel())
    eps = mp.mpf(2) ** -52
    h = mp.matrix([a + (DAMPING + eps * abs(a)) * b for a, b in zip(g, z, strict=True)])
    v = None if probe is None else wide(probe.ravel())
    if probe is None and mode == "EQ":
        v = z
    given = [wide(q) for q in factors]
    if mode == "QEP":
        sizes = [largest(q) for q in given]
        given = [
            q / size * mp.sqrt(sizes[0] * sizes[1]) for q, size in zip(given, sizes, strict=True)
        ]
    full = [q if q.cols > 1 else mp.diag(list(q)) for q in given]
    ones = [mp.eye(n) for n in SHAPE]
    sides = kronecker(full[0], ones[1]), kronecker(ones[0], full[1])
    both, found, tracked = terms(mode, full, h, v, sides), [], []
    for q, (first, second), before in zip(given, both, BEFORE, strict=True):
        if q.cols == 1:
            columns = [mp.matrix([t[i, i] for i in range(t.rows)]) for t in (first, second)]
            ell, e = largest(columns[0] + columns[1]), columns[0] - columns[1]
        else:
            ell, e = spectral_norm(first + second), first - second
        ell = max(mp.mpf(BETA) * mp.mpf(float(before)) + (1 - mp.mpf(BETA)) * ell, ell)
        move = moved_diagonal if q.cols == 1 else moved
        found.append(move(mode, q, e, mp.mpf(RATE) / ell))
        tracked.append(ell)
    return found, tracked


@pytest.mark.parametrize("mode", BASES)
@pytest.mark.parametrize("kind", ["real", "complex", "diagonal"])
@pytest.mark.parametrize("newton", [False, True])
def test_a_step_of_every_geometry(mode, kind, newton):
    factors, gradient, probe, noise = problem(mode, kind)
    rule = Rule(GEOMETRIES[mode], RATE, BETA, DAMPING, newton=newton)
    draws = SliceDraws(noise, (None, None), (None, None), 1.0)
    probe = probe if newton else None
    qs, ls = update_factors(factors, BEFORE, gradient, probe, draws, rule)
    expected, tracked = step(mode, factors, gradient, probe, noise)
    assert float(tracked[0]) != float(BEFORE[0])
    for q, ell, wanted, size in zip(qs, ls, expected, tracked, strict=True):
        # Some ten products of length two to six; both factors have a condition below 8.
        assert error(q, wanted) < 16
        assert error(ell.reshape(1), mp.matrix([size])) < 8


@pytest.mark.parametrize("skewness", [0.01, 0.3, 3.0])
@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize(("order", "rotate"), [(2, rotate_second_order), (3, rotate_third_order)])
def test_rotations(skewness, kind, order, rotate):
    rng = np.random.default_rng(4)
    skew, imaginary = rng.standard_normal((2, 3, 3))
    skew = skew - skew.T + (1j * (imaginary + imaginary.T) if kind == "complex" else 0)
    q = np.diag([1.0, 2.0, 3.0]) + skewness * skew
    # Of the least skewness the step is found by a quotient, of the others it is the largest.
    assert error(rotate(q, None), turned(wide(q), order)) < 4
