"""Whole steps of PSGD Affine on a matrix in fifty digits, as its paper writes them.

A = Q_1 G Q_2^H, B = Q_2^-H V^H Q_1^-1: arXiv 1809.10232. The state keeps conj(Q_2).
"""

from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest

from reference.psgd.affine import affine
from reference.psgd.fitting import SliceDraws
from reference.tests.high_precision import error, frobenius, spectral_norm, upper, wide

SHAPE, RATE, FIT, DECAY, B1, DAMPING = (3, 2), 0.1, 0.3, 0.05, 0.5, 0.2


def normal(seed, kind):
    rng = np.random.default_rng(seed)
    real, imaginary = rng.standard_normal((2, *SHAPE))
    return real + 1j * imaginary if kind == "complex" else real


def draws(count, kind):
    noise = normal([count, 1], kind)
    return SimpleNamespace(
        decision=0.0, slices=[SliceDraws(noise, (None, None), (None, None), 1.0)]
    )


def bound(matrix):
    """Return the lower bound of the norm that the order "1st" divides by.

    A power step and a half from the longest column or row.
    """
    scale = max(abs(entry) for entry in matrix)
    a = matrix / scale
    rows = [a[i, :] for i in range(a.rows)]
    columns = [a[:, j] for j in range(a.cols)]
    row, column = max(rows, key=frobenius), max(columns, key=frobenius)
    if frobenius(column) > frobenius(row):
        x = column.H * a
        return scale * frobenius(x / frobenius(x) * a.H)
    x = a * row.H
    return scale * frobenius(a.H * (x / frobenius(x)))


class Oracle:
    """The optimizer in fifty digits."""

    def __init__(self, start, order):
        self.order, self.count = order, 0
        self.w, self.m = wide(start), wide(0 * start)
        self.q, self.ls = [mp.eye(n) for n in SHAPE], [mp.mpf(0)] * 2

    def step(self, gradient, kind):
        g, v = wide(gradient), wide(draws(self.count, kind).slices[0].noise)
        eps = mp.mpf(2) ** -52
        if self.count == 0:
            fourth = sum(abs(x) ** 4 for x in g) / 6 + mp.mpf(DAMPING) ** 4
            # s = (mean |g|^4 + damping^4)^(-1/8) is that of Q; each factor has its root.
            self.q = [q * fourth ** (-mp.mpf(1) / 16) for q in self.q]
        beta = min(mp.mpf(self.count) / (self.count + 1), mp.mpf(B1))
        self.m = beta * self.m + (1 - beta) * g
        noisy = g.copy()
        for i in range(g.rows):
            for j in range(g.cols):
                noisy[i, j] = g[i, j] + (mp.mpf(DAMPING) + eps * abs(g[i, j])) * v[i, j]
        one, two = self.q
        a = one * noisy * two.H
        b = mp.inverse(two.H) * v.H * mp.inverse(one)
        self.fit([(a * a.H, b.H * b), (a.H * a, b * b.H)])
        one, two = self.q
        direction = one.H * one * self.m * two.H * two
        update = -mp.mpf(RATE) * (direction + mp.mpf(DECAY) * self.w)
        self.w += update
        self.count += 1
        return update

    def fit(self, both):
        for side, (first, second) in enumerate(both):
            slope = upper(first - second)
            # In "1st" the triangle of the second factor is that of conj(E), of one norm with E.
            ell = bound(slope) if self.order == "1st" else spectral_norm(first + second)
            if self.order == "tracked":
                beta = mp.mpf(0.9)
                ell = max(beta * self.ls[side] + (1 - beta) * ell, ell)
            self.ls[side] = ell
            self.q[side] -= mp.mpf(FIT) / ell * slope * self.q[side]


@pytest.mark.parametrize("order", ["tracked", "2nd", "1st"])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_steps_from_the_first_gradient_on(order, kind):
    start = normal(7, kind)
    optimizer = affine(
        RATE,
        DECAY,
        b1=B1,
        precond_lr=FIT,
        step_normalizer_order=order,
        damping=DAMPING,
        norm="exact",
        draws=lambda count: draws(count, kind),
    )
    oracle, state = Oracle(start, order), optimizer.init({"w": start})
    for count in range(3):
        gradient = normal([count, 2], kind)
        state = optimizer.step(state, {"w": gradient})
        update = oracle.step(gradient, kind)
        one, two = (state["Qs_preconditioners"][f"w/0/{axis}"] for axis in range(2))
        # Solutions with factors of a condition below 4 and some ten products, in each of the steps.
        assert error(one, oracle.q[0]) < 8
        assert error(two.conj(), oracle.q[1]) < 8
        assert error(state["updates"]["w"], update) < 16
        assert error(state["params"]["w"], oracle.w) < 4
        ls = [state["Ls_lipschitz"][f"w/0/{axis}"] for axis in range(2)]
        assert error(np.array(ls), mp.matrix(oracle.ls)) < 16
