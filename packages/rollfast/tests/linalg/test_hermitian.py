"""Adjoints, which are turned over in memory, and products of which a part is copied."""

import jax
import numpy as np
import pytest

from rollfast.linalg.hermitian import (
    adjoint,
    adjoint_multiplier,
    hermitian_part,
    hermitian_product,
    hermitian_square,
    hermitian_times,
    skew_square,
)

from ..helpers import normal


def matrix_of(seed, *shape, is_complex):
    matrix = np.asarray(normal(seed, *shape), np.float32)
    if is_complex:
        matrix = matrix + 1j * np.asarray(normal(seed + 1, *shape), np.float32)
    return matrix


@pytest.mark.parametrize("shape", [(3, 0), (3, 5), (7, 256), (5, 512), (130, 300)], ids=str)
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("function", [adjoint, adjoint_multiplier])
def test_rows_become_columns(function, shape, is_complex):
    matrix = matrix_of(50, *shape, is_complex=is_complex)
    np.testing.assert_array_equal(jax.jit(function)(matrix), matrix.conj().T)
    stack = np.stack([matrix, 2 * matrix])
    expected = np.moveaxis(stack.conj(), 1, 2)
    np.testing.assert_array_equal(jax.jit(jax.vmap(function))(stack), expected)


def test_outside_of_jit_nothing_is_compiled_twice():
    first, second = normal(50, 3, 512), normal(51, 3, 512)
    adjoint(first)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name)
    )
    adjoint(second)
    jax.monitoring.clear_event_listeners()
    assert not [name for name in compiled if "backend_compile" in name]


@pytest.mark.parametrize("side", [6, 383, 384, 400, 512])
@pytest.mark.parametrize("is_complex", [False, True])
def test_hermitian_products_are_those_of_whole_matrices(side, is_complex):
    matrix = matrix_of(52, side, 40, is_complex=is_complex)
    other = np.asarray(hermitian_part(matrix_of(54, side, side, is_complex=is_complex)))
    gram = matrix @ matrix.conj().T
    # Sums of some products in two orders; the errors of both grow with the root of their number.
    bound = 4 * np.finfo(np.float32).eps * np.sqrt(side)
    for found, expected in (
        (jax.jit(hermitian_product)(matrix, matrix.conj().T), gram),
        (jax.jit(hermitian_product)(matrix, matrix.conj().T, other), other + gram),
        (jax.jit(hermitian_square)(other), other @ other),
    ):
        assert np.linalg.norm(found - expected) <= bound * np.linalg.norm(expected)


@pytest.mark.parametrize("side", [6, 255, 256, 301])
@pytest.mark.parametrize("is_complex", [False, True])
def test_what_multiplies_from_the_left_may_be_read_across(side, is_complex):
    matrix = matrix_of(56, side, side, is_complex=is_complex)
    other = matrix_of(58, side, 40, is_complex=is_complex)
    hermitian, skew = matrix + matrix.conj().T, matrix - matrix.conj().T
    bound = 4 * np.finfo(np.float32).eps * np.sqrt(side)
    for found, expected in (
        (jax.jit(hermitian_times)(hermitian, other), hermitian @ other),
        (jax.jit(skew_square)(skew), skew @ skew),
    ):
        assert np.linalg.norm(found - expected) <= bound * np.linalg.norm(expected)


def test_small_products_read_their_first_operand_across():
    def contracted(side):
        text = jax.jit(hermitian_times).lower(np.eye(side), np.eye(side)).as_text()
        return "contracting_dims = [1] x [0]" in text and "transpose" not in text

    assert contracted(256)
    assert not contracted(255)


def test_long_rows_are_turned_over_apart_from_what_becomes_of_them():
    # Else the compiler reads across in the kernel of the difference, which takes some three times
    # as long.
    def conditionals(side):
        text = jax.jit(lambda a: adjoint(a) - a).lower(np.eye(side, dtype="f4")).compile().as_text()
        return text.count(" conditional(")

    assert conditionals(512) == 1
    assert conditionals(640) == 0
