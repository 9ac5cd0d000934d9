"""Steps of Kron as functions of the gradient, for those who differentiate through training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import scale_by_kron
from rollfast.psgd.geometry import GEOMETRIES

from ..helpers import normal

# Of a loop whose number of turns is not known JAX has no derivative in reverse.
FORWARD_ONLY = ("NS", "PRO4P")


def two_steps(mode: str):
    """Return a number that two steps from a fresh state make of their gradient."""
    optimizer = scale_by_kron(preconditioner_mode=mode)

    def number(gradient):
        state = optimizer.init(gradient)
        _, state = optimizer.update(gradient, state)
        direction, _ = optimizer.update(gradient, state)
        return jnp.sum(normal(1, 3, 4) * direction)

    return number


@pytest.mark.parametrize("mode", sorted(set(GEOMETRIES)))
def test_derivatives_through_the_first_steps_are_finite(mode):
    """Q begins as a multiple of the identity, which no rotation changes."""
    number, point = two_steps(mode), normal(0, 3, 4)
    direction = normal(7, 3, 4)
    _, along = jax.jit(lambda p: jax.jvp(number, (p,), (direction,)))(point)
    assert np.isfinite(along)
    if mode not in FORWARD_ONLY:
        slopes = jax.jit(jax.grad(number))(point)
        # One derivative in two orders of the sums.
        np.testing.assert_allclose(jnp.sum(slopes * direction), along, rtol=1e-3)


def test_derivatives_are_those_of_finite_differences():
    """In the mode that neither rotates nor bounds a norm where it has a kink."""
    number, point = two_steps("QUAD"), normal(0, 3, 4)

    def along(step):
        return number(point + step * normal(7, 3, 4))

    _, slope = jax.jit(lambda: jax.jvp(along, (0.0,), (1.0,)))()
    step = 1e-2
    difference = (jax.jit(along)(step) - jax.jit(along)(-step)) / (2 * step)
    # Of second order in the step, beside a rounding of 1e-7 / step.
    np.testing.assert_allclose(slope, difference, rtol=1e-2)
