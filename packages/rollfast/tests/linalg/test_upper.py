"""Products of upper triangular matrices, on both sides of the size from which they are split."""

import jax
import numpy as np
import pytest

from rollfast.linalg.upper import apply_upper, upper_normal_factor, upper_product

from ..helpers import normal

SIDES = [5, 511, 513, 1030]


def upper(seed, side, is_complex):
    matrix = np.asarray(normal(seed, side, side), np.float32)
    if is_complex:
        matrix = matrix + 1j * np.asarray(normal(seed + 1, side, side), np.float32)
    return np.triu(matrix)


def assert_near(found, expected, length):
    # Sums of so many products in two orders; the errors of both grow with its root at most.
    bound = 4 * np.finfo(np.float32).eps * np.sqrt(length)
    assert np.linalg.norm(found - expected) <= bound * np.linalg.norm(expected)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("is_complex", [False, True])
def test_products_are_those_of_whole_matrices(side, is_complex):
    left, right = upper(60, side, is_complex), upper(62, side, is_complex)
    product = np.asarray(jax.jit(upper_product)(left, right))
    assert_near(product, left @ right, side)
    assert not np.tril(product, -1).any()
    assert_near(np.asarray(jax.jit(upper_normal_factor)(left)), left.conj().T @ left, side)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("is_complex", [False, True])
def test_every_axis_is_multiplied(side, is_complex):
    factor, small = upper(64, side, is_complex), upper(66, 3, is_complex)
    diagonal = np.asarray(normal(68, 2), np.float32)
    tensor = np.asarray(normal(69, 2, side, 3), np.float32)
    expected = np.einsum("a,bj,ck,ajk->abc", diagonal, factor, small, tensor, optimize=True)
    found = np.asarray(jax.jit(apply_upper)([diagonal, factor, small], tensor))
    assert_near(found, expected, side)
    last = np.asarray(jax.jit(apply_upper)([small, factor], tensor[0].T))
    assert_near(last, small @ tensor[0].T @ factor.T, side)
