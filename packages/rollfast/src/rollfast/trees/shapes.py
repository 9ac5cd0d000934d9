"""Trees that must have the same shapes, leaf by leaf."""

from typing import Any

import jax
import jax.numpy as jnp

from rollfast.typing import PyTree

__all__ = ["check_shapes"]

Leaves = list[tuple[tuple[Any, ...], Any]]


def check_shapes(name: str, tree: PyTree, like: PyTree) -> None:
    """Refuse a tree with a leaf that would be broadcast against its counterpart, or fit nowhere.

    Args:
        name: What the tree is called in `update`.
        tree: Arrays.
        like: Arrays of the shapes that are wanted, such as what the state keeps for them.

    Raises:
        ValueError: A leaf has another shape than its counterpart, or not every leaf has one.
    """
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    counterparts = jax.tree_util.tree_flatten_with_path(like)[0]
    if len(leaves) != len(counterparts):
        lacking, extra = _first_beside(counterparts, leaves), _first_beside(leaves, counterparts)
        odd = f"{extra} is none of them" if lacking is None else f"{lacking} is not there"
        raise ValueError(
            f"{name} with {len(leaves)} leaves is not allowed; it must have {len(counterparts)}, "
            f"and {odd}."
        )
    for (path, leaf), (_, counterpart) in zip(leaves, counterparts, strict=True):
        if jnp.shape(leaf) != jnp.shape(counterpart):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} of shape {jnp.shape(leaf)} is not allowed; "
                f"it must be {jnp.shape(counterpart)}."
            )


def _first_beside(leaves: Leaves, others: Leaves) -> str | None:
    """Return the path of the first leaf that is none of some others."""
    known = {path for path, _ in others}
    first = next((path for path, _ in leaves if path not in known), None)
    return None if first is None else jax.tree_util.keystr(first) or "an array"
