"""Options of the optimizers that precondition a whole tree as one vector."""

from dataclasses import dataclass

import jax.numpy as jnp

from rollfast import guards
from rollfast.options import check_choice, check_flag, check_interval, check_positive_or_none
from rollfast.psgd.flat import ORDERS, StepRule
from rollfast.psgd.moments import MOMENTS
from rollfast.psgd.pair import Pair
from rollfast.typing import Array, Number, ScalarOrSchedule, scalar_dtype

__all__ = ["DEFAULT_SEED", "FlatFitting", "FlatLimits"]

# Seed of the original package where none is given.
DEFAULT_SEED = 36


@dataclass(frozen=True)
class FlatFitting:
    """How the preconditioner is fitted."""

    order: str
    learning_rate: ScalarOrSchedule
    beta: Number
    damping: Number | None
    init_scale: Number | None
    moment: str
    whiten_grad: bool
    update_first: bool

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice("step_normalizer_order", self.order, ORDERS)
        check_choice("precond_init_moment", self.moment, MOMENTS)
        check_interval("precond_lr", self.learning_rate, 0, 2, schedule=True)
        check_interval("beta_lipschitz", self.beta, 0, 1, open_high=True)
        check_interval("damping", self.damping, 0, float("inf"), none=True)
        check_positive_or_none("precond_init_scale", self.init_scale)
        check_flag("whiten_grad", self.whiten_grad)
        check_flag("update_preconditioner_first", self.update_first)

    def rule(self, count: Array) -> StepRule:
        """Return how far a factor is moved in a step.

        Args:
            count: Steps taken before this one.
        """
        rate = self.learning_rate
        rate = jnp.asarray(rate(count) if callable(rate) else rate, scalar_dtype())
        return StepRule(rate, self.beta, self.order)

    def starting_scale(self, pair: Pair) -> Array:
        """Return the scale of Q that suits a first pair."""
        moment = MOMENTS[self.moment]
        return moment.of_tensors(pair.probes, pair.gradients, self.damping).astype(scalar_dtype())


@dataclass(frozen=True)
class FlatLimits:
    """Limits on the direction, over all leaves together."""

    amplitudes: tuple[Number, Number] | None
    max_norm: Number | None

    def __post_init__(self) -> None:
        """Check the options."""
        check_positive_or_none("update_global_norm_clip", self.max_norm, infinite=True)

    def limited(self, direction: Array) -> Array:
        """Return the direction within the limits."""
        if self.amplitudes is not None:
            direction = guards.clip_by_global_rms([direction], *self.amplitudes)[0]
        if self.max_norm is not None:
            direction = guards.clip_by_global_norm([direction], self.max_norm)[0]
        return direction
