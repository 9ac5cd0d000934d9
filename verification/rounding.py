"""The reference with every intermediate result rounded at random: how far rounding alone goes.

An array that carries a source of roundings is computed with as any other, but each result goes to
one of the two numbers next to what it was rounded to, or stays: as if the exact result had been
rounded up or down at random. Runs that differ in nothing else spread as far apart as the formula
lets roundings grow, in that order of operations.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.linalg

from verification import compare
from verification.results import FLOAT64, Finding, Result

__all__ = [
    "EXPLAINED",
    "FROM_SCIPY",
    "Error",
    "RUNS",
    "Rounded",
    "Source",
    "carrying",
    "freed",
    "step",
    "unexplained",
    "with_floor",
]

# A run more lies between the least and the largest of twenty with probability 19 / 21.
RUNS = 20
# Steps whose floor is measured: each costs as much as some hundred steps of the reference.
STEPS, STEPS_LONG = 3, 12
WIDTH = compare.epsilon(FLOAT64)
# A run more of the same rounding is seldom farther off than twice the worst of them.
EXPLAINED = 2.0
# Roundings that are drawn in one call.
TOGETHER = 4096

# What these return are numbers that they were given, or not rounded.
_EXACT = frozenset(
    {
        np.absolute,
        np.conjugate,
        np.fmax,
        np.fmin,
        np.maximum,
        np.minimum,
        np.negative,
        np.positive,
        np.sign,
        np.spacing,
    }
)
# Functions, beside those of numpy.linalg, that compute and do not only arrange.
_COMPUTING = frozenset({np.dot, np.einsum, np.inner, np.kron, np.mean, np.outer, np.prod, np.sum})
_COMPUTING |= {np.tensordot, np.trace, np.vdot}

FROM_SCIPY = ("expm", "solve_triangular", "svd")


class Source:
    """Where roundings come from."""

    def __init__(self, seed: Sequence[int], width: float = WIDTH):
        """Start a stream.

        Args:
            seed: Of the stream.
            width: The machine epsilon; 0 rounds nothing.
        """
        self._generator = np.random.default_rng(seed)
        # Half an epsilon of a number is half the distance to the next one, or more.
        self._choices = np.array([-0.5, 0.0, 0.0, 0.5]) * width
        self._moves = np.empty(0)
        self._next = 0

    def round(self, array: np.ndarray) -> np.ndarray:
        """Return an array in which a number goes up, goes down or stays, with 1/4, 1/4 and 1/2."""
        kind = array.dtype.kind
        if kind not in "fc" or not self._choices[0]:
            return array
        if kind == "c":
            parts = np.ascontiguousarray(array)[..., None].view(array.real.dtype)
            rounded = self.round(parts)
            return rounded.view(np.result_type(rounded, np.complex64)).reshape(array.shape)
        size = array.size
        if self._next + size > len(self._moves):
            # Many at a time: most arrays are small, and each call of a generator costs as much.
            picked = self._generator.integers(0, 4, max(size, TOGETHER), np.uint8)
            self._moves, self._next = self._choices[picked], 0
        moves = self._moves[self._next : self._next + size].reshape(array.shape)
        self._next += size
        # None is used twice, so that the result may lie where its roundings were.
        moves *= array
        moves += array
        return moves


class Rounded(np.ndarray):
    """An array whose arithmetic is rounded at random.

    Terms of a sum are rounded before it and the sum after it, in place of every partial sum.
    What `np.array` and `float` return has no source, and carries one again after the next
    operation with an array that does.
    """

    source: Source | None = None

    def __array_finalize__(self, parent: Any) -> None:
        self.source = getattr(parent, "source", None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" in options:  # The reference changes no array in place.
            return NotImplemented
        source = cast(Source, self.source)
        given = [_bare(value) for value in inputs]
        exact = ufunc in _EXACT
        if ufunc is np.matmul or (method == "reduce" and not exact):
            given = [source.round(v) if isinstance(v, np.ndarray) else v for v in given]
        result = np.asarray(getattr(ufunc, method)(*given, **options))
        return _carried(result if exact else source.round(result), source)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        del types
        source = cast(Source, self.source)
        computing = function in _COMPUTING or function.__module__.startswith("numpy.linalg")
        args, kwargs = _mapped((args, kwargs), _bare)
        if computing:
            args = _each(args, source.round)
        result = function(*args, **kwargs)
        if computing:
            result = _each(result, source.round)
        return _each(result, lambda array: _carried(array, source))


def carrying(tree: Any, source: Source) -> Any:
    """Return a tree whose real and complex arrays and numbers have a source of roundings."""

    def carried(value: Any) -> Any:
        if isinstance(value, float):
            value = np.asarray(value)
        inexact = isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.inexact)
        return _carried(value, source) if inexact else value

    return _mapped(tree, carried)


def freed(tree: Any) -> Any:
    """Return a tree whose arrays have no source of roundings any more."""
    return _mapped(tree, _bare)


def step(reference: Any, state: Any, gradients: Any, extra: Any, source: Source) -> Any:
    """Return the state after one step of a reference optimizer, all of it rounded.

    Args:
        reference: The optimizer.
        state: Its state; its numbers are rounded as arrays are.
        gradients: Gradients of the step.
        extra: Further keyword arguments of the step.
        source: Of the roundings.
    """
    given = carrying((state, gradients, extra), source)
    with _scipy_rounded(source):
        return freed(reference.step(given[0], given[1], **given[2]))


def with_floor(
    forced: Result, error: Callable[[int, Source], float], *, long: bool = False
) -> Result:
    """Add to a result how far rounding alone moves the reference, in a few steps of the run.

    Args:
        forced: A teacher-forced result at float64.
        error: From a step and a source of roundings to the error of that step, in epsilons.
        long: Whether to take more steps.
    """
    last, count = len(forced.series) - 1, STEPS_LONG if long else STEPS
    floor = []
    for step in np.unique(np.linspace(0, last, count).astype(int)).tolist():
        found = [error(step, Source([step, run])) for run in range(RUNS)]
        floor.append((step, min(found), max(found)))
    # One epsilon is what a step that needs no rounding may still cost.
    ratio = max(forced.series[step] / max(largest, 1.0) for step, _, largest in floor)
    told = f"at most {ratio:.2g} times the error of {RUNS} runs rounded at random"
    return replace(
        forced,
        floor_series=tuple(floor),
        floor_runs=RUNS,
        over_floor=ratio,
        detail=forced.detail or told,
    )


class Error(NamedTuple):
    """The error of a field in a step.

    Attributes:
        step: Which.
        field: Which.
        in_eps: In epsilons.
        finding: In the unit of the budget.
    """

    step: int
    field: str
    in_eps: float
    finding: Finding


def unexplained(
    errors: Sequence[Error], budget: float, floor: Callable[[int, int], dict[str, float]]
) -> Finding:
    """Return the worst error but for those over the budget where rounding alone goes as far.

    Args:
        errors: Of every step and field.
        budget: What each may have.
        floor: From a step and the number of a run to the errors, in epsilons, that the fields of
            the reference have in that step when it is rounded at random.
    """
    worst, explained = Finding(), 0
    runs: dict[int, list[dict[str, float]]] = {}
    for step, field, in_eps, finding in errors:
        if finding.error > budget:
            if step not in runs:
                runs[step] = [floor(step, run) for run in range(RUNS)]
            if in_eps <= EXPLAINED * max(run[field] for run in runs[step]):
                explained += 1
                continue
        worst = worst.worse(finding)
    told = (
        f"errors over the budget, but at most {EXPLAINED:g} times the worst of {RUNS} runs rounded "
        f"at random: {explained}"
    )
    return replace(worst, detail=told) if explained else worst


@contextmanager
def _scipy_rounded(source: Source) -> Iterator[None]:
    """Have the functions of SciPy round too, which leave out what kind of array they are given."""
    kept = {name: getattr(scipy.linalg, name) for name in FROM_SCIPY}

    def rounded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arrays: Any, **options: Any) -> Any:
            bare = _each(_mapped(arrays, _bare), source.round)
            result = _each(function(*bare, **options), source.round)
            return _each(result, lambda array: _carried(array, source))

        return call

    try:
        for name, function in kept.items():
            setattr(scipy.linalg, name, rounded(function))
        yield
    finally:
        for name, function in kept.items():
            setattr(scipy.linalg, name, function)


def _bare(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Rounded) else value


def _carried(array: np.ndarray, source: Source) -> Any:
    carried = array.view(Rounded)
    carried.source = source
    return carried


def _mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Change the leaves of nested dictionaries, lists and tuples."""
    if isinstance(tree, np.ndarray):
        return change(tree)
    kind = type(tree)
    if kind is dict:
        return {name: _mapped(part, change) for name, part in tree.items()}
    if kind is tuple or kind is list:
        return kind(_mapped(part, change) for part in tree)
    if hasattr(tree, "_fields"):
        return kind(*(_mapped(part, change) for part in tree))
    return change(tree)


def _each(result: Any, change: Callable[[np.ndarray], Any]) -> Any:
    """Change the arrays that a function returned; a number is an array without axes."""
    return _mapped(
        result, lambda v: change(np.asarray(v)) if isinstance(v, np.ndarray | np.generic) else v
    )
