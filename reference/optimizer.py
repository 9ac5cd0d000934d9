"""What a reference optimizer is, and the few helpers that all of them share."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Leaves",
    "Optimizer",
    "State",
    "all_finite",
    "keeps_dtype",
    "map_leaves",
    "value_at",
    "zeros_like",
]

Leaves = dict[str, np.ndarray]
State = dict[str, Any]


class Optimizer(NamedTuple):
    """A pair of pure functions.

    Attributes:
        init: params -> state. A state is a flat dict of field -> (dict leaf -> array, or a number);
            its field "params" holds the point where the next gradients are to be taken.
        step: (state, gradients) -> new state. Neither argument is changed.
    """

    init: Callable[[Leaves], State]
    step: Callable[[State, Leaves], State]


def keeps_dtype(function: Callable) -> Callable:
    """Round what `function` returns to the common dtype of its array arguments.

    This matters for bfloat16 only, which NumPy turns into float32 wherever a Python number joins
    in. Arguments without a dtype, such as fractions, pass through untouched.
    """

    @functools.wraps(function)
    def rounded(*args, **kwargs):
        values = (*args, *kwargs.values())
        dtypes = [value.dtype for value in values if isinstance(value, np.ndarray | np.generic)]
        result = function(*args, **kwargs)
        return result.astype(np.result_type(*dtypes)) if dtypes else result

    return rounded


def map_leaves(function: Callable, *trees: dict) -> dict:
    """Apply `function` leaf by leaf to dicts with the same keys."""
    return {name: function(*(tree[name] for tree in trees)) for name in trees[0]}


def value_at(learning_rate: Any, count: int) -> Any:
    """Return the learning rate at step `count` (from 0) of a schedule or of a plain number."""
    return learning_rate(count) if callable(learning_rate) else learning_rate


def all_finite(gradients: Leaves) -> bool:
    """Say whether every entry of every leaf is finite."""
    return all(bool(np.all(np.isfinite(gradient))) for gradient in gradients.values())


def zeros_like(params: Leaves) -> Leaves:
    """Return zeros of the shapes and dtypes of `params`."""
    return map_leaves(np.zeros_like, params)
