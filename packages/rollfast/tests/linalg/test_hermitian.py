"""Adjoints, which are read in parts."""

import jax
import numpy as np
import pytest

from rollfast.linalg.hermitian import adjoint

from ..helpers import normal


@pytest.mark.parametrize("shape", [(3, 0), (3, 5), (7, 64), (5, 65), (130, 192)], ids=str)
@pytest.mark.parametrize("is_complex", [False, True])
def test_rows_become_columns(shape, is_complex):
    matrix = normal(50, *shape)
    if is_complex:
        matrix = matrix + 1j * normal(51, *shape)
    np.testing.assert_array_equal(jax.jit(adjoint)(matrix), np.asarray(matrix).conj().T)
