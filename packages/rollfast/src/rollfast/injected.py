"""Numbers that an optimizer is built with inside of a step, as `optax.inject_hyperparams` does."""

import functools
from collections.abc import Callable
from typing import ParamSpec

import jax
import optax

from rollfast.trees.sharding import is_on_explicit_axes, on_automatic_axes
from rollfast.typing import PyTree

__all__ = ["rebuilt_on_automatic_axes"]

Options = ParamSpec("Options")


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
        if not any(map(is_on_explicit_axes, jax.tree.leaves((positional, named)))):
            return optimizer

        def update(
            updates: PyTree, state: PyTree, params: PyTree | None = None, **extra_args: object
        ) -> tuple[PyTree, PyTree]:
            def rebuilt(options: PyTree, given: PyTree, extra: PyTree) -> tuple[PyTree, PyTree]:
                positional, named = options
                return build(*positional, **named).update(*given, **extra)

            arguments = (positional, named), (updates, state, params), extra_args
            return on_automatic_axes(rebuilt, arguments, like=(updates, state))

        return optax.GradientTransformationExtraArgs(optimizer.init, update)

    return built
