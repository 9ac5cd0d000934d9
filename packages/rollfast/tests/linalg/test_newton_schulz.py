"""Properties of the Newton–Schulz iterations in both forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast.linalg.gram_newton_schulz import (
    direct_flops,
    gram_flops,
    newton_schulz_top,
    segments,
)
from rollfast.linalg.newton_schulz import coefficients, newton_schulz, normalize, polar

from ..helpers import assert_close, normal

JORDAN, DION = coefficients("jordan"), coefficients("dion")
EPS = float(jnp.finfo(jnp.float32).eps)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_polar_factor(dtype, shape):
    """Orthonormal on the shorter side, and X = U H with H positive semidefinite."""
    matrix = normal(0, *shape, dtype=dtype)
    factor = polar(matrix)
    short = factor @ factor.conj().T if shape[0] < shape[1] else factor.conj().T @ factor
    assert_close(short, jnp.eye(3, dtype=dtype), 30)
    stretch = factor.conj().T @ matrix
    assert_close(stretch, stretch.conj().T, 30)
    assert float(jnp.min(jnp.linalg.eigvalsh(stretch))) > -1e-5
    converged = newton_schulz(matrix, coefficients("polar_express"), 10)
    assert_close(converged, factor, 300)


def test_singular_values_follow_the_polynomial():
    """One iteration is a σ + b σ³ + c σ⁵ on the singular values, their vectors untouched."""
    values = np.array([0.8, 0.5, 0.1])
    left, right = (np.linalg.qr(np.asarray(normal(seed, 3, 3)))[0] for seed in (1, 2))
    unit = np.linalg.norm(values)
    a, b, c = JORDAN[0]
    scaled = values / unit
    want = left @ np.diag(a * scaled + b * scaled**3 + c * scaled**5) @ right
    got = newton_schulz(jnp.asarray(left @ np.diag(values) @ right), JORDAN, 1)
    assert_close(got, jnp.asarray(want), 30)


def test_rows_are_used_in_order_and_the_last_is_repeated():
    matrix = normal(3, 3, 4)
    want = matrix / jnp.linalg.norm(matrix)
    for row in (*DION, DION[-1]):
        a, b, c = row
        gram = want @ want.T
        want = a * want + (b * gram + c * gram @ gram) @ want
    assert_close(newton_schulz(matrix, DION, 6), want, 300)


def test_traced_number_of_iterations():
    matrix = normal(4, 3, 4)
    looped = jax.jit(lambda matrix, count: newton_schulz(matrix, DION, count))
    for count in (1, 6):
        assert_close(looped(matrix, count), newton_schulz(matrix, DION, count), 300)


@pytest.mark.parametrize("exponent", [-120, -60, 60, 120])
def test_norm_neither_overflows_nor_underflows(exponent):
    matrix = normal(5, 3, 4)
    assert_close(normalize(matrix * 2.0**exponent, 0.0), normalize(matrix, 0.0), 0)
    np.testing.assert_allclose(np.linalg.norm(normalize(matrix, 0.0)), 1.0, rtol=1e-6)


def test_zero_and_empty_matrices():
    assert not np.any(newton_schulz(jnp.zeros((3, 4)), JORDAN, 5))
    assert newton_schulz(jnp.zeros((0, 4)), JORDAN, 5).shape == (0, 4)


@pytest.mark.parametrize("name", ["jordan", "dion", "polar_express", "cubic"])
def test_segments_hold_all_rows_in_order(name):
    rows = coefficients(name)
    for epsilon in (EPS, 2.0**-8, 2.0**-52):
        plan = segments(rows, 9, epsilon)
        joined = [row for segment in plan for row in segment.rows]
        assert joined == [rows[min(index, len(rows) - 1)] for index in range(9)]
        assert [segment.last for segment in plan] == [False] * (len(plan) - 1) + [True]


def test_rounding_in_the_gram_matrix_stays_below_a_percent():
    """Before its last row a segment has grown by the product of a², at most 0.01 / eps."""
    for name in ("jordan", "dion", "polar_express"):
        for epsilon in (EPS, 2.0**-10, 2.0**-13):
            for segment in segments(coefficients(name), 9, epsilon):
                growth = np.prod([row[0] ** 2 for row in segment.rows[:-1]])
                assert growth <= 0.01 / epsilon


def test_coarser_numbers_restart_sooner():
    assert len(segments(JORDAN, 5, 2.0**-8)) > len(segments(JORDAN, 5, EPS))


@pytest.mark.parametrize("shape", [(6, 3), (3, 4), (2, 9)], ids=str)
def test_gram_form_is_the_top_block(shape):
    top, bottom = normal(6, *shape), normal(7, *shape)
    for plan in (segments(JORDAN, 5, EPS), segments(JORDAN, 5, 2.0**-8)):
        got = jax.jit(
            lambda top, bottom, plan=plan: newton_schulz_top(
                jnp.concatenate([top, bottom]), top.shape[0], plan
            )
        )
        want = newton_schulz(jnp.concatenate([top, bottom]), JORDAN, 5)[: shape[0]]
        assert_close(got(top, bottom), want, 300)


def test_gram_form_costs_less_where_the_stack_is_not_square():
    plan = segments(JORDAN, 5, EPS)
    assert gram_flops(3072, 384, 1536, plan) < direct_flops(3072, 384, 5) / 2
    assert gram_flops(768, 1536, 384, plan) < direct_flops(768, 1536, 5)
