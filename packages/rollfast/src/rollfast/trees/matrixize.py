"""A tensor seen as a batch of matrices, and back."""

import math
from collections.abc import Sequence

from rollfast.typing import Array

__all__ = ["from_matrices", "to_matrices"]


def _split_axes(
    ndim: int, reduction_axes: Sequence[int], output_axes: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return (batch, reduction, output) axes as numbers from 0."""
    for name, axes in (("reduction", reduction_axes), ("output", output_axes)):
        if not axes or any(not -ndim <= axis < ndim for axis in axes):
            raise ValueError(
                f"{name} axes {tuple(axes)} do not fit a tensor of {ndim} axes; "
                f"give at least one, each in [{-ndim}, {ndim - 1}]."
            )
    reduction = tuple(axis % ndim for axis in reduction_axes)
    output = tuple(axis % ndim for axis in output_axes)
    used = reduction + output
    if len(set(used)) != len(used):
        raise ValueError(
            f"reduction axes {tuple(reduction_axes)} and output axes {tuple(output_axes)} "
            f"of a tensor of {ndim} axes share or repeat an axis; name each axis once."
        )
    batch = tuple(axis for axis in range(ndim) if axis not in used)
    return batch, reduction, output


def to_matrices(tensor: Array, reduction_axes: Sequence[int], output_axes: Sequence[int]) -> Array:
    """Return a tensor as matrices of reduction by output axes.

    Args:
        tensor: Any shape of two axes or more.
        reduction_axes: Axes flattened, in this order, into the rows.
        output_axes: Axes flattened, in this order, into the columns.

    Returns:
        (batch, rows, columns); axes named in neither list make the batch, in their order.

    Raises:
        ValueError: An axis is out of range, named twice, or a list is empty.
    """
    batch, reduction, output = _split_axes(tensor.ndim, reduction_axes, output_axes)
    shape = tuple(
        math.prod(tensor.shape[axis] for axis in axes) for axes in (batch, reduction, output)
    )
    return tensor.transpose(batch + reduction + output).reshape(shape)


def from_matrices(
    matrices: Array,
    shape: Sequence[int],
    reduction_axes: Sequence[int],
    output_axes: Sequence[int],
) -> Array:
    """Undo `to_matrices`.

    Args:
        matrices: (batch, rows, columns).
        shape: Shape of the tensor that they came from.
        reduction_axes: As given to `to_matrices`.
        output_axes: As given to `to_matrices`.

    Returns:
        A tensor of `shape`.
    """
    batch, reduction, output = _split_axes(len(shape), reduction_axes, output_axes)
    order = batch + reduction + output
    inverse = sorted(range(len(shape)), key=order.__getitem__)
    return matrices.reshape([shape[axis] for axis in order]).transpose(inverse)
