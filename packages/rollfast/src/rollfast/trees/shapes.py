"""Trees that must have the same shapes, leaf by leaf."""

import jax

from rollfast.typing import PyTree

__all__ = ["check_shapes"]


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
    counterparts = jax.tree.leaves(like)
    if len(leaves) != len(counterparts):
        raise ValueError(
            f"{name} with {len(leaves)} leaves is not allowed; it must have {len(counterparts)}."
        )
    for (path, leaf), counterpart in zip(leaves, counterparts, strict=True):
        if leaf.shape != counterpart.shape:
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} of shape {leaf.shape} is not allowed; "
                f"it must be {counterpart.shape}."
            )
