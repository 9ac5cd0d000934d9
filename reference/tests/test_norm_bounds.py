import numpy as np
import pytest

from reference.linalg.norm_bounds import hermitian_norm_bound, norm_bound, skew_norm_bound

EPS = np.finfo(np.float64).eps


def sample(rng, shape, complex_):
    values = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if complex_ else values


def draw(kind, n, rank, complex_, seed):
    """Return a matrix of that kind and rank (a skew one of twice that), its bound and probes."""
    rng = np.random.default_rng(seed)
    a, b = sample(rng, (2, n, rank), complex_)
    if kind == "hermitian":
        return a @ a.conj().T, hermitian_norm_bound, sample(rng, (32, n), complex_)
    return a @ b.conj().T - b @ a.conj().T, skew_norm_bound, sample(rng, (32, n), complex_)


@pytest.mark.parametrize("kind", ["hermitian", "skew"])
@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize(("n", "rank"), [(1, 1), (5, 2), (20, 20), (60, 3), (60, 60), (60, 200)])
def test_bound_is_below_the_norm_and_within_the_root_of_two(kind, complex_, n, rank):
    for seed in range(5):
        matrix, bound, probes = draw(kind, n, rank, complex_, seed)
        norm = np.linalg.norm(matrix, 2)
        value = bound(matrix, probes)
        assert value.shape == ()
        assert value.dtype == np.float64
        # Four products of length n round the bound by some multiples of eps.
        assert norm / np.sqrt(2) <= value <= norm * (1 + 30 * EPS)


@pytest.mark.parametrize("complex_", [False, True])
def test_bound_is_exact_for_rank_one(complex_):
    rng = np.random.default_rng(0)
    vector = sample(rng, 30, complex_)
    matrix = np.outer(vector, vector.conj())
    probes = sample(rng, (4, 30), complex_)
    # Orthogonal to the range: only the turn towards the longest row finds it.
    probes -= np.outer(probes @ vector, vector.conj()) / np.vdot(vector, vector).real
    norm = np.vdot(vector, vector).real
    for k in (1, 4):
        # Four products of length 30.
        np.testing.assert_allclose(hermitian_norm_bound(matrix, probes[:k]), norm, rtol=30 * EPS)


@pytest.mark.parametrize("kind", ["hermitian", "skew"])
@pytest.mark.parametrize("complex_", [False, True])
def test_bound_is_a_quotient_of_powers(kind, complex_):
    # One probe x turned towards row j: |x A^4| / |x A^3|.
    matrix, bound, probes = draw(kind, 6, 6, complex_, 0)
    row = matrix[np.argmax(np.linalg.norm(matrix, axis=1))]
    largest = np.max(np.diagonal(matrix).real if kind == "hermitian" else np.abs(matrix))
    for probe in probes[:5]:
        inner = np.vdot(probe, row)
        start = row / largest + inner / abs(inner) * probe
        third = start @ np.linalg.matrix_power(matrix, 3)
        expected = np.linalg.norm(third @ matrix) / np.linalg.norm(third)
        # A handful of products of length 6, without cancellation.
        np.testing.assert_allclose(bound(matrix, probe[None]), expected, rtol=100 * EPS)


def test_bound_takes_the_best_of_its_probes():
    matrix, bound, probes = draw("hermitian", 40, 40, False, 0)
    single = [bound(matrix, probe[None]) for probe in probes]
    assert max(single) > min(single)
    # The same products, in blocks of another size.
    np.testing.assert_allclose(bound(matrix, probes), max(single), rtol=30 * EPS)


@pytest.mark.parametrize("kind", ["hermitian", "skew"])
@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.float64])
def test_bound_follows_the_scale(kind, dtype):
    matrix, bound, probes = draw(kind, 12, 12, dtype == np.complex64, 0)
    matrix, probes = matrix.astype(dtype), probes.astype(dtype)
    expected = bound(matrix, probes)
    assert expected.dtype == matrix.real.dtype
    for scale in (1e-30, 1e-20, 1e20, 1e30):
        value = bound((scale * matrix).astype(dtype), probes)
        # One rounding of each entry, and four products.
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(value / scale, expected, rtol=100 * eps)


@pytest.mark.parametrize("bound", [hermitian_norm_bound, skew_norm_bound])
def test_bound_of_zero_is_zero(bound):
    for dtype in (np.float32, np.float64, np.complex128):
        assert bound(np.zeros((3, 3), dtype), np.ones((2, 3), dtype)) == 0


def test_bound_of_bfloat16_is_that_of_float32_rounded_once():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    matrix, bound, probes = draw("hermitian", 12, 12, False, 0)
    matrix, probes = matrix.astype(bfloat16), probes.astype(bfloat16)
    value = bound(matrix, probes)
    assert value.dtype == bfloat16
    wide = bound(matrix.astype(np.float32), probes.astype(np.float32))
    # The scaled matrix is rounded as well: a few units of bfloat16.
    np.testing.assert_allclose(float(value), wide, rtol=4 * 2.0**-8)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 5), (20, 7), (7, 20), (60, 60)])
@pytest.mark.parametrize("triangular", [False, True])
def test_bound_of_any_matrix_is_within_the_root_of_two(shape, complex_, triangular):
    for seed in range(5):
        matrix = sample(np.random.default_rng(seed), shape, complex_)
        matrix = np.triu(matrix) if triangular else matrix
        norm = np.linalg.norm(matrix, 2)
        value = norm_bound(matrix)
        assert value.shape == ()
        assert value.dtype == np.float64
        # Two products of at most 60 terms round the bound by some multiples of eps.
        assert norm / np.sqrt(2) <= value <= norm * (1 + 30 * EPS)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("shape", [(30, 4), (4, 30)])
def test_bound_of_any_matrix_is_exact_for_rank_one(shape, complex_):
    rng = np.random.default_rng(0)
    left, right = sample(rng, shape[0], complex_), sample(rng, shape[1], complex_)
    norm = np.linalg.norm(left) * np.linalg.norm(right)
    # Two products of at most 30 terms.
    np.testing.assert_allclose(norm_bound(np.outer(left, right)), norm, rtol=30 * EPS)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("column", [False, True])
def test_bound_of_any_matrix_is_a_quotient_of_powers(column, complex_):
    """The longest column c gives |A A^H c| / |A^H c|, the longest row r the same of A^T."""
    matrix = sample(np.random.default_rng(1), (6, 6), complex_)
    matrix[(slice(None), 2) if column else 2] *= 10
    square = matrix if column else matrix.T
    longest = square[:, 2]
    once = square.conj().T @ longest
    expected = np.linalg.norm(square @ once) / np.linalg.norm(once)
    # Two products of length 6, without cancellation.
    np.testing.assert_allclose(norm_bound(matrix), expected, rtol=30 * EPS)
    other = np.linalg.norm(square.conj() @ (square.T @ square[2].conj()))
    other /= np.linalg.norm(square.T @ square[2].conj())
    assert abs(other / expected - 1) > 1e-6, "a row and a column must give different bounds"


def test_of_equals_the_row_is_taken():
    # The longest row and the longest column both are (1, 1, 0), and A A^T is not A^T A.
    matrix = np.array([[1.0, 1, 0], [1, 0, 1], [0, 0, 0]])
    once = matrix @ matrix[0]
    expected = np.linalg.norm(matrix.T @ once) / np.linalg.norm(once)
    other = np.linalg.norm(matrix @ matrix.T @ matrix[:, 0])
    assert other / np.linalg.norm(matrix.T @ matrix[:, 0]) != pytest.approx(expected, rel=1e-3)
    # Quotients of whole numbers, and two roots.
    assert norm_bound(matrix) == pytest.approx(expected, rel=8 * EPS)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.float64])
def test_bound_of_any_matrix_follows_the_scale(dtype):
    matrix = sample(np.random.default_rng(2), (9, 12), dtype == np.complex64).astype(dtype)
    expected = norm_bound(matrix)
    assert expected.dtype == matrix.real.dtype
    for scale in (1e-30, 1e-20, 1e20, 1e30):
        # One rounding of each entry, and two products.
        eps = np.finfo(dtype).eps
        value = norm_bound((scale * matrix).astype(dtype))
        np.testing.assert_allclose(value / scale, expected, rtol=30 * eps)
    assert norm_bound(np.zeros((3, 2), dtype)) == 0
    assert norm_bound(np.zeros((3, 2), dtype)).dtype == expected.dtype


def test_bound_of_any_matrix_in_bfloat16():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    matrix = sample(np.random.default_rng(3), (9, 12), False).astype(bfloat16)
    value = norm_bound(matrix)
    assert value.dtype == bfloat16
    # The scaled matrix and both products are rounded: a few units of bfloat16.
    wide = norm_bound(matrix.astype(np.float32))
    np.testing.assert_allclose(float(value), wide, rtol=4 * 2.0**-8)
