"""Which tensors get a preconditioner of their own, and which of their axes a dense factor."""

import itertools
import math

__all__ = ["block_slices", "dense_axes", "matrix_view", "view_shape"]

_MEMORY_SAVE_MODES = (None, "one_diag", "all_diag")


def view_shape(shape: tuple[int, ...], merge_limit: int | None = None) -> tuple[int, ...]:
    """Return the shape as which a tensor is preconditioned.

    Axes of size 1 are dropped; then, from left to right, an axis is merged into the one before it
    as long as the product of both is at most the limit.

    Args:
        shape: the shape of the tensor.
        merge_limit: the largest size of a merged axis; None merges none.

    Returns:
        A shape with the same number of entries; (1,) for a single entry.

    Source: psgd_torch squeezes its tensors; merging: distributed_kron; no paper.
    """
    view: list[int] = []
    for size in shape:
        if size == 1:
            continue
        if view and merge_limit is not None and view[-1] * size <= merge_limit:
            view[-1] *= size
        else:
            view.append(size)
    return tuple(view) or (1,)


def matrix_view(shape: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
    """Return the matrix as which a tensor has the smallest preconditioner.

    Of all orders of the axes, and all places to split an order into those of the rows and those of
    the columns, the one that minimises rows^2 + columns^2; of equals the first, the orders taken
    lexicographically and the places from the left. Fewer than three axes keep their order.

    Args:
        shape: the shape of the tensor, without axes of one entry.

    Returns:
        The order of the axes, the number of rows and that of columns; a vector is one row.

    Source: psgd_torch, `preconditioned_stochastic_gradient_descent.py`, `matrixizer`; no paper.
    """
    if len(shape) < 3:
        rows, columns = (1, 1, *shape)[-2:]
        return tuple(range(len(shape))), rows, columns
    views = []
    for order in itertools.permutations(range(len(shape))):
        for at in range(1, len(shape)):
            rows, columns = (
                math.prod(shape[axis] for axis in side) for side in (order[:at], order[at:])
            )
            views.append((order, rows, columns))
    # The first of equals is what `min` returns.
    return min(views, key=lambda view: view[1] ** 2 + view[2] ** 2)


def block_slices(
    shape: tuple[int, ...], block_size: int | None = None
) -> list[tuple[tuple[int, int], ...]]:
    """Return the blocks into which a tensor is cut.

    An axis of n > b entries is cut into ceil(n / b) pieces: b entries each, the last what is left.

    Args:
        shape: the shape of the tensor.
        block_size: b; None cuts nothing.

    Returns:
        The blocks in C order, each a tuple of (start, stop) per axis.

    Source: distributed_kron; no paper.
    """
    blocks: list[tuple[tuple[int, int], ...]] = [()]
    for size in shape:
        length = size if block_size is None else min(size, block_size)
        starts = range(0, size, length) if size else [0]
        pieces = [(start, min(start + length, size)) for start in starts]
        blocks = [(*block, piece) for block in blocks for piece in pieces]
    return blocks


def dense_axes(
    shape: tuple[int, ...],
    max_size: float,
    max_skew: float,
    min_ndim: int,
    memory_save_mode: str | None,
) -> tuple[bool, ...]:
    """Say which axes get a dense factor; the others get a diagonal one.

    Axis i of n_i entries is diagonal if n_i <= 1, n_i > max_size, n_i^2 > max_skew N, the tensor
    has fewer than min_ndim axes, or memory is saved on it.

    Args:
        shape: (n_1, ..., n_k), of N entries.
        max_size: the largest dense factor.
        max_skew: the largest number of entries of a dense factor in relation to N.
        min_ndim: the least number of axes of a tensor with a dense factor.
        memory_save_mode: None; "one_diag": the largest axis is diagonal, the last of equals; or
            "all_diag": every axis is.

    Returns:
        One bool per axis.

    Raises:
        ValueError: if the mode is none of these.

    Source: psgd_torch, `init_kron`; memory modes: psgd_jax; no paper.
    """
    if memory_save_mode not in _MEMORY_SAVE_MODES:
        allowed = ", ".join(repr(known) for known in _MEMORY_SAVE_MODES)
        raise ValueError(f"memory_save_mode is {memory_save_mode!r}; allowed are {allowed}")
    total = math.prod(shape)
    dense = [
        1 < size <= max_size and size**2 <= max_skew * total and len(shape) >= min_ndim
        for size in shape
    ]
    if memory_save_mode == "all_diag":
        dense = [False] * len(shape)
    elif memory_save_mode == "one_diag":
        dense[max(range(len(shape)), key=lambda axis: (shape[axis], axis))] = False
    return tuple(dense)
