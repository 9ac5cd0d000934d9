"""Two optimizers on the same problem, each taking gradients at its own y."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from verification.problems import Problem

Leaves = Mapping[str, np.ndarray]


class Sequences(NamedTuple):
    """The three sequences of Schedule-Free after a step.

    Attributes:
        y: Where gradients are taken.
        z: Iterate of the base optimizer.
        x: The average, where the loss is evaluated.
    """

    y: Leaves
    z: Leaves
    x: Leaves


class Runner(Protocol):
    """An optimizer under way, whatever package it comes from."""

    def step(self, gradients: Leaves) -> None:
        """Take one step with gradients at y."""

    def sequences(self) -> Sequences:
        """Copies of where the optimizer is."""


Start = Callable[[Leaves], Runner]


def trajectory(problem: Problem, start: Start, steps: int) -> Iterator[Sequences]:
    """Yield the sequences before the first step and after each of `steps` steps.

    Args:
        problem: Gives the initial parameters, and gradients at this optimizer's own y.
        start: parameters -> optimizer under way.
        steps: Number of steps.
    """
    parameters = problem.initial_parameters()
    runner = start(parameters)
    y: Leaves = parameters
    yield Sequences(parameters, parameters, parameters)
    for step in range(steps):
        # Whoever diverges is convicted by the comparison; warnings on the way say no more.
        with np.errstate(over="ignore", invalid="ignore"):
            runner.step(problem.gradients(y, step))
        sequences = runner.sequences()
        y = sequences.y
        yield sequences


def relative_difference(given: Leaves, expected: Leaves) -> float:
    """Return max over leaves of |given - expected|_F / |expected|_F.

    It is infinite where anything is not finite, as such values support no claim of agreement.

    Raises:
        ValueError: The two have different leaves, or leaves of different shapes.
    """
    shapes = [{leaf: np.shape(tree[leaf]) for leaf in tree} for tree in (given, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"leaves and shapes are {shapes[0]} and {shapes[1]}; they must be equal")
    return max(_leaf_difference(given[leaf], expected[leaf]) for leaf in expected)


def _leaf_difference(given: np.ndarray, expected: np.ndarray) -> float:
    if not (np.isfinite(given).all() and np.isfinite(expected).all()):
        return np.inf
    difference = float(np.linalg.norm(given - expected))
    size = float(np.linalg.norm(expected))
    if difference == 0.0:
        return 0.0
    return difference / size if size > 0.0 else np.inf


@dataclass(frozen=True)
class Comparison:
    """How far two trajectories are apart.

    Attributes:
        differences: One (y, z, x) of relative differences per step.
        moved: Relative change of y from the first to the last step of the second trajectory.
    """

    differences: tuple[tuple[float, float, float], ...]
    moved: float

    @property
    def worst(self) -> tuple[float, float, float]:
        """The largest difference of y, of z and of x over the steps."""
        y, z, x = (max(column) for column in zip(*self.differences, strict=True))
        return y, z, x

    def first_step_over(self, limit: float) -> int | None:
        """The first step, from 1, after which one of them is over the limit."""
        over = (step for step, row in enumerate(self.differences, 1) if not max(row) <= limit)
        return next(over, None)


def compare(given: list[Sequences], expected: list[Sequences]) -> Comparison:
    """Compare two trajectories step by step; their common start is left out.

    Raises:
        ValueError: They are not equally long, or without a step.
    """
    if len(given) != len(expected) or len(given) < 2:
        raise ValueError(
            f"the trajectories have {len(given)} and {len(expected)} points; "
            "they must have equally many, and two at least"
        )
    rows = []
    for ours, theirs in zip(given[1:], expected[1:], strict=True):
        y, z, x = map(relative_difference, ours, theirs)
        rows.append((y, z, x))
    moved = float(_distance(expected[-1].y, expected[0].y))
    return Comparison(tuple(rows), moved)


def _distance(end: Leaves, start: Leaves) -> np.floating:
    def norm(tree: Leaves) -> np.floating:
        return np.linalg.norm([np.linalg.norm(value) for value in tree.values()])

    return norm({leaf: end[leaf] - start[leaf] for leaf in start}) / norm(start)
