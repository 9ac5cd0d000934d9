"""Numbers that an optimizer is built with inside of a step, as `optax.inject_hyperparams` does."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
import optax

from rollfast.trees.sharding import is_on_explicit_axes, on_automatic_axes
from rollfast.typing import Array, PyTree

__all__ = ["RebuiltUpdate", "rebuilt_on_automatic_axes"]

Options = ParamSpec("Options")


@dataclass(frozen=True, eq=False)
class RebuiltUpdate:
    """The update of an optimizer that is built again wherever it is used.

    Attributes:
        build: From the numbers to the optimizer.
        numbers: By their places among the options.
        built_first: The update of the optimizer as it was built first.
    """

    build: Callable[[dict[int, Array]], optax.GradientTransformationExtraArgs]
    numbers: dict[int, Array]
    built_first: Callable[..., tuple[PyTree, PyTree]]

    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree | None = None, **extra_args: object
    ) -> tuple[PyTree, PyTree]:
        """Return (updates, state)."""

        def rebuilt(
            numbers: dict[int, Array], given: PyTree, extra: PyTree
        ) -> tuple[PyTree, PyTree]:
            return self.build(numbers).update(*given, **extra)

        arguments = self.numbers, (updates, state, params), extra_args
        return on_automatic_axes(rebuilt, arguments, like=(updates, state))


def rebuilt_on_automatic_axes(
    build: Callable[Options, optax.GradientTransformationExtraArgs],
) -> Callable[Options, optax.GradientTransformationExtraArgs]:
    """Let an optimizer be built with numbers that are on explicit axes of a mesh.

    Such a number stays on its axes, and goes with nothing that is not, unless it is an argument of
    what is done on others. So the update builds the optimizer once more there.

    Args:
        build: From options to an optimizer.
    """

    @functools.wraps(build)
    def built(
        *positional: Options.args, **named: Options.kwargs
    ) -> optax.GradientTransformationExtraArgs:
        optimizer = build(*positional, **named)
        leaves, structure = jax.tree.flatten((positional, named))
        numbers = {place: leaf for place, leaf in enumerate(leaves) if _is_number(leaf)}
        if not numbers:
            return optimizer

        def again(numbers: dict[int, Array]) -> optax.GradientTransformationExtraArgs:
            given = [numbers.get(place, leaf) for place, leaf in enumerate(leaves)]
            positional, named = jax.tree.unflatten(structure, given)
            return build(*positional, **named)

        update = RebuiltUpdate(again, numbers, optimizer.update)
        return optax.GradientTransformationExtraArgs(optimizer.init, update)

    return built


def _is_number(leaf: Any) -> bool:
    # Flags and keys are no numbers to calculate with; a flag must not even be traced.
    return is_on_explicit_axes(leaf) and leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.number)
