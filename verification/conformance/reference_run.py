"""The reference on recorded gradients: by itself, held, and rounded at random."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reference.optimizer import Optimizer
from verification.conformance.recording import Leaves

__all__ = ["EPSILON", "Path", "distances", "run", "travelled"]

EPSILON = float(np.finfo(np.float64).eps)

# (quantity, leaf) -> a number for every step.
Series = dict[tuple[str, str], np.ndarray]


class Path(NamedTuple):
    """Where an optimizer is after each step."""

    parameters: Sequence[Leaves]
    evaluation: Sequence[Leaves] | None

    def series(self) -> dict[tuple[str, str], list[np.ndarray]]:
        """Return the values after each step by (quantity, leaf)."""
        found: dict[tuple[str, str], list[np.ndarray]] = {}
        for quantity in self._fields:
            for leaves in getattr(self, quantity) or ():
                for leaf, value in leaves.items():
                    found.setdefault((quantity, leaf), []).append(np.asarray(value))
        return found


def run(
    optimizer: Optimizer,
    start: Leaves,
    gradients: Sequence[Leaves],
    evaluation: str = "",
    *,
    rounding: np.random.Generator | None = None,
    held: Sequence[Leaves] | None = None,
) -> Path:
    """Run a reference optimizer.

    Args:
        optimizer: The reference.
        start: The parameters before the first step.
        gradients: Those of each step.
        evaluation: Field of the state for evaluation, or "".
        rounding: Where to round gradients and every number of the state at random, by one epsilon.
        held: The parameters before each step, in place of its own.

    Returns:
        The path, the start left out.
    """
    state = optimizer.init({leaf: np.asarray(value) for leaf, value in start.items()})
    parameters, evaluated = [], []
    for step, gradient in enumerate(gradients):
        if held is not None:
            state = {**state, "params": held[step]}
        if rounding is not None:
            state, gradient = _rounded(state, rounding), _rounded(gradient, rounding)
        # Whoever diverges is convicted by the comparison; warnings on the way say no more.
        with np.errstate(all="ignore"):
            state = optimizer.step(state, dict(gradient))
        if rounding is not None:
            state = _rounded(state, rounding)
        parameters.append(state["params"])
        evaluated.append(state[evaluation] if evaluation else {})
    return Path(parameters, evaluated if evaluation else None)


def _rounded(state: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    def rounded(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: rounded(leaf) for name, leaf in value.items()}
        if isinstance(value, np.ndarray | np.inexact | float):
            return value * (1 + EPSILON * rng.uniform(-1, 1, np.shape(value)))
        return value

    return {name: rounded(value) for name, value in state.items()}


def distances(one: Path, other: Path) -> Series:
    """Return the norms of the differences, infinite where anything is not finite.

    A path that ends early is compared as far as it goes, and is infinitely far after that.
    """
    found = {}
    series = other.series()
    for key, values in one.series().items():
        if key in series:
            row = np.full(max(len(values), len(series[key])), np.inf)
            for step, (a, b) in enumerate(zip(values, series[key], strict=False)):
                row[step] = _norm(a - b)
            found[key] = row
    return found


def travelled(start: Leaves, path: Path) -> Series:
    """Return the way gone up to each step: the sum of the norms of the moves."""
    found = {}
    for (quantity, leaf), values in path.series().items():
        points = [np.asarray(start[leaf]), *values]
        moves = [_norm(b - a) for a, b in zip(points[:-1], points[1:], strict=True)]
        found[quantity, leaf] = np.cumsum(moves)
    return found


def sizes(path: Path) -> Series:
    """Return the largest norm up to each step."""
    return {
        key: np.maximum.accumulate([_norm(value) for value in values])
        for key, values in path.series().items()
    }


def _norm(value: np.ndarray) -> float:
    size = float(np.linalg.norm(np.ravel(value)))
    return size if np.isfinite(size) else float("inf")
