"""Steps of `scale_by_kron`, compiled once for all tests that use the same options."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rollfast import scale_by_kron

from ..helpers import normal


class Compiled(NamedTuple):
    """An optimizer whose update is jitted."""

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


@functools.cache
def built(**options: Any) -> Compiled:
    optimizer = scale_by_kron(**options)
    return Compiled(optimizer.init, jax.jit(optimizer.update))


def like(tree: Any, step: int) -> Any:
    """Gradients for a tree, others at each step and at each leaf."""
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten(
        normal(100 * step + index, *leaf.shape, dtype=leaf.dtype)
        for index, leaf in enumerate(leaves)
    )


def taken(optimizer: Compiled, params: Any, gradients: Iterable[Any], **extra: Any) -> tuple:
    """Take one step for each of some gradients; return the last (updates, state)."""
    updates, state = None, optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, **extra)
    return updates, state


def moved(before: Any, after: Any) -> bool:
    """Say whether the factors of two states differ."""
    pairs = zip(
        jax.tree.leaves(before.Qs_preconditioners),
        jax.tree.leaves(after.Qs_preconditioners),
        strict=True,
    )
    return any(bool(np.any(np.asarray(old != new))) for old, new in pairs)


def zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)
