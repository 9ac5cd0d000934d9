"""A tensor seen as a batch of matrices, and back."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["from_matrices", "to_matrices"]

Axes = int | Sequence[int]


def _split_axes(ndim: int, reduction_axes: Axes, output_axes: Axes) -> tuple[tuple[int, ...], ...]:
    """Return the batch, reduction and output axes, each as non-negative numbers."""
    groups = []
    for name, axes in (("reduction_axes", reduction_axes), ("output_axes", output_axes)):
        axes = (axes,) if isinstance(axes, int) else tuple(axes)
        if any(not -ndim <= axis < ndim for axis in axes):
            raise ValueError(f"{name} is {axes}; a tensor of {ndim} axes has -{ndim}..{ndim - 1}")
        groups.append(tuple(axis % ndim for axis in axes))
    chosen = groups[0] + groups[1]
    if len(set(chosen)) != len(chosen):
        raise ValueError(
            f"reduction_axes {groups[0]} and output_axes {groups[1]} must not share or repeat axes"
        )
    batch_axes = tuple(axis for axis in range(ndim) if axis not in chosen)
    return batch_axes, *groups


def to_matrices(tensor: np.ndarray, reduction_axes: Axes, output_axes: Axes) -> np.ndarray:
    """Flatten a tensor to a batch of matrices.

    X[b, r, o] = T[...], with b, r and o running over the batch, reduction and output axes, the
    last axis of each group fastest. Axes named in neither group are batch axes, in their order.

    Args:
        tensor: T, any shape.
        reduction_axes: the axes that become rows, in the order given; negative ones count back.
        output_axes: the axes that become columns, in the order given.

    Returns:
        X, shape (batch, rows, columns).

    Raises:
        ValueError: if an axis does not exist or is named twice.

    Source: a convention (optax.contrib.muon has the same); no paper.
    """
    tensor = np.asarray(tensor)
    groups = _split_axes(tensor.ndim, reduction_axes, output_axes)
    sizes = [math.prod(tensor.shape[axis] for axis in axes) for axes in groups]
    return tensor.transpose(sum(groups, ())).reshape(sizes)


def from_matrices(
    matrices: np.ndarray, shape: Sequence[int], reduction_axes: Axes, output_axes: Axes
) -> np.ndarray:
    """Undo `to_matrices`.

    Args:
        matrices: X, shape (batch, rows, columns).
        shape: the shape of the tensor.
        reduction_axes: as given to `to_matrices`.
        output_axes: as given to `to_matrices`.

    Returns:
        T, of shape `shape`.

    Raises:
        ValueError: if an axis does not exist or is named twice.

    Source: the inverse of a convention; no paper.
    """
    order = sum(_split_axes(len(shape), reduction_axes, output_axes), ())
    permuted = matrices.reshape([shape[axis] for axis in order])
    return permuted.transpose(np.argsort(order))
