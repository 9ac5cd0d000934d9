"""Bounds of norms where there is no norm to bound."""

import jax.numpy as jnp
import numpy as np
import pytest

from rollfast.linalg.norm_bounds import hermitian_norm_bound, norm_bound, skew_norm_bound

from ..helpers import normal

BOUNDS = {
    "any": norm_bound,
    "hermitian": lambda matrix: hermitian_norm_bound(matrix, jnp.sign(normal(0, 8, 4))),
    "skew": lambda matrix: skew_norm_bound(matrix, jnp.sign(normal(0, 8, 4))),
}


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_the_bound_of_zero_is_zero(bound):
    assert float(bound(jnp.zeros((4, 4)))) == 0


@pytest.mark.parametrize("lost", [jnp.inf, jnp.nan])
@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_the_bound_of_what_is_not_finite_is_not_finite(bound, lost):
    """A fit tells by it that a factor must not move."""
    for matrix in (jnp.full((4, 4), lost), jnp.eye(4).at[1, 1].set(lost)):
        assert not np.isfinite(bound(matrix))
