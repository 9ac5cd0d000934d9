"""How far production, on states of its own, leaves the reference, and how far rounding does."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verification import compare, rounding
from verification.results import Finding, Result

__all__ = ["CONTROL_RUNS", "LEVELS", "Control", "Divergence", "distance"]

LEFT_CONTROL = 10.0
CONTROL_RUNS = 8
# In epsilons: one, three and six digits are lost.
LEVELS = (10.0, 1e3, 1e6)


class Control:
    """The reference on states of its own, every intermediate rounded, several times."""

    def __init__(self, reference: Any, state: dict[str, Any], seed: int):
        """Start all runs at one state.

        Args:
            reference: The optimizer.
            state: Its first state.
            seed: Of the roundings.
        """
        self._reference = reference
        self._states = [state] * CONTROL_RUNS
        self._sources = [rounding.Source([seed, run]) for run in range(CONTROL_RUNS)]

    def advance(self, inputs: Callable[[Any], tuple[Any, Any]]) -> list[Any]:
        """Take a step in every run, and return the parameters that each is at.

        Args:
            inputs: From parameters to the gradients and the further arguments of the step.
        """
        runs = zip(self._states, self._sources, strict=True)
        self._states = [
            rounding.step(self._reference, state, *inputs(state["params"]), source)
            for state, source in runs
        ]
        return [state["params"] for state in self._states]


class Divergence:
    """What is measured along a free run.

    Attributes:
        ratio: Largest error over the largest that the control had so far.
        series: Error at every step, in epsilons.
        control_series: Largest error of the control so far, in epsilons.
        floor_series: (step, least, largest) error of the runs of the control, in epsilons.
    """

    def __init__(self, eps: float):
        """Start before the first step."""
        self._eps = eps
        self.ratio = Finding()
        self.series: list[float] = []
        self.control_series: list[float] = []
        self.floor_series: list[tuple[float, float, float]] = []

    def add(self, error: float, controls: Sequence[float]) -> None:
        """Take in a step.

        Args:
            error: Of production, relative.
            controls: Of every run of the control.
        """
        step = len(self.series)
        least, largest = min(controls) / self._eps, max(controls) / self._eps
        self.series.append(error / self._eps)
        self.floor_series.append((step, least, largest))
        self.control_series.append(max(largest, *(self.control_series[-1:] or [1.0])))
        found = self.series[-1] / self.control_series[-1]
        self.ratio = self.ratio.worse(Finding(found, f"step {step}; field params"))

    def worst(self) -> Finding:
        """Return the largest ratio, and in words where the run leaves the reference."""
        left = [a > LEFT_CONTROL * b for a, b in zip(self.series, self.control_series, strict=True)]
        told = f"at step {left.index(True)}" if any(left) else "not within the run"
        detail = f"leaves {LEFT_CONTROL:g} times the control's error {told}"
        details = [detail, *(_told(*horizon) for horizon in self.horizons())]
        return Finding(self.ratio.error, self.ratio.where, "; ".join(details))

    def added_to(self, result: Result) -> Result:
        """Return a result with the errors of the control and the horizons."""
        return replace(
            result,
            floor_series=tuple(self.floor_series),
            floor_runs=CONTROL_RUNS,
            horizons=tuple(self.horizons()),
        )

    def horizons(self) -> list[tuple[float, int | None, int | None, int | None]]:
        """Return how long the run agrees with the reference, against the runs of the control.

        Returns:
            (level, step, first, last) for every level that anything reached, in epsilons: the first
            step at which production's error is over the level, and the first steps at which the
            error of any and of every run of the control is; None is not within the run.
        """
        found = []
        for level in LEVELS:
            reached = (
                _first(level, self.series),
                _first(level, [largest for _, _, largest in self.floor_series]),
                _first(level, [least for _, least, _ in self.floor_series]),
            )
            if any(step is not None for step in reached):
                found.append((level, *reached))
        return found


def _first(level: float, series: Sequence[float]) -> int | None:
    return next((step for step, error in enumerate(series) if not error <= level), None)


def _told(level: float, production: int | None, first: int | None, last: int | None) -> str:
    here = "nowhere" if production is None else f"at step {production}"
    there = "in no run of the control"
    if first is not None:
        until = "not in all of its runs" if last is None else f"in all of its runs at step {last}"
        there = f"in the control at step {first}, {until}"
    return f"over {level:g} eps: production {here}, {there}"


def distance(params: dict[str, Any], wanted: dict[str, np.ndarray]) -> float:
    """Return the relative distance of parameters from those of the reference, over all leaves."""
    difference = [np.asarray(params[leaf]) - value for leaf, value in wanted.items()]
    joined = np.concatenate([np.ravel(part) for part in difference])
    return compare.norm(joined) / compare.norm(
        np.concatenate([np.ravel(value) for value in wanted.values()])
    )
