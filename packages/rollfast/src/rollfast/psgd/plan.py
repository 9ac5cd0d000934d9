"""How a tensor is cut into the parts that one Kronecker product preconditions each.

Shapes only: nothing here is traced.
"""

import itertools
import math
from collections.abc import Sequence

__all__ = ["MEMORY_SAVE_MODES", "block_slices", "dense_axes", "matrix_view", "view_shape"]

MEMORY_SAVE_MODES = (None, "one_diag", "all_diag")


def view_shape(shape: Sequence[int], merge_limit: int | None = None) -> tuple[int, ...]:
    """Return a shape without axes of size one, small neighbours merged.

    Args:
        shape: Shape of a tensor.
        merge_limit: Largest product of axes that are merged, from left to right; None for none.

    Returns:
        At least one axis; (1,) of a scalar.
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


def matrix_view(shape: Sequence[int]) -> tuple[tuple[int, ...], int, int]:
    """Return the matrix as which a tensor has the smallest pair of dense factors.

    Args:
        shape: Shape of a tensor, without axes of size one.

    Returns:
        (order of the axes, rows, columns), of all orders and splits the first with the least
        rows² + columns². A tensor of two axes or fewer stays as it is; a vector is one row.

    Source: psgd_torch a8616f1, `matrixizer` of the earlier module.
    """
    axes = range(len(shape))
    if len(shape) < 3:
        rows, columns = (1, 1, *shape)[-2:]
        return tuple(axes), rows, columns
    views = [
        (order, math.prod(shape[a] for a in order[:at]), math.prod(shape[a] for a in order[at:]))
        for order in itertools.permutations(axes)
        for at in range(1, len(shape))
    ]
    return min(views, key=lambda view: view[1] ** 2 + view[2] ** 2)


def block_slices(
    shape: Sequence[int], block_size: int | None = None
) -> list[tuple[tuple[int, int], ...]]:
    """Return the blocks of a tensor whose long axes are cut in pieces.

    Args:
        shape: Shape of a tensor.
        block_size: Longest piece of an axis; None for no cutting. The last piece is shorter
            where the size is no multiple.

    Returns:
        For every block (start, stop) on every axis, the last axis running fastest.
    """
    pieces = []
    for size in shape:
        length = size if block_size is None else min(block_size, size)
        starts = range(0, size, max(length, 1))
        pieces.append([(start, min(start + length, size)) for start in starts])
    return list(itertools.product(*pieces))


def dense_axes(
    shape: Sequence[int],
    max_size: float,
    max_skew: float,
    min_ndim: int,
    memory_save_mode: str | None,
) -> tuple[bool, ...]:
    """Say which axes get a dense factor; the others get a diagonal one.

    An axis of size n in a tensor of N entries is diagonal if n ≤ 1, n > max_size,
    n² > max_skew N, the tensor has fewer than `min_ndim` axes, or memory is saved on it.

    Args:
        shape: Shape of the tensor, without axes of size one.
        max_size: Largest dense factor.
        max_skew: Largest ratio of n² to N.
        min_ndim: Least number of axes.
        memory_save_mode: None, `one_diag` (the largest axis, the last of equals) or `all_diag`.

    Returns:
        One boolean for every axis.

    Source: psgd_torch a8616f1, `init_kron`; rollfast 0.1.0, `_init_Q_exprs`.
    """
    total = math.prod(shape)
    largest = max(range(len(shape)), key=lambda axis: (shape[axis], axis))
    saved = {
        None: (),
        "one_diag": (largest,),
        "all_diag": range(len(shape)),
    }[memory_save_mode]
    return tuple(
        bool(
            1 < size <= max_size
            and size**2 <= max_skew * total
            and len(shape) >= min_ndim
            and axis not in saved
        )
        for axis, size in enumerate(shape)
    )
