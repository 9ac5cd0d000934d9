"""Calling a kernel: arrays and numbers by position are traced, everything else is fixed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.interpreter import compiled

__all__ = ["Caller", "cast", "fits"]

COMPLEX_OF = {"float64": "complex128", "float32": "complex64", "bfloat16": None}


def is_array(value: Any) -> bool:
    """Say whether an argument is data, as opposed to an option."""
    return isinstance(value, np.ndarray)


def dtype_for(array: np.ndarray, dtype: str) -> Any:
    """Return the dtype that stands for `dtype` in an array, or None if there is none."""
    import ml_dtypes

    if array.dtype != ml_dtypes.bfloat16 and not np.issubdtype(array.dtype, np.inexact):
        return array.dtype
    if np.iscomplexobj(array):
        return COMPLEX_OF[dtype] and np.dtype(COMPLEX_OF[dtype])
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def fits(array: np.ndarray, dtype: str) -> bool:
    """Say whether an array can be rounded to a dtype without leaving its normal range."""
    import ml_dtypes

    target = dtype_for(array, dtype)
    if target is None:
        return False
    largest = float(np.max(np.abs(array), initial=0.0))
    limits = ml_dtypes.finfo(dtype)
    return largest == 0.0 or float(limits.tiny) <= largest <= float(limits.max)


def cast(tree: Any, dtype: str) -> Any:
    """Round every array of nested arguments to a dtype."""
    import jax

    return jax.tree.map(
        lambda leaf: leaf.astype(dtype_for(leaf, dtype)) if is_array(leaf) else leaf, tree
    )


def _is_number(path: tuple[Any, ...], leaf: Any) -> bool:
    """Say whether a leaf is a float given by position, traced so that it compiles nothing anew."""
    return len(path) == 2 and path[0].idx == 0 and isinstance(leaf, float)


class Caller:
    """Calls production functions jitted, compiling once for each set of options and shapes."""

    def __init__(self):
        """Start without compiled functions."""
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def __call__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """Return `function(*arguments, **options)` as NumPy arrays."""
        import jax

        leaves, structure = jax.tree.flatten((arguments, options))
        paths = jax.tree_util.tree_flatten_with_path((arguments, options))[0]
        traced = [is_array(leaf) or _is_number(path, leaf) for path, leaf in paths]
        fixed = tuple(None if data else leaf for leaf, data in zip(leaves, traced, strict=True))
        key = (function, structure, fixed)
        if key not in self._compiled:

            def rebuilt(arrays: list[Any]) -> Any:
                given = iter(arrays)
                filled = [
                    next(given) if data else leaf for leaf, data in zip(fixed, traced, strict=True)
                ]
                positional, named = structure.unflatten(filled)
                return function(*positional, **named)

            self._compiled[key] = compiled(rebuilt)
        arrays = [leaf for leaf, data in zip(leaves, traced, strict=True) if data]
        return jax.tree.map(np.asarray, self._compiled[key](arrays))
