"""Low rank approximations against dense matrices, their balance and their fit."""

import numpy as np
import pytest

from reference.psgd.flat import ORDERS, StepRule
from reference.psgd.lra import (
    LowRank,
    LowRankDraws,
    apply_normal,
    low_rank_approximation,
    scale_by_lra,
    update_factor,
)

EPS = np.finfo(np.float64).eps
# Nothing moves but by the balance of the order "tracked".
STILL = StepRule(0.0)
NEVER = 0.5


def as_matrix(factor):
    n = len(factor.diagonal)
    return (np.eye(n) + factor.u @ factor.v.T) @ np.diag(factor.diagonal)


def random_factor(n=7, r=2, seed=0):
    rng = np.random.default_rng(seed)
    u, v = 0.4 * rng.standard_normal((2, n, r))
    return LowRank(u, v, 1 + rng.random(n))


def balanced_factor():
    """Return a factor that the balance of no order changes: U^T U = V^T V."""
    u, v, diagonal = random_factor()
    (q1, _), (q2, _) = np.linalg.qr(u), np.linalg.qr(v)
    return LowRank(q1 * [0.6, 0.9], q2 * [0.6, 0.9], diagonal)


def pair(n=7, seed=3):
    return np.random.default_rng(seed).standard_normal((2, n))


def step(factor, rule, side=0.0, balance=NEVER, lipschitz=None, given=None):
    h, v = pair(len(factor.diagonal)) if given is None else given
    lipschitz = np.zeros(3) if lipschitz is None else lipschitz
    return update_factor(factor, lipschitz, h, v, LowRankDraws(side, balance), rule)


def criterion(q, h, v):
    b = np.linalg.solve(q.T, v)
    return np.sum((q @ h) ** 2) + b @ b


def relative(computed, expected):
    return np.linalg.norm(computed - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("r", [0, 1, 2, 6])
def test_operations_are_those_of_the_matrix(r):
    factor, (x, _) = random_factor(r=r), pair()
    q = as_matrix(factor)
    p = q.T @ q
    computed = (
        (factor.apply(x), q @ x),
        (factor.apply_adjoint(x), q.T @ x),
        (apply_normal(factor, x), p @ x),
        (factor.solve(x), np.linalg.solve(q, x)),
        (factor.solve_adjoint(x), np.linalg.solve(q.T, x)),
        (factor.solve_normal(x), np.linalg.solve(p, x)),
    )
    for result, expected in computed:
        # Some products; the inverses multiply them by a condition of some tens.
        assert relative(result, expected) < 500 * EPS


def test_the_inverse_is_in_the_group():
    u, v, _ = random_factor()
    factor = LowRank(u, v, np.ones(7))
    inverse = LowRank(-u @ np.linalg.inv(np.eye(2) + v.T @ u), v, np.ones(7))
    np.testing.assert_allclose(as_matrix(inverse) @ as_matrix(factor), np.eye(7), atol=64 * EPS)
    np.testing.assert_allclose(inverse.apply(pair()[0]), factor.solve(pair()[0]), atol=64 * EPS)


def slope_along(move, shape, h, v):
    """Return half the slope of the criterion in each entry of a coordinate."""
    slope, size = np.zeros(shape), 1e-5
    for index in np.ndindex(*shape):
        e = np.zeros(shape)
        e[index] = size
        up, down = (criterion(as_matrix(move(s * e)), h, v) for s in (1, -1))
        slope[index] = (up - down) / (4 * size)
    return slope


@pytest.mark.parametrize("order", ORDERS)
def test_each_step_is_the_negative_relative_gradient(order):
    factor, (h, v) = balanced_factor(), pair()
    left, right, d = factor
    rule = StepRule(1.0, order=order)
    kernel = np.eye(2) + right.T @ left
    # In the group of d, in that of U with V fixed, and in that of V with U fixed: what multiplies
    # Q from the left is I + E V^T, or I + U E^T.
    in_d = slope_along(lambda e: factor._replace(diagonal=d * (1 + e)), (7,), h, v)
    in_u = slope_along(lambda e: factor._replace(u=left + e @ kernel), (7, 2), h, v)
    in_v = slope_along(lambda e: factor._replace(v=right + e + right @ (left.T @ e)), (7, 2), h, v)
    e = np.random.default_rng(8).standard_normal((7, 2))
    np.testing.assert_allclose(
        as_matrix(factor._replace(u=left + e @ kernel)),
        (np.eye(7) + e @ right.T) @ as_matrix(factor),
        atol=64 * EPS,
    )
    np.testing.assert_allclose(
        as_matrix(factor._replace(v=right + e + right @ (left.T @ e))),
        (np.eye(7) + left @ e.T) @ as_matrix(factor),
        atol=64 * EPS,
    )
    for side in (0.49, 0.5):
        moved, lipschitz = step(factor, rule, side)
        # Central differences lose half of the digits and some.
        close = {"rtol": 1e-6, "atol": 1e-8}
        np.testing.assert_allclose((d - moved.diagonal) / d * lipschitz[2], in_d, **close)
        if side < 0.5:
            change = (left - moved.u) @ np.linalg.inv(kernel) * lipschitz[0]
            np.testing.assert_allclose(change, in_u, **close)
            np.testing.assert_allclose(moved.v, right, atol=8 * EPS)
            assert lipschitz[1] == 0
        else:
            whole = np.linalg.inv(np.eye(7) + right @ left.T)
            np.testing.assert_allclose(whole @ (right - moved.v) * lipschitz[1], in_v, **close)
            np.testing.assert_allclose(moved.u, left, atol=8 * EPS)
            assert lipschitz[0] == 0


def test_orders_by_their_formulas():
    factor, (h, v) = balanced_factor(), pair()
    q = as_matrix(factor)
    p, inverse = q.T @ q, np.linalg.inv(q)
    a, b, ph, pv = q @ h, inverse.T @ v, p @ h, np.linalg.inv(p) @ v
    first, second = np.outer(a, a), np.outer(b, b)
    diagonal = {
        "tracked": max(abs(x * y) for x, y in zip(ph, h, strict=True))
        + max(abs(x * y) for x, y in zip(pv, v, strict=True)),
        "2nd": max(np.sqrt((ph**2 + v**2) * (h**2 + pv**2))),
        "1st": max(abs(ph * h - pv * v)),
    }
    for side, other in ((0.0, factor.v), (0.9, factor.u)):
        gram = other @ other.T
        bound = np.linalg.norm(first @ gram, 2) + np.linalg.norm(second @ gram, 2)
        sizes = {
            "tracked": bound,
            "2nd": bound,
            "1st": np.linalg.norm((first - second) @ gram),
        }
        previous, row = np.array([2.0, 3.0, 4.0]) * bound, 0 if side < 0.5 else 1
        for order in ORDERS:
            expected = previous.copy()
            expected[[row, 2]] = sizes[order], diagonal[order]
            if order == "tracked":
                mixed = 0.8 * previous + 0.2 * expected
                expected[[row, 2]] = np.maximum(mixed, expected)[[row, 2]]
            rule = StepRule(0.3, 0.8, order)
            _, lipschitz = step(factor, rule, side, lipschitz=previous)
            np.testing.assert_allclose(lipschitz, expected, rtol=1e3 * EPS)


def test_the_rate_is_divided_by_the_size():
    factor = balanced_factor()
    full, lipschitz = step(factor, StepRule(1.0))
    half, same = step(factor, StepRule(0.5))
    np.testing.assert_array_equal(lipschitz, same)
    for start, one, other in zip(factor, full, half, strict=True):
        np.testing.assert_allclose(2 * (other - start), one - start, atol=64 * EPS)


def test_balance_keeps_the_product_to_the_fourth_order():
    u, v, diagonal = random_factor()
    errors = []
    for stretch in (1.2, 2.4):
        factor = LowRank(3 * u * [1, stretch], v * [1, 1 / stretch] / 5, diagonal)
        moved, _ = step(factor, STILL)
        first, second = factor.u.T @ factor.u, factor.v.T @ factor.v
        rho = np.sqrt(np.sqrt(np.trace(first) / np.trace(second)))
        first, second = first / rho**2, second * rho**2
        e = (first - second) / 10 / np.trace(first + second)
        np.testing.assert_allclose(moved.u, factor.u @ (np.eye(2) - e + e @ e / 2) / rho)
        np.testing.assert_allclose(moved.v, factor.v @ (np.eye(2) + e + e @ e / 2) * rho)
        change = np.linalg.norm(moved.u @ moved.v.T - factor.u @ factor.v.T)
        errors.append(change / np.linalg.norm(factor.u @ factor.v.T) / np.linalg.norm(e) ** 4)
        np.testing.assert_array_equal(moved.diagonal, diagonal)
    # (I - E + E^2/2)(I + E + E^2/2) = I + E^4/4, and the roundings of errors of 1e-7.
    assert 0 < max(errors) < 0.5


def test_balance_brings_both_grams_together():
    u, v, diagonal = random_factor()
    factor = LowRank(20 * u * [1, 3], v, diagonal)
    before = as_matrix(factor)
    for _ in range(300):
        factor, _ = step(factor, STILL)
    assert relative(factor.u.T @ factor.u, factor.v.T @ factor.v) < 1e-3
    assert relative(as_matrix(factor), before) < 1e-2


@pytest.mark.parametrize("order", ["2nd", "1st"])
def test_the_older_orders_balance_norms_below_one_percent(order):
    u, v, diagonal = random_factor()
    factor = LowRank(50 * u, v, diagonal)
    rule = StepRule(0.0, order=order)
    still, _ = step(factor, rule, balance=0.01)
    np.testing.assert_array_equal(still.u, factor.u)
    moved, _ = step(factor, rule, balance=0.0099)
    np.testing.assert_allclose(np.linalg.norm(moved.u), np.linalg.norm(moved.v), rtol=16 * EPS)
    assert relative(moved.u @ moved.v.T, factor.u @ factor.v.T) < 16 * EPS
    assert relative(moved.u, factor.u * np.linalg.norm(moved.u) / 50 / np.linalg.norm(u)) < 16 * EPS


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("side", [0.0, 0.9])
def test_zeros_and_no_columns(order, side):
    rule = StepRule(0.5, order=order)
    factor, (h, v) = balanced_factor(), pair()
    zeros = np.zeros(7)
    moved, lipschitz = step(factor, rule, side, 0.0, given=(zeros, zeros))
    for old, new in zip(factor, moved, strict=True):
        np.testing.assert_allclose(old, new, atol=8 * EPS)
    np.testing.assert_array_equal(lipschitz, 0)
    # A zero U makes V's slope 0, and the other way round.
    for name, moves in (("u", side < 0.5), ("v", side >= 0.5)):
        half = factor._replace(**{name: np.zeros((7, 2))})
        moved, _ = step(half, rule, side, 0.0)
        assert np.any(getattr(moved, name) != 0) == moves
        other = "v" if name == "u" else "u"
        np.testing.assert_array_equal(getattr(moved, other), getattr(half, other))
    empty = LowRank(np.zeros((7, 0)), np.zeros((7, 0)), factor.diagonal)
    moved, lipschitz = step(empty, rule, side, 0.0, np.array([1.0, 2.0, 0.0]))
    assert moved.u.shape == moved.v.shape == (7, 0)
    np.testing.assert_array_equal(lipschitz[:2], [1.0, 2.0])
    d = factor.diagonal
    slope = (d * h) ** 2 - (v / d) ** 2
    expected = d - 0.5 / lipschitz[2] * slope * d
    np.testing.assert_allclose(moved.diagonal, expected, atol=16 * EPS)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("order", ORDERS)
def test_kernels_keep_dtypes(dtype, order):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    factor = LowRank(*(part.astype(dtype) for part in random_factor()))
    h, v = pair().astype(dtype)
    rule = StepRule(0.1, order=order)
    for side in (0.0, 0.9):
        moved, lipschitz = step(factor, rule, side, 0.0, np.zeros(3, dtype), (h, v))
        results = [*moved, lipschitz, apply_normal(factor, h), factor.solve_normal(v)]
        assert all(result.dtype == dtype for result in results)
        assert all(np.all(np.isfinite(result.astype(float))) for result in results)


def test_ranks_that_are_refused_and_those_that_are_not():
    for rank in (4, 10):
        with pytest.raises(ValueError, match=f"uvd_rank_of_approximation is {rank}.*4 parameters"):
            scale_by_lra(rank).init({"w": np.zeros(4)})
    with pytest.raises(ValueError, match="uvd_rank_of_approximation is -1.*negative"):
        scale_by_lra(-1)
    for rank in (0, 3):
        assert scale_by_lra(rank).init({"w": np.zeros(4)})["U"].shape == (4, rank)
    assert scale_by_lra().init({"w": np.zeros((0, 4))})["V"].shape == (0, 0)
    # Two real parameters for one complex one.
    assert scale_by_lra(3).init({"w": np.zeros(2, complex)})["U"].shape == (4, 3)


def test_starts():
    state = scale_by_lra(2, seed=3).init({"w": np.zeros(5, np.float32)})
    other = scale_by_lra(2, seed=4).init({"w": np.zeros(5, np.float32)})
    for name in ("U", "V"):
        np.testing.assert_allclose(np.linalg.norm(state[name]), np.sqrt(0.1), rtol=1e-6)
        assert state[name].dtype == np.float32
        assert np.any(state[name] != other[name])
    assert np.any(state["U"] != state["V"])
    u, v = pair(10).reshape(2, 5, 2)
    given = scale_by_lra(2, (u, v), precond_init_scale=3.0).init({"w": np.zeros(5)})
    np.testing.assert_array_equal(given["U"], u)
    np.testing.assert_array_equal(given["V"], v)
    np.testing.assert_array_equal(given["d"], 3)
    np.testing.assert_array_equal(given["L"], 0)


def family_member(n=8, r=2):
    """Return a positive definite matrix (I + U V^T) diag(d), squared."""
    q = as_matrix(random_factor(n, r, 11))
    return q.T @ q


def excess(p, root):
    """Return how far c(P) = tr(P R^2 + P^-1) is above its least, 2 tr R at R^-1."""
    return np.trace(p @ root @ root + np.linalg.inv(p)) / (2 * np.trace(root)) - 1


def fitted(n, r, steps, sample, **options):
    optimizer = scale_by_lra(r, b1=0.0, **options)
    state = optimizer.init({"w": np.zeros(n)})
    for count in range(steps):
        v, h = sample(count)
        given = () if v is None else ({"w": v}, {"w": h})
        state = optimizer.step(state, {"w": h}, *given)
    q = as_matrix(LowRank(state["U"], state["V"], state["d"]))
    return q.T @ q


@pytest.mark.parametrize("order", ORDERS)
def test_newton_fit_within_the_family_reaches_the_least_criterion(order):
    hessian = np.linalg.inv(family_member())
    rng = np.random.default_rng(0)

    def sample(count):
        v = rng.standard_normal(8)
        return v, hessian @ v

    # Steps of the order "1st" are as long near the end as far from it.
    rate, steps = 0.03 if order == "1st" else 0.5, 2000
    p = fitted(
        8,
        2,
        steps,
        sample,
        precond_lr=lambda t: rate * (1 - t / steps),
        damping=None,
        step_normalizer_order=order,
    )
    # 1e-7 to 4e-4 measured; that of a multiple of the identity is 0.36.
    assert 0 <= excess(p, hessian) < 1e-3


def test_whitening_fit_is_the_inverse_root_of_the_covariance():
    rng, steps = np.random.default_rng(0), 2000
    root = np.linalg.inv(family_member())
    p = fitted(
        8,
        2,
        steps,
        lambda count: (None, root @ rng.standard_normal(8)),
        precond_lr=lambda t: 0.3 * (1 - t / steps),
    )
    # 0.01 measured: sampling noise. That of the inverse of the covariance would be 0.9.
    assert 0 <= excess(p, root) < 0.03


def test_the_alias_descends_a_quadratic_with_newton_pairs():
    hessian = np.linalg.inv(family_member())
    rng = np.random.default_rng(0)
    optimizer = low_rank_approximation(
        0.3, uvd_rank_of_approximation=2, precond_lr=0.3, b1=0.0, precond_init_moment="2nd"
    )
    state = optimizer.init({"w": rng.standard_normal(8)})
    for _ in range(400):
        v = rng.standard_normal(8)
        gradient = {"w": hessian @ state["params"]["w"]}
        state = optimizer.step(state, gradient, {"w": v}, {"w": hessian @ v})
    assert np.linalg.norm(state["params"]["w"]) < 1e-9
