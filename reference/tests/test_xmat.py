"""Matrices in the shape of an X against dense ones, and the fit among them."""

import numpy as np
import pytest

from reference.psgd.flat import ORDERS, StepRule
from reference.psgd.xmat import (
    XMatrix,
    apply,
    apply_adjoint,
    apply_normal,
    inverse,
    product,
    scale_by_xmat,
    update_factor,
    xmat,
)

EPS = np.finfo(np.float64).eps


def as_matrix(factor):
    return np.diag(factor.diagonal) + np.fliplr(np.diag(factor.antidiagonal))


def random_factor(n, seed=0):
    rng = np.random.default_rng(seed)
    a, b = 1 + rng.random(n), 0.3 * rng.standard_normal(n)
    if n % 2:
        b[n // 2] = 0
    return XMatrix(a, b)


def criterion(q, h, v):
    b = np.linalg.solve(q.T, v)
    return np.sum((q @ h) ** 2) + b @ b


def relative(computed, expected):
    return np.linalg.norm(computed - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_operations_are_those_of_the_matrix(n):
    left, right = random_factor(n), random_factor(n, 1)
    q, x = as_matrix(left), np.random.default_rng(2).standard_normal(n)
    assert q[0, -1] == (left.antidiagonal[0] if n > 1 else left.diagonal[0])
    both = as_matrix(product(left, right))
    # Two products and a sum each; the inverse of 2 x 2 matrices of condition 3 at most.
    np.testing.assert_allclose(both, q @ as_matrix(right), atol=8 * EPS)
    np.testing.assert_allclose(as_matrix(inverse(left)), np.linalg.inv(q), atol=32 * EPS)
    np.testing.assert_allclose(apply(left, x), q @ x, atol=8 * EPS)
    np.testing.assert_allclose(apply_adjoint(left, x), q.T @ x, atol=8 * EPS)
    np.testing.assert_allclose(apply_normal(left, x), q.T @ q @ x, atol=32 * EPS)


def test_the_middle_of_a_product_stays_out_of_the_antidiagonal():
    made = product(random_factor(5), inverse(random_factor(5, 1)))
    assert made.antidiagonal[2] == 0
    h, v = np.random.default_rng(0).standard_normal((2, 5))
    moved, _ = update_factor(made, np.zeros(()), h, v, StepRule(0.5))
    assert moved.antidiagonal[2] == 0
    assert moved.diagonal[2] != made.diagonal[2]


@pytest.mark.parametrize("n", [5, 6])
def test_the_step_is_the_negative_relative_gradient(n):
    factor = random_factor(n)
    q = as_matrix(factor)
    h, v = np.random.default_rng(3).standard_normal((2, n))
    moved, lipschitz = update_factor(factor, np.zeros(()), h, v, StepRule(1.0))
    coordinate = (q - as_matrix(moved)) @ np.linalg.inv(q) * lipschitz
    step = 1e-5
    for row in range(n):
        for column in {row, n - 1 - row}:
            e = np.zeros((n, n))
            e[row, column] = step
            up, down = (criterion((np.eye(n) + s * e) @ q, h, v) for s in (1, -1))
            # Half of the slope; a central difference loses half of the digits and some.
            expected = (up - down) / (4 * step)
            np.testing.assert_allclose(coordinate[row, column], expected, rtol=1e-7, atol=1e-8)
            coordinate[row, column] = 0
    np.testing.assert_allclose(coordinate, 0, atol=1e-13)


def test_orders_by_their_formulas():
    factor = random_factor(6)
    q, n = as_matrix(factor), 6
    h, v = np.random.default_rng(4).standard_normal((2, n))
    y, s = q @ h, np.linalg.inv(q).T @ v
    pairs = [(i, j) for i in range(n) for j in {i, n - 1 - i}]
    slope = np.zeros((n, n))
    for i, j in pairs:
        slope[i, j] = y[i] * y[j] - s[i] * s[j]
    ell = max(y[i] ** 2 + s[i] ** 2 for i in range(n))
    previous = np.asarray(3 * ell)
    expected = {
        "tracked": 0.8 * previous + 0.2 * ell,
        "2nd": ell,
        "1st": np.max(np.abs(slope)),
    }
    assert set(expected) == set(ORDERS)
    assert len({float(value) for value in expected.values()}) == 3
    for order, size in expected.items():
        rule = StepRule(0.3, 0.8, order)
        moved, lipschitz = update_factor(factor, previous, h, v, rule)
        np.testing.assert_allclose(lipschitz, size, rtol=64 * EPS)
        # Some products of some roundings each.
        np.testing.assert_allclose(as_matrix(moved), q - 0.3 / size * slope @ q, atol=64 * EPS)


def test_the_size_of_the_slope_is_that_of_both_its_parts():
    # y = h and s = v, of the same squares: nothing on the diagonal.
    factor, rule = XMatrix(np.ones(2), np.zeros(2)), StepRule(0.5, order="1st")
    h, v = np.array([2.0, 1.0]), np.array([2.0, -1.0])
    moved, lipschitz = update_factor(factor, np.zeros(()), h, v, rule)
    assert lipschitz == 4
    np.testing.assert_array_equal(moved.diagonal, 1)
    np.testing.assert_array_equal(moved.antidiagonal, -0.5)


@pytest.mark.parametrize("order", ORDERS)
def test_a_pair_of_zeros_moves_nothing(order):
    factor = random_factor(4)
    moved, lipschitz = update_factor(
        factor, np.zeros(()), np.zeros(4), np.zeros(4), StepRule(0.5, order=order)
    )
    assert lipschitz == 0
    for old, new in zip(factor, moved, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_kernels_keep_dtypes(dtype):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    factor = XMatrix(*(part.astype(dtype) for part in random_factor(5)))
    x = np.ones(5, dtype)
    moved, lipschitz = update_factor(factor, np.zeros((), dtype), x, x, StepRule(0.1))
    results = [*product(factor, factor), *inverse(factor), *moved, lipschitz]
    results += [apply(factor, x), apply_adjoint(factor, x), apply_normal(factor, x)]
    assert all(result.dtype == dtype for result in results)
    np.testing.assert_array_equal(factor.diagonal, random_factor(5).diagonal.astype(dtype))


def positive_x(n):
    """Return a symmetric positive definite matrix on the X."""
    factor = random_factor(n, 5)
    return as_matrix(factor).T @ as_matrix(factor)


def fitted(n, steps, sample, **options):
    optimizer = scale_by_xmat(b1=0.0, **options)
    state = optimizer.init({"w": np.zeros(n)})
    for count in range(steps):
        vector, product_ = sample(count)
        pair = () if vector is None else ({"w": vector}, {"w": product_})
        state = optimizer.step(state, {"w": product_}, *pair)
    q = as_matrix(XMatrix(state["a"], state["b"]))
    return q.T @ q


@pytest.mark.parametrize("n", [6, 7])
def test_newton_fit_in_the_group_is_the_inverse(n):
    rng = np.random.default_rng(0)
    hessian = positive_x(n)

    def sample(count):
        v = rng.standard_normal(n)
        return v, hessian @ v

    p = fitted(n, 4000, sample, precond_lr=0.5, damping=None)
    # Pairs that agree with each other leave nothing but the roundings of the last steps.
    assert relative(p, np.linalg.inv(hessian)) < 32 * EPS


def test_newton_fit_of_an_indefinite_hessian_is_the_inverse_of_its_modulus():
    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(positive_x(6))
    signs = np.array([1, -1, 1, 1, -1, 1])

    def sample(count):
        v = rng.standard_normal(6)
        return v, (vectors * values * signs) @ vectors.T @ v

    p = fitted(6, 2000, sample, precond_lr=lambda t: 0.5 * (1 - t / 2000), damping=None)
    expected = (vectors / values) @ vectors.T
    # Sampling noise of 0.05; without the modulus the error would be above 1.
    assert relative(p, expected) < 0.15


def test_whitening_fit_is_the_inverse_root_of_the_covariance():
    rng = np.random.default_rng(0)
    root = 100 * positive_x(6)
    p = fitted(
        6,
        2000,
        lambda count: (None, root @ rng.standard_normal(6)),
        precond_lr=lambda t: 0.5 * (1 - t / 2000),
    )
    # 2000 samples, of which the last some hundred count.
    assert relative(p, np.linalg.inv(root)) < 0.15


def test_xmat_descends_a_quadratic_with_newton_pairs():
    hessian = positive_x(6)
    rng = np.random.default_rng(0)
    optimizer = xmat(0.5, precond_lr=0.5, b1=0.0)
    state = optimizer.init({"w": rng.standard_normal(6)})
    for _ in range(400):
        v = rng.standard_normal(6)
        gradient = {"w": hessian @ state["params"]["w"]}
        state = optimizer.step(state, gradient, {"w": v}, {"w": hessian @ v})
    assert np.linalg.norm(state["params"]["w"]) < 1e-12
