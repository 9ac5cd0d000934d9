"""Steps of the preconditioners of one vector in fifty digits, with their matrices written out."""

import mpmath as mp
import numpy as np
import pytest

from reference.psgd import dense, lra
from reference.psgd.flat import StepRule
from reference.psgd.geometry import GEOMETRIES, Auxiliary
from reference.tests.high_precision import error, frobenius, wide
from reference.tests.high_precision_geometry import BASES, largest, moved

RATE, BETA = 0.3, 0.9


def advanced(before, ell, order):
    """Return L and mu = RATE / L."""
    tracked = max(mp.mpf(BETA) * mp.mpf(float(before)) + (1 - mp.mpf(BETA)) * ell, ell)
    ell = tracked if order == "tracked" else ell
    return ell, mp.mpf(RATE) / ell


def dense_step(mode, q, before, h, v, order):
    """Return the new Q, or P, and L."""
    q, h = wide(q), wide(h)
    basis = BASES[mode]
    p = q if basis == "direct" else q.H * q
    a = {"whitened": q * h, "factor": q * p * h}.get(basis, p * h)
    if v is None:
        second = q * q.H if basis == "factor" else mp.eye(3)
        # In place of b.b: its mean tr(Q Q^T) in one basis, 1 in the others.
        size = sum(second[i, i] for i in range(3)) if basis == "factor" else mp.mpf(1)
    else:
        v = wide(v)
        b = {"whitened": mp.inverse(q.H) * v, "factor": q * v}.get(basis, v)
        second, size = b * b.H, frobenius(b) ** 2
    e = a * a.H - second
    ell = frobenius(e) if order == "1st" else frobenius(a) ** 2 + size
    ell, mu = advanced(before, ell, order)
    return moved(mode, q, e, mu), ell


@pytest.mark.parametrize("mode", BASES)
@pytest.mark.parametrize("order", ["tracked", "2nd", "1st"])
@pytest.mark.parametrize("newton", [False, True])
def test_dense(mode, order, newton):
    rng = np.random.default_rng(11)
    q, (h, v) = np.eye(3) + 0.3 * rng.standard_normal((3, 3)), rng.standard_normal((2, 3))
    if mode == "EQ":
        q = np.triu(q)
    elif mode not in ("QEP", "QEQ"):
        q = q @ q.T
    v = v if newton or mode == "EQ" else None
    before = np.array(5.0)
    rule = StepRule(RATE, BETA, order)
    new, ell = dense.update_factor(q, before, h, v, rule, GEOMETRIES[mode], Auxiliary(None))
    expected, size = dense_step(mode, q, before, h, v, order)
    # Some ten products of length three, with a condition below 8.
    assert error(new, expected) < 16
    assert error(ell.reshape(1), mp.matrix([size])) < 8


def balanced(u, v, order):
    """Return U and V with their norms brought together, and the newer order's small turn."""
    nu, nv = frobenius(u), frobenius(v)
    rho = mp.sqrt(nu / nv)
    u, v = u / rho, v * rho
    if order != "tracked":
        return u, v
    first, second = u.T * u, v.T * v
    total = sum(first[i, i] + second[i, i] for i in range(first.rows))
    e = (first - second) / total / 10
    one = mp.eye(e.rows)
    # Next to exp(-E) and exp(E), so that U V^T stays but for O(E^4).
    return u * (one - e + e * e / 2), v * (one + e + e * e / 2)


def low_rank_step(given, before, h, v, options):
    """Return U, V, d and L after a step."""
    order, side, balances = options
    u, w, d = (wide(part) for part in given)
    h, v = wide(h), wide(v)
    if balances:
        u, w = balanced(u, w, order)
    q = (mp.eye(3) + u * w.T) * mp.diag(list(d))
    p = q.T * q
    a, b, ph, pv = q * h, mp.inverse(q.T) * v, p * h, mp.inverse(p) * v
    slopes = [x * y - s * t for x, y, s, t in zip(ph, h, v, pv, strict=True)]
    pairs = list(zip(h, ph, v, pv, strict=True))
    ell = {
        "tracked": max(abs(x * y) for x, y, _, _ in pairs)
        + max(abs(s * t) for _, _, s, t in pairs),
        "2nd": max(mp.sqrt(y**2 + s**2) * mp.sqrt(x**2 + t**2) for x, y, s, t in pairs),
        "1st": max(abs(slope) for slope in slopes),
    }[order]
    ls = [mp.mpf(float(entry)) for entry in before]
    ls[2], mu = advanced(before[2], ell, order)
    d = mp.matrix([x - mu * slope * x for x, slope in zip(d, slopes, strict=True)])
    e = a * a.T - b * b.T
    other = w if side == 0 else u
    wa, wb = other * other.T * a, other * other.T * b
    ell = frobenius(a) * frobenius(wa) + frobenius(b) * frobenius(wb)
    if order == "1st":
        ell = frobenius(a * wa.T - b * wb.T)
    ls[side], mu = advanced(before[side], ell, order)
    if side == 0:
        return u - mu * e * w * (mp.eye(w.cols) + w.T * u), w, d, ls
    return u, w - mu * (mp.eye(3) + w * u.T) * e * u, d, ls


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(
    ("order", "balances"),
    [("tracked", True), ("2nd", True), ("2nd", False), ("1st", True), ("1st", False)],
)
@pytest.mark.parametrize("side", [0, 1])
def test_low_rank(rank, order, balances, side):
    rng = np.random.default_rng([rank, 1])
    u, w = rng.standard_normal((2, 3, rank)) * np.array([0.9, 0.4])[:, None, None]
    d, (h, v) = rng.uniform(0.5, 2, 3), rng.standard_normal((2, 3))
    before = np.array([3.0, 2.0, 1.0])
    draws = lra.LowRankDraws(0.25 + 0.5 * side, 0.0 if balances else 0.5)
    new, ls = lra.update_factor(
        lra.LowRank(u, w, d), before, h, v, draws, StepRule(RATE, BETA, order)
    )
    *expected, tracked = low_rank_step((u, w, d), before, h, v, (order, side, balances))
    for part, wanted in zip(new, expected, strict=True):
        # A dozen products of length three, and inverses of a condition below 30.
        assert error(part, wanted) < 8
    assert error(ls, mp.matrix(tracked)) < 8


@pytest.mark.parametrize("rank", [1, 2])
def test_low_rank_preconditioner_is_that_of_its_matrix(rank):
    rng = np.random.default_rng(rank)
    u, w = rng.standard_normal((2, 3, rank))
    d, x = rng.standard_normal((2, 3))
    q = (mp.eye(3) + wide(u) * wide(w).T) * mp.diag(list(wide(d)))
    # Four short products, relative to the largest of their terms.
    wanted = q.T * q * wide(x)
    terms = largest(q) ** 2 * frobenius(wide(x)) / frobenius(wanted)
    assert error(lra.apply_normal(lra.LowRank(u, w, d), x), wanted) < 4 * max(terms, 1)
