from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg

from reference.linalg.newton_schulz import coefficients, newton_schulz, polar
from reference.prism import shaping

EPS = np.finfo(np.float64).eps


def pair(shape, *, complex_=False, seed=0):
    rng = np.random.default_rng(seed)

    def one():
        sample = rng.standard_normal(shape)
        return sample + 1j * rng.standard_normal(shape) if complex_ else sample

    return one(), one()


def test_momentum_is_the_weighted_sum_of_all_gradients_exactly():
    b1, mean = Fraction(19, 20), Fraction(0)
    gradients = [Fraction(k * k - 3, 7) for k in range(1, 9)]
    for count, gradient in enumerate(gradients, start=1):
        mean = shaping.momentum(mean, gradient, b1)
        weights = [(1 - b1) * b1 ** (count - k) for k in range(1, count + 1)]
        assert mean == sum(w * g for w, g in zip(weights, gradients, strict=False))
        # The weights sum to 1 - b1^t, so the correction makes them an average.
        assert sum(weights) == 1 - b1**count
        assert shaping.corrected_momentum(mean, b1, count) == mean / sum(weights)


def test_innovation_and_its_size():
    b1, previous, gradient = Fraction(19, 20), Fraction(3), Fraction(5)
    mean = shaping.momentum(previous, gradient, b1)
    assert shaping.innovation(gradient, mean) == b1 * (gradient - previous)


def test_look_ahead_is_the_momentum_of_a_repeated_gradient():
    b1, mean, gradient = Fraction(19, 20), Fraction(3), Fraction(5)
    assert shaping.nesterov(mean, gradient, b1) == shaping.momentum(mean, gradient, b1)


def test_corrections_of_a_constant_gradient():
    b1, gradient, mean = Fraction(9, 10), Fraction(7), Fraction(0)
    for count in range(1, 6):
        mean = shaping.momentum(mean, gradient, b1)
        assert shaping.corrected_momentum(mean, b1, count) == gradient
        # b1 (1 - b1^t) / (1 - b1^(t+1)) + (1 - b1) / (1 - b1^t), and not 1 in general.
        grown = 1 - b1**count
        expected = gradient * (b1 * grown / (1 - b1 ** (count + 1)) + (1 - b1) / grown)
        assert shaping.corrected_nesterov(mean, gradient, b1, count) == expected


def test_augment_stacks_rows():
    m, d = pair((2, 3))
    expected = [[*m[0]], [*m[1]], [*(0.5 * d[0])], [*(0.5 * d[1])]]
    np.testing.assert_array_equal(shaping.augment(m, d, 0.5), expected)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 5), (1, 1)])
@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("gamma", [0.3, 1.0, 5.0])
def test_exact_shaping_is_the_right_sided_inverse_root(shape, complex_, gamma):
    m, d = pair(shape, complex_=complex_)
    gram = m.conj().T @ m + gamma**2 * d.conj().T @ d
    values, vectors = scipy.linalg.eigh(gram)
    expected = m @ (vectors / np.sqrt(values)) @ vectors.conj().T
    direction = shaping.shape_exact(m, d, gamma)
    # The Gram matrix squares the condition number: eps cond(gram), on the expected side.
    tolerance = 8 * EPS * values[-1] / values[0]
    assert tolerance < 1e-9
    np.testing.assert_allclose(direction, expected, atol=tolerance)
    # A block of a partial isometry; its norm is rounded by some eps.
    assert np.linalg.norm(direction, 2) <= 1 + 16 * EPS


def test_gain_of_each_mode_is_set_by_its_signal_to_noise_ratio():
    rng = np.random.default_rng(1)
    u, v, w = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(3))
    sigma, noise = np.array([4.0, 2, 1, 0.5]), np.array([0.1, 1, 3, 0.5])
    direction = shaping.shape_exact(u * sigma @ v.T, w * noise @ v.T, 2.0)
    gains = sigma / np.sqrt(sigma**2 + 4.0 * noise**2)
    # Condition number of the stacked matrix below 10.
    np.testing.assert_allclose(u.T @ direction @ v, np.diag(gains), atol=100 * EPS)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6)])
@pytest.mark.parametrize("complex_", [False, True])
def test_without_innovation_it_is_muon(shape, complex_):
    m, d = pair(shape, complex_=complex_)
    # Condition numbers of the samples are below 30.
    np.testing.assert_allclose(shaping.shape_exact(m, d, 0.0), polar(m), atol=200 * EPS)
    rows = coefficients("jordan")
    # The same sums with zeros added, in another order, through five polynomials.
    np.testing.assert_allclose(
        shaping.shape(m, d, 0.0, rows, 5, 1e-8), newton_schulz(m, rows, 5, 1e-8), atol=200 * EPS
    )


def test_iterated_shaping_converges_to_the_exact_one():
    m, d = pair((5, 4))
    rows = coefficients("polar_express")
    # The last row repeats and converges cubically: after 10 only rounding is left.
    np.testing.assert_allclose(
        shaping.shape(m, d, 1.3, rows, 10, 0.0), shaping.shape_exact(m, d, 1.3), atol=200 * EPS
    )


def test_first_direction_is_a_short_step_along_the_polar_factor():
    gradient, _ = pair((4, 3))
    b1, gamma = 0.95, 1.0
    mean = shaping.momentum(np.zeros_like(gradient), gradient, b1)
    direction = shaping.shape_exact(mean, shaping.innovation(gradient, mean), gamma)
    gain = (1 - b1) / np.hypot(1 - b1, gamma * b1)
    assert gain == pytest.approx(0.053, abs=5e-4)  # the printed three decimals
    # 1 - 0.95 is itself rounded: some eps of 1, in relation to 0.05.
    np.testing.assert_allclose(direction, gain * polar(gradient), atol=100 * EPS)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20])
def test_shaping_does_not_see_the_scale(scale):
    m, d = pair((4, 3))
    # Condition number below 10, plus one rounding of each entry.
    np.testing.assert_allclose(
        shaping.shape_exact(scale * m, scale * d, 1.0),
        shaping.shape_exact(m, d, 1.0),
        atol=100 * EPS,
    )


def test_shaping_turns_with_rotations_of_either_side():
    m, d = pair((4, 3))
    rng = np.random.default_rng(2)
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (4, 3))
    rows = coefficients("jordan")
    turned = shaping.shape(left @ m @ right, left @ d @ right, 0.7, rows, 5, 1e-8)
    # Two products and five polynomials, whose slopes multiply to some tens.
    np.testing.assert_allclose(
        turned, left @ shaping.shape(m, d, 0.7, rows, 5, 1e-8) @ right, atol=400 * EPS
    )
