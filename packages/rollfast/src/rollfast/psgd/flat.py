"""How a preconditioner of one vector is moved: what its step is divided by."""

from typing import NamedTuple

import jax.numpy as jnp

from rollfast.psgd.factor import lipschitz
from rollfast.typing import Array, DTypeLike, Number

__all__ = ["ORDERS", "StepRule"]

# What the step is divided by: a running estimate of the smoothness of the criterion, its present
# value alone, or the size of the gradient.
ORDERS = ("tracked", "2nd", "1st")


class StepRule(NamedTuple):
    """How far a factor is moved.

    Attributes:
        learning_rate: Numerator of the step μ.
        beta: Decay of the Lipschitz estimate.
        order: One of `ORDERS`.
    """

    learning_rate: Number
    beta: Number = 0.9
    order: str = "tracked"

    def in_dtype(self, dtype: DTypeLike) -> "StepRule":
        """Return the rule with its numbers in a dtype, so that none of them raises another."""
        return self._replace(
            learning_rate=jnp.asarray(self.learning_rate, dtype),
            beta=jnp.asarray(self.beta, dtype),
        )

    def divisor(self, previous: Array, size: Array) -> Array:
        """Return L of a step.

        Args:
            previous: L of the step before.
            size: What the step would be divided by if nothing were tracked.
        """
        return lipschitz(previous, size, self.beta) if self.order == "tracked" else size

    def step(self, divisor: Array) -> Array:
        """Return μ, zero where there is nothing to divide by.

        Args:
            divisor: L.
        """
        return jnp.where(divisor > 0, self.learning_rate / jnp.where(divisor > 0, divisor, 1), 0)
