"""Whole steps of PRISM, and the iterations it uses, in fifty digits."""

import mpmath as mp
import numpy as np
import pytest

from reference.linalg.newton_schulz import coefficients, newton_schulz, polar
from reference.prism.prism import prism
from reference.tests.high_precision import condition, error, frobenius, of_spectrum, wide

SHAPES = [(2, 2), (3, 3), (2, 3)]


def root(gram):
    """Return the inverse square root of a positive definite matrix."""
    return of_spectrum(gram, lambda value: 1 / mp.sqrt(value))


def stream(shape, steps=3):
    rng = np.random.default_rng([*shape, 5])
    return rng.standard_normal((steps, *shape)).astype(np.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_polar_factor_is_the_matrix_by_the_root_of_its_gram_matrix(shape):
    matrix = stream(shape)[0]
    x = wide(matrix)
    # A decomposition and a product; a polar factor moves by as much as X is near a singular matrix.
    assert error(polar(matrix), root(x * x.H) * x) < 4 * condition(x.H)


@pytest.mark.parametrize("name", ["jordan", "dion", "polar_express", "cubic"])
@pytest.mark.parametrize("shape", SHAPES)
def test_iterations_send_singular_values_through_polynomials(name, shape):
    matrix, rows = stream(shape)[1], coefficients(name)
    x = wide(matrix)
    scaled = x / (frobenius(x) + mp.mpf(1e-7))

    def through(square):
        # f(s) / s of the singular value s.
        value = start = mp.sqrt(square)
        for k in range(5):
            a, b, c = (mp.mpf(number) for number in rows[min(k, len(rows) - 1)])
            value = a * value + b * value**3 + c * value**5
        return value / start

    expected = of_spectrum(scaled * scaled.H, through) * scaled
    # Fifteen products. Roundings grow as the singular values do, which end near 1 together.
    assert error(newton_schulz(matrix, rows, 5, 1e-7), expected) < 16


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (3, 2)])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
def test_steps_of_algorithm_1(shape, gamma):
    gradients = stream(shape)
    rate, decay, b1 = 0.1, 0.2, 0.8
    optimizer = prism(
        rate,
        b1=b1,
        gamma=gamma,
        weight_decay=decay,
        nesterov=False,
        grad_clip_max_amps=None,
        ns_coeffs="exact",
    )
    start = np.linspace(-1, 1, gradients[0].size).reshape(shape)
    state = optimizer.init({"w": start})
    w, m = wide(start), wide(np.zeros(shape))
    b1, rate, decay, gamma = (mp.mpf(number) for number in (b1, rate, decay, gamma))
    for gradient in gradients:
        g = wide(gradient)
        m = b1 * m + (1 - b1) * g
        d = g - m
        # polar([M; gamma D])[:m] = M (M^T M + gamma^2 D^T D)^(-1/2).
        gram = m.H * m + gamma**2 * (d.H * d)
        update = -rate * (m * root(gram) + decay * w)
        w += update
        state = optimizer.step(state, {"w": gradient})
        # A polar factor moves by as much as the matrix is near a singular one.
        allowed = 4 * mp.sqrt(condition(gram))
        assert error(state["updates"]["w"], update) < allowed
        assert error(state["params"]["w"], w) < 4
        assert error(state["mu"]["w"], m) < 2
