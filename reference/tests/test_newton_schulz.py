import numpy as np
import pytest
import scipy.linalg

from reference.linalg.newton_schulz import coefficients, newton_schulz, polar

EPS = np.finfo(np.float64).eps
NAMES = ["jordan", "dion", "polar_express", "polar_express_unsafe", "cubic"]
SHAPES = [(4, 4), (7, 3), (3, 7), (1, 5), (5, 1), (1, 1)]


def with_singular_values(shape, values, *, complex_=False, seed=0):
    """Return U diag(values) V^H and its two factors."""
    rng = np.random.default_rng(seed)

    def isometry(rows):
        sample = rng.standard_normal((rows, len(values)))
        if complex_:
            sample = sample + 1j * rng.standard_normal(sample.shape)
        return np.linalg.qr(sample)[0]

    u, v = isometry(shape[0]), isometry(shape[1])
    return u * values @ v.conj().T, u, v


def polynomial(values, name, iterations):
    rows = coefficients(name)
    for k in range(iterations):
        a, b, c = rows[min(k, len(rows) - 1)]
        values = a * values + b * values**3 + c * values**5
    return values


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("complex_", [False, True])
def test_polar_is_scipys(shape, complex_):
    values = np.geomspace(0.1, 3, min(shape))
    matrix, u, v = with_singular_values(shape, values, complex_=complex_)
    # Backward stable SVD, condition number 30: the factor moves by some tens of eps.
    np.testing.assert_allclose(polar(matrix), scipy.linalg.polar(matrix)[0], atol=100 * EPS)
    np.testing.assert_allclose(polar(matrix), u @ v.conj().T, atol=100 * EPS)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20])
def test_polar_does_not_see_the_scale(scale):
    matrix, u, v = with_singular_values((5, 3), np.array([3.0, 1, 0.2]))
    # As above: condition number 15.
    np.testing.assert_allclose(polar(scale * matrix), u @ v.T, atol=100 * EPS)


def test_polar_of_rank_deficient_is_a_partial_isometry():
    matrix, u, v = with_singular_values((5, 4), np.array([3.0, 1.0]))
    # The two null directions are dropped, not filled in: 100 eps for the two kept.
    np.testing.assert_allclose(polar(matrix), u @ v.T, atol=100 * EPS)
    np.testing.assert_array_equal(polar(np.zeros((3, 2))), np.zeros((3, 2)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("complex_", [False, True])
def test_iteration_applies_the_polynomials_to_the_singular_values(name, shape, complex_):
    values = np.linspace(1, 2, min(shape))
    matrix, u, v = with_singular_values(shape, values, complex_=complex_)
    for iterations in (0, 1, 2, 5, 9):
        start = values / (np.linalg.norm(values) + 0.25)
        expected = u * polynomial(start, name, iterations) @ v.conj().T
        actual = newton_schulz(matrix, coefficients(name), iterations, 0.25)
        # The derivatives of the polynomials are at most 9, and below 1 near their fixed points.
        np.testing.assert_allclose(actual, expected, atol=400 * EPS)


def test_iteration_keeps_zero_and_survives_extreme_scales():
    rows = coefficients("jordan")
    np.testing.assert_array_equal(newton_schulz(np.zeros((3, 2)), rows, 5, 1e-8), np.zeros((3, 2)))
    matrix = np.random.default_rng(0).standard_normal((4, 6))
    expected = newton_schulz(matrix, rows, 5, 0.0)
    for scale in (1e-30, 1e-20, 1e20, 1e200):
        # Scaling rounds each entry once; the five polynomials amplify that by some tens.
        actual = newton_schulz(scale * matrix, rows, 5, 0.0)
        np.testing.assert_allclose(actual, expected, atol=400 * EPS)


# (name, iterations, image of [1e-3, 1], image of [1e-2, 1])
IMAGES = [
    ("jordan", 5, (0.4705, 1.2024), (0.6818, 1.1344)),
    ("jordan", 10, (0.6818, 1.1343), (0.6818, 1.1343)),
    ("jordan", 30, (0.6818, 1.1343), (0.6818, 1.1343)),
    ("dion", 5, (0.4750, 1.1450), (0.9778, 1.0318)),
    ("polar_express_unsafe", 5, (0.8764, 1.1236), (0.8764, 1.1236)),
    ("polar_express", 5, (0.8462, 1.1236), (0.8703, 1.1236)),
    ("polar_express", 8, (1.0, 1.0), (1.0, 1.0)),
    ("cubic", 5, (0.0076, 1.0), (0.0758, 1.0)),
]


@pytest.mark.parametrize(("name", "iterations", "wide", "narrow"), IMAGES)
def test_images_of_singular_values(name, iterations, wide, narrow):
    for low, image in ((1e-3, wide), (1e-2, narrow)):
        values = polynomial(np.geomspace(low, 1, 20001), name, iterations)
        # The sheet prints four decimals, and truncates 1.13436 to 1.1343 in one row.
        np.testing.assert_allclose([values.min(), values.max()], image, atol=1e-4)


def test_jordan_maps_one_to_the_sum_of_its_coefficients():
    # The printed 0.701 = 3.4445 - 4.7750 + 2.0315, and a map whose fixed points are not at 1.
    assert polynomial(1.0, "jordan", 1) == pytest.approx(0.701, abs=4 * EPS)


def optimal_quintic(low, high):
    """Return the odd quintic nearest to 1 on [low, high], by exchange of its extrema."""
    inner = np.array([(3 * low + high) / 4, (low + 3 * high) / 4])
    for _ in range(60):
        points = np.array([low, *inner, high])
        system = np.stack([points, points**3, points**5, [1, -1, 1, -1]], axis=1)
        a, b, c, _ = np.linalg.solve(system, np.ones(4))
        roots = np.sqrt(9 * b * b - 20 * a * c + 0j).real
        inner = np.sqrt((-3 * b + np.array([-roots, roots])) / (10 * c))
    return np.array([a, b, c])


def test_polar_express_rows_are_the_minimax_polynomials():
    # Algorithm 1 of arXiv 2505.16932: each row is optimal on the image of the ones before, with
    # the interval widened to a ratio of 0.024 and then recentred around 1. From the seventh row
    # on the interval is a point, where the exchange is singular and the limit is (15, -10, 3) / 8.
    low, high = 1e-3, 1.0
    for row in coefficients("polar_express_unsafe")[:6]:
        best = optimal_quintic(max(low, 0.02407327424182761 * high), high)
        ends = np.array([low, high])
        image = best @ np.stack([ends, ends**3, ends**5])
        best = best * 2 / image.sum()
        # Printed with 15 or 16 digits; the linear systems cost some tens of eps.
        np.testing.assert_allclose(row, best, rtol=64 * EPS)
        low = float(best @ [low, low**3, low**5])
        high = 2 - low
    np.testing.assert_allclose(coefficients("polar_express_unsafe")[6], best_limit(), rtol=1e-5)
    assert coefficients("polar_express_unsafe")[7] == best_limit()


def best_limit():
    return (15 / 8, -10 / 8, 3 / 8)


def test_polar_express_margin_shrinks_the_argument():
    safe, unsafe = coefficients("polar_express"), coefficients("polar_express_unsafe")
    assert len(safe) == len(unsafe) == 8
    assert safe[-1] == unsafe[-1]
    points = np.linspace(0, 1, 11)
    for (a, b, c), (d, e, f) in zip(safe[:-1], unsafe[:-1], strict=True):
        s = points / 1.01
        # Five roundings of terms up to 24 in size.
        np.testing.assert_allclose(
            a * points + b * points**3 + c * points**5,
            d * s + e * s**3 + f * s**5,
            atol=200 * EPS,
        )


def test_dion_rows_are_the_published_ones():
    # A fixed table has no derivation here: the sum p(1) of each row, to the printed decimals.
    sums = [round(sum(row), 4) for row in coefficients("dion")]
    assert sums == [0.1172, 0.2853, 0.4542, 0.9388, 0.9853]


def test_unknown_coefficients_name_all_known():
    with pytest.raises(ValueError, match="'standard'") as failure:
        coefficients("standard")
    assert all(repr(name) in str(failure.value) for name in NAMES)
