"""Which leaves are matrices, and along which axes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import optax

from rollfast.typing import Array, PyTree, is_absent

__all__ = [
    "DimensionNumbers",
    "PrismDimensionNumbers",
    "masked_specification",
    "partition_labels",
    "resolve",
]


class PrismDimensionNumbers(NamedTuple):
    """Which axes of a weight make the rows and the columns of the matrix that PRISM shapes.

    Axes named in neither are batch axes: each of their entries is a matrix of its own.

    Attributes:
        reduction_axis: Axis or axes flattened into the rows (what the layer sums over).
        output_axis: Axis or axes flattened into the columns.
    """

    reduction_axis: Sequence[int] | int = 0
    output_axis: Sequence[int] | int = 1

    def axes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return (reduction axes, output axes) as tuples."""
        return _as_tuple(self.reduction_axis), _as_tuple(self.output_axis)


DimensionNumbers = PrismDimensionNumbers | PyTree | Callable[[PyTree], PyTree] | None


def _as_tuple(axes: Sequence[int] | int) -> tuple[int, ...]:
    return (axes,) if isinstance(axes, int) else tuple(axes)


def resolve(specification: DimensionNumbers, tree: PyTree) -> list[PrismDimensionNumbers | None]:
    """Return the dimension numbers of every leaf of a tree, in the order of its leaves.

    Args:
        specification: None (matrices are the leaves of two axes), one specification for every
            leaf, a tree of specifications and None, or a function of the tree that returns one.
        tree: Parameters or gradients; None and masked nodes have no entry in the result.

    Raises:
        ValueError: A specification is of another kind, or does not fit the axes of its leaf.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_absent)
    if not leaves:
        return []
    if callable(specification):
        specification = specification(tree)
    if specification is None:
        found: list[Any] = [
            PrismDimensionNumbers() if _ndim(leaf) == 2 else None for _, leaf in leaves
        ]
    elif isinstance(specification, PrismDimensionNumbers):
        found = [specification] * len(leaves)
    else:
        try:
            found = structure.flatten_up_to(specification)
        except ValueError as error:
            names = [jax.tree_util.keystr(path) for path, _ in leaves]
            raise ValueError(
                f"dimension numbers must be a tree like the parameters, whose leaves are {names}, "
                f"with PrismDimensionNumbers or None for each; {error}"
            ) from error
    return [
        _checked(numbers, jax.tree_util.keystr(path), leaf)
        for numbers, (path, leaf) in zip(found, leaves, strict=True)
        if not is_absent(leaf)
    ]


def _ndim(leaf: Array | None) -> int:
    return getattr(leaf, "ndim", 0)


def _checked(numbers: object, name: str, leaf: Array) -> PrismDimensionNumbers | None:
    if is_absent(numbers):
        return None
    if not isinstance(numbers, PrismDimensionNumbers):
        raise ValueError(
            f"dimension numbers of leaf {name} are {numbers!r}; "
            "allowed are PrismDimensionNumbers, or None for the Adam branch."
        )
    used = [axis for axes in numbers.axes() for axis in axes]
    if not all(numbers.axes()):
        raise ValueError(f"{numbers} of leaf {name} leave rows or columns without an axis.")
    if any(not -leaf.ndim <= axis < leaf.ndim for axis in used):
        raise ValueError(
            f"{numbers} do not fit leaf {name} of shape {leaf.shape}; "
            f"its axes are {-leaf.ndim} to {leaf.ndim - 1}."
        )
    if len({axis % leaf.ndim for axis in used}) != len(used):
        raise ValueError(f"{numbers} of leaf {name} name an axis twice; name each axis once.")
    return numbers


def partition_labels(specification: DimensionNumbers, tree: PyTree) -> PyTree:
    """Return a tree of `"prism"` and `"adam"`, which branch of `prism` updates each leaf.

    Args:
        specification: As for `resolve`.
        tree: Parameters.
    """
    structure = jax.tree.structure(tree)
    found = resolve(specification, tree)
    return structure.unflatten(["adam" if numbers is None else "prism" for numbers in found])


def masked_specification(specification: DimensionNumbers) -> Callable[[PyTree], PyTree]:
    """Return a specification for the masked trees that `optax.partition` hands to a branch.

    A tree given for all parameters is cut where the branch has no leaf.
    """

    def specify(tree: PyTree) -> PyTree:
        if not jax.tree.leaves(tree):
            return tree
        if specification is None or isinstance(specification, PrismDimensionNumbers):
            numbers = resolve(specification, tree)
            return jax.tree.structure(tree).unflatten(numbers)
        whole = specification(tree) if callable(specification) else specification
        return jax.tree.map(
            lambda leaf, numbers: leaf if isinstance(leaf, optax.MaskedNode) else numbers,
            tree,
            whole,
            is_leaf=is_absent,
        )

    return specify
