import numpy as np
import pytest

from reference.psgd.factor import gradient_size, lipschitz, relative_gradient, smoothness

EPS = np.finfo(np.float64).eps


def semidefinite(rng, n, complex_):
    sample = rng.standard_normal((n, n))
    if complex_:
        sample = sample + 1j * rng.standard_normal((n, n))
    return sample @ sample.conj().T


@pytest.mark.parametrize("complex_", [False, True])
def test_smoothness_is_the_norm_of_the_sum(complex_):
    rng = np.random.default_rng(0)
    first, second = semidefinite(rng, 8, complex_), semidefinite(rng, 8, complex_)
    probes = rng.standard_normal((32, 8))
    exact = smoothness(first, second, None)
    assert exact.shape == ()
    assert exact.dtype == np.float64
    # Symmetric eigenvalues and singular values, both backward stable.
    np.testing.assert_allclose(exact, np.linalg.eigvalsh(first + second).max(), rtol=30 * EPS)
    assert exact / np.sqrt(2) <= smoothness(first, second, probes) <= exact * (1 + 30 * EPS)
    assert smoothness(first, second, probes) != exact


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize(
    "number", [3.5, np.float64(3.5), np.asarray(3.5)], ids=["float", "scalar", "array"]
)
def test_a_number_stands_for_a_multiple_of_the_identity(complex_, number):
    rng = np.random.default_rng(0)
    first = semidefinite(rng, 8, complex_)
    identity = 3.5 * np.eye(8)
    # One eigenvalue problem more, as above.
    np.testing.assert_allclose(
        smoothness(first, number, None), smoothness(first, identity, None), rtol=30 * EPS
    )
    probes = rng.standard_normal((2, 8))
    # Only the norm of T1 is estimated.
    np.testing.assert_allclose(
        smoothness(first, number, probes) - 3.5, smoothness(first, 0.0, probes), rtol=30 * EPS
    )
    np.testing.assert_array_equal(
        relative_gradient(first, number), relative_gradient(first, identity)
    )


def test_diagonal_terms_are_vectors():
    first, second = np.array([1.0, 5.0, 2.0]), np.array([7.0, 1.0, 2.0])
    assert smoothness(first, second, None) == 8
    assert smoothness(first, 3.0, None) == 8
    np.testing.assert_array_equal(relative_gradient(first, second), [-6, 4, 0])
    np.testing.assert_array_equal(relative_gradient(first, 3.0), [-2, 2, -1])
    as_matrices = smoothness(np.diag(first), np.diag(second), None)
    assert as_matrices == pytest.approx(8, rel=4 * EPS)


@pytest.mark.parametrize("complex_", [False, True])
def test_a_step_never_turns_a_factor_over(complex_):
    # ||T1 - T2|| <= ||T1 + T2|| for semidefinite terms, so that mu ||E|| <= lr.
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 1e3):
        first, second = semidefinite(rng, 6, complex_), scale * semidefinite(rng, 6, complex_)
        gradient = relative_gradient(first, second)
        assert np.linalg.norm(gradient, 2) <= smoothness(first, second, None)


@pytest.mark.parametrize("complex_", [False, True])
def test_gradient_size_is_that_of_the_triangle(complex_):
    rng = np.random.default_rng(1)
    for _ in range(5):
        first, second = semidefinite(rng, 8, complex_), semidefinite(rng, 8, complex_)
        exact = np.linalg.norm(np.triu(first - second), 2)
        size = gradient_size(first, second)
        assert size.shape == ()
        assert size.dtype == np.float64
        assert exact / np.sqrt(2) <= size <= exact * (1 + 30 * EPS)
        assert size == gradient_size(second, first)
        # Entries below the diagonal do not count.
        lower = np.tril(semidefinite(rng, 8, complex_), -1)
        assert size == gradient_size(first + 1e3 * lower, second)
    assert gradient_size(first, first) == 0


def test_gradient_size_of_rank_one_and_of_diagonals():
    first, second = np.array([1.0, 5.0, 2.0]), np.array([7.0, 1.0, 2.0])
    assert gradient_size(first, second) == 6
    assert gradient_size(first, 3.0) == 2
    assert gradient_size(first, first) == 0
    np.testing.assert_allclose(gradient_size(np.diag(first), np.diag(second)), 6, rtol=8 * EPS)
    np.testing.assert_allclose(gradient_size(np.diag(first), 7.0), 6, rtol=8 * EPS)
    # triu of e_1 x^T is of rank one, where the bound is exact.
    row = np.zeros((4, 4))
    row[0] = [3.0, 4, 0, 12]
    np.testing.assert_allclose(gradient_size(row, np.zeros((4, 4))), 13, rtol=8 * EPS)


def test_lipschitz_jumps_up_and_decays_down():
    previous = np.asarray(4.0)
    assert lipschitz(np.zeros(()), np.asarray(3.0), 0.9) == 3
    assert lipschitz(previous, np.asarray(5.0), 0.9) == 5
    # Three roundings.
    assert lipschitz(previous, np.asarray(1.0), 0.9) == pytest.approx(3.7, rel=4 * EPS)
    assert lipschitz(previous, np.asarray(1.0), 0.0) == 1
    for _ in range(400):
        previous = lipschitz(previous, np.asarray(1.0), 0.9)
    assert previous == pytest.approx(1, rel=30 * EPS)
    assert previous >= 1


@pytest.mark.parametrize("name", ["float32", "complex64", "bfloat16"])
def test_dtypes_are_kept(name):
    dtype = pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else np.dtype(name)
    real = np.abs(np.ones(1, dtype)).dtype
    first = semidefinite(np.random.default_rng(0), 4, name == "complex64").astype(dtype)
    probes = np.ones((2, 4), dtype)
    for second in (first, 0.5, np.float64(0.5)):
        assert relative_gradient(first, second).dtype == dtype
        assert relative_gradient(np.ones(4, real), 0.5).dtype == real
        assert gradient_size(first, second).dtype == real
        assert gradient_size(np.ones(4, real), 0.5).dtype == real
        for given in (None, probes):
            ell = smoothness(first, second, given)
            assert ell.dtype == real
            assert lipschitz(np.zeros((), real), ell, 0.9).dtype == real
