"""What a preconditioner is fitted to in a step, and whether it is."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rollfast import guards
from rollfast.psgd.options import Timing
from rollfast.trees.precision import cast_like, to_accumulators
from rollfast.trees.shapes import check_shapes
from rollfast.typing import Array, PyTree

__all__ = ["Decision", "Pair", "Progress", "paired"]


class Pair(NamedTuple):
    """What the preconditioner is fitted to.

    Attributes:
        gradients: g, or Hessian-vector products, of all leaves.
        probes: v of the products, or None for whitening.
    """

    gradients: Sequence[Array]
    probes: Sequence[Array] | None


def paired(tree: PyTree, gradients: list[Array], products: PyTree, vectors: PyTree) -> Pair:
    """Return the pair of a step.

    Args:
        tree: Gradients as they are given.
        gradients: What to fit to where there are no products, in the dtype of their sums.
        products: Tree of Hessian-vector products, or None.
        vectors: Tree of the vectors that the Hessian was multiplied with, or None.

    Raises:
        ValueError: One of the two is given without the other, or with leaves of other shapes than
            the gradients have.
    """
    if (products is None) != (vectors is None):
        given, missing = ("vector", "Hvp") if products is None else ("Hvp", "vector")
        raise ValueError(f"{given} is given without {missing}; update needs both or neither.")
    if products is None:
        return Pair(gradients, None)
    structure, wide = jax.tree.structure(tree), []
    for name, given in (("Hvp", products), ("vector", vectors)):
        check_shapes(name, given, tree)
        wide.append(cast_like(to_accumulators(structure.flatten_up_to(given)), gradients))
    return Pair(*wide)


class Progress(Protocol):
    """What a state says of the steps that are behind it."""

    @property
    def count(self) -> Array:
        """Steps taken."""

    @property
    def needs_scale_init(self) -> Array:
        """Whether the scale of Q waits for a first gradient."""

    @property
    def key(self) -> Array:
        """Key of all random numbers."""


class Decision(NamedTuple):
    """What the caller says about a step.

    Attributes:
        asked: Whether the preconditioner is to move, or None.
        sound: Whether the step is taken.
        largest: Largest modulus of what the preconditioner is fitted to where it whitens; None if
            it is not known.
    """

    asked: Array | bool | None
    sound: Array | bool
    largest: Array | None = None

    def moves(
        self, timing: Timing, pair: Pair, state: Progress, axis_name: str | None = None
    ) -> Array:
        """Say whether the preconditioner moves in this step.

        While its scale is pending it moves at the first pair that is not zero, unless the caller
        says otherwise.

        Args:
            timing: When it is to move if nobody says.
            pair: What it would be fitted to.
            state: Of the optimizer, before the step.
            axis_name: Mapped axis over which gradients are sharded, or None.
        """
        pending = state.needs_scale_init
        if self.asked is None:
            asked = pending | timing.is_due(state.key, jnp.asarray(state.count))
        else:
            asked = jnp.asarray(self.asked, bool)

        def measured(leaves: Sequence[Array]) -> Array:
            return guards.largest_modulus(leaves, axis_name)

        if pair.probes is not None:
            largest = jnp.stack([measured(pair.gradients), measured(pair.probes)])
            asked = asked & jnp.all(jnp.isfinite(largest))
            tells = ~pending | jnp.all(largest > 0)
        elif self.largest is not None:
            tells = ~pending | (self.largest > 0)
        else:
            tells = jax.lax.cond(
                pending & asked,
                lambda: measured(pair.gradients) > 0,
                lambda: jnp.ones_like(pending),
            )
        return asked & tells & self.sound
