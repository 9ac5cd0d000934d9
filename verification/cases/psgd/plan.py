"""Checks of how tensors are cut, and of which axes get dense factors."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from verification.case import Case, Sample

__all__ = ["CHECKS"]

NAME = "psgd.plan"
SHAPES = (
    (3, 4, 1, 2),
    (),
    (1,),
    (1, 1),
    (7,),
    (4, 4),
    (4, 1, 4),
    (12, 3),
    (3, 12),
    (2, 3, 4),
    (3, 3, 2, 4),
    (8, 2, 2, 8),
    (1, 5, 1),
)


def _as_array(function: Callable[..., Any], *arguments: Any, **options: Any) -> np.ndarray:
    return np.asarray(function(*arguments, **options))


def _as_signs(function: Callable[..., Any], *arguments: Any, **options: Any) -> np.ndarray:
    """Return 1 for a dense axis and -1 for a diagonal one."""
    return np.where(function(*arguments, **options), 1.0, -1.0)


def _views(rng: np.random.Generator) -> Iterator[Sample]:
    del rng
    for limit in (12, None, 6, 8, 24):
        for shape in SHAPES:
            yield Sample(f"{shape} up to {limit}", (shape,), {"merge_limit": limit})


def _viewed(rng: np.random.Generator) -> Iterator[Sample]:
    del rng
    # Among them pairs of equals: of orders, and of places to split.
    shapes: tuple[tuple[int, ...], ...] = (
        *((2, 3, 4), (3, 3, 2, 4), (8, 2, 2, 8), (3, 3, 3), (16, 4, 64), (5, 2, 7), (2, 2, 2, 2)),
        *((), (7,), (12, 3), (3, 12)),
    )
    for shape in shapes:
        yield Sample(f"{shape}", (shape,))


def _as_row(function: Callable[..., Any], *arguments: Any) -> np.ndarray:
    order, rows, columns = function(*arguments)
    # Counted from one, so that no axis is a zero.
    return np.asarray([*(axis + 1 for axis in order), rows, columns])


def _cut(rng: np.random.Generator) -> Iterator[Sample]:
    del rng
    for size in (3, None, 1, 2, 4, 100):
        for shape in ((7, 5), (4,), (6, 3), (2, 3, 4)):
            yield Sample(f"{shape} in {size}", (shape,), {"block_size": size})


def _axes(rng: np.random.Generator) -> Iterator[Sample]:
    del rng
    for shape in ((2, 3, 4), (1,), (7,), (4, 4), (3, 12), (12, 3), (4, 4, 2), (3, 3, 3), (5, 6)):
        for mode in (None, "one_diag", "all_diag"):
            for max_size, max_skew, min_ndim in (
                (100, 1.0, 2),
                (4, 4.0, 1),
                (3, 1.0, 2),
                (100, 0.6, 3),
                (100, 0.6666666666666666, 2),
                (100, 100.0, 0),
            ):
                options: dict[str, Any] = {
                    "max_size": max_size,
                    "max_skew": max_skew,
                    "min_ndim": min_ndim,
                }
                options["memory_save_mode"] = mode
                yield Sample(
                    f"{shape} {max_size} {max_skew:g} {min_ndim} {mode}", (shape,), options
                )


CHECKS = tuple(
    Case(
        name=f"{NAME}.{function}",
        samples=samples,
        budget=0.0,
        reason="whole numbers",
        dtypes=("float64",),
        apply=apply,
    )
    for function, samples, apply in (
        ("view_shape", _views, _as_array),
        ("matrix_view", _viewed, _as_row),
        ("block_slices", _cut, _as_array),
        ("dense_axes", _axes, _as_signs),
    )
)
