import functools

import numpy as np
import pytest

from reference.psgd.fitting import (
    Rule,
    SliceDraws,
    damped,
    newton_scale,
    second_moment_scale,
    terms,
    update_factors,
    whitening_scale,
)
from reference.psgd.geometry import GEOMETRIES, Auxiliary, geometry

EPS = np.finfo(np.float64).eps
SHAPE = (2, 3, 4)
BASES = ["whitened", "factor", "normal", "direct"]


def normal(rng, shape, complex_):
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape)) / np.sqrt(2) if complex_ else real


def factors_of(rng, complex_, dense=(True, False, True)):
    """Upper triangular factors with positive diagonal, and positive vectors."""
    factors = []
    for n, is_dense in zip(SHAPE, dense, strict=True):
        diagonal = 1 + rng.random(n)
        upper = np.triu(normal(rng, (n, n), complex_), 1)
        factors.append(upper + np.diag(diagonal) if is_dense else diagonal)
    return factors


def as_matrix(factors):
    return functools.reduce(np.kron, [np.diag(q) if q.ndim == 1 else q for q in factors])


def partial_trace(matrix, axis):
    """Sum x x^H over every index but one, from the matrix of the whole."""
    six = matrix.reshape(SHAPE + SHAPE)
    letters, others = list("abc"), list("abc")
    others[axis] = "z"
    return np.einsum(f"{''.join(letters)}{''.join(others)}->{letters[axis]}z", six)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("with_probe", [False, True])
@pytest.mark.parametrize("basis", BASES)
def test_terms_are_partial_traces_of_the_large_matrices(basis, with_probe, complex_):
    rng = np.random.default_rng(0)
    factors = factors_of(rng, complex_)
    h, v = normal(rng, SHAPE, complex_), normal(rng, SHAPE, complex_)
    if basis == "whitened" and not with_probe:
        pytest.skip("this basis needs a probe")
    q = as_matrix(factors)
    p = q if basis == "direct" else q.conj().T @ q
    hh = np.outer(h, h.conj())
    vv = np.outer(v, v.conj()) if with_probe else np.eye(h.size)
    computed = terms(factors, h, v if with_probe else None, basis)
    for axis, (first, second) in enumerate(computed):
        own = [np.ones(n) for n in SHAPE]
        own[axis] = factors[axis]
        left = as_matrix(own)
        outer, inner = {
            "whitened": (q, np.linalg.inv(q).conj().T),
            "factor": (left @ p, left),
            "normal": (p, np.eye(h.size)),
            "direct": (p, np.eye(h.size)),
        }[basis]
        expected = [
            partial_trace(outer @ hh @ outer.conj().T, axis),
            partial_trace(inner @ vv @ inner.conj().T, axis),
        ]
        if factors[axis].ndim == 1:
            expected = [np.diagonal(e).real for e in expected]
        if np.ndim(second) == 0:
            second = second * (1 if first.ndim == 1 else np.eye(len(first)))
        for one, other in zip((first, second), expected, strict=True):
            # Products of three matrices of 24 rows.
            error = np.linalg.norm(one - other) / np.linalg.norm(other)
            assert error < 100 * EPS


def test_an_unknown_basis_names_all():
    with pytest.raises(ValueError, match="'left'.*'whitened', 'factor', 'normal', 'direct'"):
        terms([np.ones(2)], np.ones(2), None, "left")


def test_damping_adds_its_variance_and_the_rounding_of_the_gradient():
    gradient, noise = np.array([0.0, 4.0, -4.0]), np.array([1.0, 2.0, 2.0])
    expected = [0.5, 5 + 8 * EPS, -3 + 8 * EPS]
    np.testing.assert_array_equal(damped(gradient, noise, 0.5), expected)
    float32 = np.float32
    eps = 2.0**-23
    moved = damped(gradient.astype(float32), noise.astype(float32), 0.0)
    assert moved.dtype == float32
    np.testing.assert_array_equal(moved, [0, float32(4 + 8 * eps), float32(-4 + 8 * eps)])


def draws_of(rng, complex_, balance=0.5):
    none = (None, None, None)
    return SliceDraws(normal(rng, SHAPE, complex_), none, none, balance)


@pytest.mark.parametrize("newton", [False, True])
@pytest.mark.parametrize("mode", GEOMETRIES)
def test_all_factors_move_from_the_state_before_the_step(mode, newton):
    """The step of one factor is the same whether or not the others move."""
    rng = np.random.default_rng(1)
    row = geometry(mode)
    factors = factors_of(rng, complex_=True)
    # Balanced, so that the balance of QEP changes nothing but by rounding.
    factors = [q / np.max(np.abs(q)) for q in factors]
    zeros = [np.zeros(())] * 3
    draws = draws_of(rng, True)
    h, v = normal(rng, SHAPE, True), normal(rng, SHAPE, True)
    rule = Rule(row, 0.3, 0.9, 1e-3, True, newton)
    moved, tracked = update_factors(factors, zeros, h, v if newton else None, draws, rule)
    noisy = damped(h, draws.noise, 1e-3)
    probe = v if newton else draws.noise if row.basis == "whitened" else None
    for axis, (first, second) in enumerate(terms(factors, noisy, probe, row.basis)):
        if first.ndim == 1:
            ell = np.max(first + second)
            expected = row.vector(factors[axis], first - second, 0.3 / ell)
        else:
            second = second * np.eye(len(first)) if np.ndim(second) == 0 else second
            ell = np.linalg.norm(first + second, 2)
            expected = row.matrix(factors[axis], first - second, 0.3 / ell, Auxiliary())
        # Once the same operations, and a sum of matrices in place of a sum of norms.
        np.testing.assert_allclose(moved[axis], expected, atol=50 * EPS)
        np.testing.assert_allclose(tracked[axis], ell, rtol=20 * EPS)


@pytest.mark.parametrize("tracks", [False, True])
def test_tracking_remembers_the_smoothness(tracks):
    rng = np.random.default_rng(2)
    factors = factors_of(rng, False)
    rule = Rule(geometry("QEQ"), 0.1, 0.9, None, tracks)
    ones = (factors, [np.zeros(())] * 3)
    _, now = update_factors(*ones, normal(rng, SHAPE, False), None, draws_of(rng, False), rule)
    high = [100 * ell for ell in now]
    rng = np.random.default_rng(2)
    factors_of(rng, False)
    gradient = normal(rng, SHAPE, False)
    _, after = update_factors(factors, high, gradient, None, draws_of(rng, False), rule)
    for before, ell, tracked in zip(high, now, after, strict=True):
        assert tracked == (0.9 * before + (1 - 0.9) * ell if tracks else ell)


@pytest.mark.parametrize("mode", ["EQ", "QEP", "QEQ", "PRO4P"])
def test_balance_below_one_percent_but_before_the_step_in_qep(mode):
    rng = np.random.default_rng(3)
    factors = [100 * np.eye(2), np.ones(3), 0.01 * np.eye(4)]
    gradient = 0.1 * normal(rng, SHAPE, False)
    rule = Rule(geometry(mode), 0.1, 0.9, None)
    zeros = [np.zeros(())] * 3
    largest = {}
    for balance in (0.0099, 0.0101):
        draws = draws_of(np.random.default_rng(4), False, balance)
        moved, _ = update_factors(factors, zeros, gradient, None, draws, rule)
        largest[balance] = np.array([np.max(np.abs(q)) for q in moved])
    if mode == "QEP":
        np.testing.assert_array_equal(*largest.values())
        assert np.ptp(largest[0.0101]) > 1e-6
        assert np.max(largest[0.0101]) < 2
    else:
        # Two roundings per factor.
        np.testing.assert_allclose(largest[0.0099], largest[0.0099][0], rtol=8 * EPS)
        assert np.ptp(largest[0.0101]) > 10


def test_a_pair_of_zeros_moves_nothing():
    factors = factors_of(np.random.default_rng(5), False)
    rule = Rule(geometry("QEQ"), 0.1, 0.9, None, True, True)
    draws = draws_of(np.random.default_rng(6), False)
    moved, tracked = update_factors(
        factors, [np.zeros(())] * 3, np.zeros(SHAPE), np.zeros(SHAPE), draws, rule
    )
    for old, new in zip(factors, moved, strict=True):
        np.testing.assert_array_equal(old, new)
    assert tracked == [0, 0, 0]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e18, 1e60])
def test_scales_are_fourth_moments_of_the_largest_tensor(scale):
    rng = np.random.default_rng(7)
    tensors = [scale * rng.standard_normal((3, 4)), scale * 3 * rng.standard_normal(5)]
    unit = [np.float64(1) * t / scale for t in tensors]
    fourth = max(np.mean(np.abs(t) ** 4) for t in unit)
    # Some powers.
    assert whitening_scale(tensors, None) == pytest.approx(fourth ** (-1 / 8) / scale**0.5, 1e-14)
    damping = 0.7 * scale
    damped_scale = (fourth + 0.7**4) ** (-1 / 8) / scale**0.5
    assert whitening_scale(tensors, damping) == pytest.approx(damped_scale, 1e-14)
    vectors = [rng.standard_normal((3, 4)), 2 * rng.standard_normal(5)]
    mean = np.mean(np.concatenate([v.ravel() for v in vectors]) ** 2)
    expected = mean**0.25 * damped_scale
    assert newton_scale(vectors, tensors, damping) == pytest.approx(expected, 1e-14)


def test_scales_of_nothing():
    assert whitening_scale([np.zeros(3)], None) == np.inf
    assert whitening_scale([np.zeros(3)], 1e-4) == pytest.approx(100, 1e-14)


def test_scale_of_float32_does_not_overflow():
    huge = whitening_scale([np.full(3, 1e30, np.float32)], 1e-9)
    assert huge.dtype == np.float32
    # Three roundings in float32.
    assert huge == pytest.approx(1e-15, 1e-6)


def criterion(scale, vectors, gradients):
    """Return c(P) of P = s^2 I, v integrated out where it is None."""
    h = sum(np.sum(np.abs(g) ** 2) for g in gradients)
    if vectors is None:
        v = sum(g.size for g in gradients)
    else:
        v = sum(np.sum(np.abs(vector) ** 2) for vector in vectors)
    return scale**2 * h + v / scale**2


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("with_vectors", [False, True])
def test_second_moment_scale_minimises_the_criterion(with_vectors, complex_):
    rng = np.random.default_rng(8)
    gradients = [3 * normal(rng, (3, 4), complex_), 0.1 * normal(rng, 5, complex_)]
    vectors = [normal(rng, (3, 4), complex_), normal(rng, 5, complex_)] if with_vectors else None
    scale = second_moment_scale(vectors, gradients)
    assert scale.shape == ()
    assert scale.dtype == np.float64
    least = criterion(scale, vectors, gradients)
    # Quadratic about the minimum: c(s (1 + x)) = c(s) (1 + 2 x^2) but for higher powers of x.
    for step in (-1e-3, 1e-3, 0.1, -0.1):
        moved = criterion(scale * (1 + step), vectors, gradients)
        assert moved / least - 1 == pytest.approx(2 * step**2, rel=2 * abs(step))


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
@pytest.mark.parametrize("other", [1e-200, 1.0, 1e200])
def test_second_moment_scale_stays_in_range(scale, other):
    rng = np.random.default_rng(9)
    gradients, vectors = [rng.standard_normal((3, 4))], [rng.standard_normal((3, 4))]
    unit = second_moment_scale(vectors, gradients)
    value = second_moment_scale([other * vectors[0]], [scale * gradients[0]])
    # Both norms, two roots and a quotient.
    assert value == pytest.approx(unit * other**0.5 / scale**0.5, rel=30 * EPS)
    mean = second_moment_scale(None, gradients)
    assert second_moment_scale(None, [scale * gradients[0]]) == pytest.approx(
        mean / scale**0.5, rel=30 * EPS
    )


def test_second_moment_scale_of_nothing_and_of_float32():
    assert second_moment_scale(None, [np.zeros(3)]) == np.inf
    assert second_moment_scale([np.zeros(3)], [np.ones(3)]) == 0
    single = second_moment_scale(None, [np.full(4, 1e30, np.float32), np.zeros(0, np.float32)])
    assert single.dtype == np.float32
    # (4 / 4e60)^(1/4).
    assert single == pytest.approx(1e-15, 1e-6)


@pytest.mark.parametrize("tracks", [False, True])
@pytest.mark.parametrize("complex_", [False, True])
def test_first_order_steps_are_normalised_by_the_gradient(complex_, tracks):
    rng = np.random.default_rng(10)
    factors = factors_of(rng, complex_)
    h, draws = normal(rng, SHAPE, complex_), draws_of(rng, complex_)
    rule = Rule(geometry("EQ"), 0.3, 0.9, None, tracks, normalizer="1st")
    start = [np.asarray(100.0)] * 3
    moved, tracked = update_factors(factors, start, h, None, draws, rule)
    for q, new, ell, (first, second) in zip(
        factors, moved, tracked, terms(factors, h, draws.noise, "whitened"), strict=True
    ):
        gradient = first - second
        if q.ndim == 1:
            direction, low, high = gradient * q, *[np.max(np.abs(gradient))] * 2
        else:
            direction = np.triu(gradient) @ q
            high = np.linalg.norm(np.triu(gradient), 2)
            low = high / np.sqrt(2)
        if tracks:
            low, high = (max(0.9 * 100 + 0.1 * bound, bound) for bound in (low, high))
        # Sums of squares of length 12, and the products of the bound.
        assert low * (1 - 30 * EPS) <= ell <= high * (1 + 30 * EPS)
        expected = q - 0.3 / ell * direction
        np.testing.assert_allclose(new, expected, atol=30 * EPS * np.max(np.abs(q)))


def test_an_unknown_normalizer_names_both():
    rule = Rule(geometry("EQ"), 0.3, normalizer="3rd")
    with pytest.raises(ValueError, match="'3rd'.*'2nd', '1st'"):
        update_factors([], [], np.ones(()), None, SliceDraws(None, (), (), 0.5), rule)
