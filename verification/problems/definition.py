"""What an optimization problem is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Parameters = dict[str, np.ndarray]
DimensionNumbers = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """A loss to minimise, with gradients in float64 whatever the dtype of the parameters.

    Attributes:
        name: Name in the catalogue.
        seed: Fixes the initial parameters and the mini-batches; the data never depend on it.
        initial_parameters: () -> parameters, a fresh copy at each call.
        gradients: (parameters, step) -> gradients on the mini-batch of that step, step from 0.
            For a complex leaf x + iy it is df/dx + i df/dy, the direction of steepest ascent.
        loss: parameters -> loss over all training data (not over one mini-batch).
        accuracy: parameters -> fraction correct on held-out data; None if nothing is classified.
        dimension_numbers: Leaf -> (reduction axes, output axes) of the matrix it is, or None.
        learning_rate: A rate at which plain gradient descent is stable.
        optimum: The exact minimiser where it is known.
    """

    name: str
    seed: int
    initial_parameters: Callable[[], Parameters]
    gradients: Callable[[Mapping[str, Any], int], Parameters]
    loss: Callable[[Mapping[str, Any]], float]
    dimension_numbers: Mapping[str, DimensionNumbers | None]
    learning_rate: float
    accuracy: Callable[[Mapping[str, Any]], float] | None = field(default=None)
    optimum: Parameters | None = field(default=None)


def widened(parameters: Mapping[str, Any]) -> Parameters:
    """The parameters as float64 or complex128 arrays, from any array type."""
    arrays = {leaf: np.asarray(value) for leaf, value in parameters.items()}
    return {
        leaf: value.astype(np.complex128 if np.iscomplexobj(value) else np.float64, copy=False)
        for leaf, value in arrays.items()
    }
