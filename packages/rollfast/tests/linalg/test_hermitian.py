"""Adjoints, which are read in parts, and products of which a part is copied."""

import jax
import numpy as np
import pytest

from rollfast.linalg.hermitian import (
    adjoint,
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


@pytest.mark.parametrize("shape", [(3, 0), (3, 5), (7, 64), (5, 65), (130, 192)], ids=str)
@pytest.mark.parametrize("is_complex", [False, True])
def test_rows_become_columns(shape, is_complex):
    matrix = matrix_of(50, *shape, is_complex=is_complex)
    np.testing.assert_array_equal(jax.jit(adjoint)(matrix), matrix.conj().T)


@pytest.mark.parametrize("side", [6, 255, 256, 300])
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
