"""Where the preconditioner of a tree is kept in a state.

The stacks of a kind of tensors are kept at the first leaf that has one of it. In the structure of
the parameters they are what Optax takes for a part of the state that belongs to parameters.
"""

from collections.abc import Sequence
from typing import Any

import jax

from rollfast.psgd.layout import Bucket, LeafLayout, buckets
from rollfast.psgd.preconditioner import Preconditioner
from rollfast.typing import PyTree

__all__ = ["hung", "taken_down"]


def hung(
    tree: PyTree, layouts: list[LeafLayout], preconditioner: Preconditioner
) -> dict[str, PyTree]:
    """Return the fields of a state.

    Args:
        tree: Parameters or gradients.
        layouts: Of its leaves.
        preconditioner: Of the whole tree.
    """
    structure = jax.tree.structure(tree)
    owners = [bucket.entries[0][0] for bucket in buckets(layouts)]

    def hang(stacks: Sequence[Any]) -> PyTree:
        leaves: list[list[Any]] = [[] for _ in layouts]
        for owner, axes in zip(owners, stacks, strict=True):
            leaves[owner].append(axes)
        return structure.unflatten(leaves)

    estimates = preconditioner.estimates
    return {
        "Qs_preconditioners": hang(preconditioner.factors),
        "Ls_lipschitz": None if estimates is None else hang(estimates),
        "Ps_preconditioners": hang(preconditioner.normals),
    }


def taken_down(updates: PyTree, layouts: list[LeafLayout], state: Any) -> Preconditioner:
    """Return the preconditioner of a state; the first of every kind come in the order of leaves.

    Args:
        updates: Gradients.
        layouts: Of their leaves.
        state: With the fields that `hung` returns.

    Raises:
        ValueError: The factors are not those of leaves of these shapes.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(updates)
    try:
        factors = structure.flatten_up_to(state.Qs_preconditioners)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"updates with the structure {structure} are not allowed; the factors in the state "
            "are those of another tree."
        ) from error
    wanted: list[list[list[tuple[int, ...]]]] = [[] for _ in layouts]
    for bucket in buckets(layouts):
        wanted[bucket.entries[0][0]].append(_shapes(bucket))
    for (path, leaf), needed, found in zip(paths, wanted, factors, strict=True):
        if needed != [[tuple(factor.shape) for factor in axes] for axes in found]:
            raise ValueError(
                f"updates{jax.tree_util.keystr(path)} of shape {leaf.shape} is not allowed; from "
                "there on the factors in the state are those of leaves of other shapes."
            )

    def kinds(tree: PyTree) -> list[Any]:
        return [axes for leaf in structure.flatten_up_to(tree) for axes in leaf]

    estimates = state.Ls_lipschitz
    return Preconditioner(
        kinds(state.Qs_preconditioners),
        kinds(state.Ps_preconditioners),
        None if estimates is None else kinds(estimates),
    )


def _shapes(bucket: Bucket) -> list[tuple[int, ...]]:
    """Return the shapes of the stacks of factors of a bucket, one for every axis."""
    count = len(bucket.numbers)
    return [
        (count, size, size) if dense else (count, size)
        for size, dense in zip(bucket.item.shape, bucket.item.dense, strict=True)
    ]
