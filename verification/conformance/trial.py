"""One recording beside one reference: what rounding explains, and what it does not."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from reference.optimizer import Optimizer
from verification.conformance.convention import Convention
from verification.conformance.recording import Leaves, Recording
from verification.conformance.reference_run import (
    EPSILON,
    Path,
    Series,
    distances,
    run,
    sizes,
    travelled,
)
from verification.conformance.targets import target
from verification.conformance.variants import factory, options_under
from verification.conformance.verdict import Departure
from verification.registry import reference

__all__ = ["RESOLUTION", "Trial"]

# Rounding is measured by the reference itself, rounded at random before and after every step. An
# optimizer rounds some tens of numbers where the control rounds one, and may go by a product that
# loses more: ours, by the Gram matrices of PRISM, come to 53 times the control on real gradients.
ROUNDINGS = 256.0
CONTROL_RUNS = 3
# Whoever draws may choose the distribution too, and a probe that is drawn badly is no rounding.
DRAWS = 1000.0
# Nothing is said where rounding, or draws that are not known, may hide this part of the way gone.
RESOLUTION = 1e-6
# Conventions change what rounding explains, by less than this factor.
NEAR = 100.0

Rows = tuple[Convention, ...]


class Trial:
    """A recording, and the reference it is held against under any conventions."""

    def __init__(
        self,
        recording: Recording,
        against: str,
        options: Mapping[str, Any],
        draws: Mapping[str, Any] | None = None,
    ):
        """Keep what is compared.

        Args:
            recording: What the optimizer did.
            against: Name of the reference.
            options: Of the reference.
            draws: Options with which the reference repeats the numbers that the optimizer drew;
                None if they are not known.
        """
        self.recording, self.target = recording, target(against)
        self.options = dict(options)
        self._draws = draws
        steps = recording.steps
        self._start, self._gradients = recording.parameters[0], recording.gradients[:steps]
        self.recorded = Path(recording.parameters[1:], recording.evaluation)

    @cached_property
    def plain(self) -> Path:
        """The path of the reference as it stands."""
        path = self.path(())
        if path is None:
            raise RuntimeError("the reference as it stands could not be run")
        return path

    @cached_property
    def plain_limits(self) -> Series:
        """The distances from it that rounding explains."""
        return self.limits((), self.plain)

    @cached_property
    def leaves(self) -> set[str]:
        """The names of all leaves."""
        return set(self._start)

    @cached_property
    def way(self) -> Series:
        """The way that the reference has gone."""
        return travelled(self._start, self.plain)

    @property
    def draws_unknown(self) -> bool:
        """Whether the reference draws numbers of its own."""
        return self.target.seeded and self._draws is None

    def _optimizer(self, rows: Rows, seed: int = 0) -> Optimizer | None:
        options = options_under(self.options, rows)
        function = factory(self.target.name, self.target.modules, rows)
        if options is None or function is None:
            return None
        if self.target.seeded:
            options |= {"seed": seed} if self._draws is None else dict(self._draws)
        return self.target.optimizer(function, options)

    def path(self, rows: Rows, steps: int | None = None) -> Path | None:
        """Return the path of the reference under conventions, or None if they exclude each other.

        Args:
            rows: The conventions.
            steps: How many steps to take; None is all.

        Raises:
            TypeError: The reference has no such option.
            ValueError: It does not allow what is given.
        """
        optimizer = self._optimizer(rows)
        if optimizer is None:
            return None
        try:
            return run(optimizer, self._start, self._gradients[:steps], self.target.evaluation)
        except ZeroDivisionError:
            if rows:
                return None
            raise

    def limits(self, rows: Rows, path: Path, held: Sequence[Leaves] | None = None) -> Series:
        """Return the distances that rounding explains, from controls.

        Where draws are not known, the controls draw other numbers each, and what is explained is
        the spread that draws make.
        """
        largest = {key: EPSILON * size for key, size in sizes(path).items()}
        for number in range(CONTROL_RUNS):
            optimizer = self._optimizer(rows, seed=number + 1)
            assert optimizer is not None
            rounding = np.random.default_rng([number])
            arguments = (self._start, self._gradients, self.target.evaluation)
            control = run(optimizer, *arguments, rounding=rounding, held=held)
            for key, row in distances(control, path).items():
                largest[key] = np.maximum(largest[key], row)
        factor = DRAWS if self.draws_unknown else ROUNDINGS
        return {key: factor * np.maximum.accumulate(row) for key, row in largest.items()}

    def departure(self, rows: Rows, path: Path) -> tuple[Departure | None, float]:
        """Return where the recording first leaves a path, and the worst distance in limits."""
        return self._first(self.recorded, path, self.limits(rows, path))

    def forced(
        self, rows: Rows, path: Path, rerun: Callable[[Sequence[Leaves]], Recording]
    ) -> tuple[Departure | None, float]:
        """Return where a step from the path's own parameters first leaves it.

        Args:
            rows: Conventions of the path.
            path: Of the reference.
            rerun: The optimizer again, from the parameters that it is given before each step.
        """
        held = [self._start, *path.parameters[:-1]]
        again = rerun(held)
        led = Path(again.parameters[1:], again.evaluation)
        return self._first(led, path, self.limits(rows, path, held))

    def _first(self, one: Path, path: Path, limits: Series) -> tuple[Departure | None, float]:
        found: list[tuple[int, float, Departure]] = []
        worst = 0.0
        for key, row in distances(one, path).items():
            limit, way = limits[key], self.way[key]
            excess = np.divide(row, limit, out=np.where(row > 0, np.inf, 0.0), where=limit > 0)
            worst = max(worst, float(np.max(excess)))
            if np.any(over := ~(excess <= 1)):
                step = int(np.argmax(over))
                size, allowed = _over(row[step], way[step]), _over(limit[step], way[step])
                departure = Departure(
                    step + 1, key[0], key[1], size, allowed, _over(row[-1], way[-1])
                )
                found.append((step, -size, departure))
        return (min(found, key=lambda item: item[:2])[2] if found else None), worst

    def leaves_near(self, rows: Rows, steps: int | None = None) -> set[str]:
        """Return the leaves of which the recording is near the reference under conventions.

        What is near may be equal; whether it is, only controls of its own can tell.

        Args:
            rows: The conventions.
            steps: How many of the first steps to look at; None is all.
        """
        path = self.path(rows, steps)
        if path is None:
            return set()
        away = set()
        for key, row in distances(_first_steps(self.recorded, path), path).items():
            if not np.all(row <= NEAR * self.plain_limits[key][: len(row)]):
                away.add(key[1])
        return self.leaves - away

    def applies(self, row: Convention) -> bool:
        """Say whether a row asks for anything that the options do not ask for already."""
        if row.edits:
            return True
        defaults: dict[str, Any] = {}
        for name in reversed((self.target.name, *self.target.passes_to)):
            parameters = inspect.signature(reference(name)).parameters
            defaults |= {key: one.default for key, one in parameters.items()}
        given = {**defaults, **self.target.preset, **self.options}
        known = all(name in given for name in row.options)
        return known and any(given[name] != value for name, value in row.options.items())

    def doubt(self) -> str:
        """Say why this run could not tell, or nothing."""
        if 0 < self.recording.steps < 3:
            return f"{self.recording.steps} steps were taken; 3 at least are needed"
        limits = self.plain_limits
        for (quantity, leaf), way in self.way.items():
            if not any(np.any(gradient[leaf]) for gradient in self._gradients):
                return f"all gradients of {leaf!r} are zero"
            if not way[-1] > 0:
                return f"the {quantity} of {leaf!r} do not move"
            if not limits[quantity, leaf][-1] <= RESOLUTION * way[-1]:
                if self.draws_unknown:
                    return self._undrawn(quantity, leaf)
                return (
                    f"rounding may hide {limits[quantity, leaf][-1] / way[-1]:.2g} of the way of "
                    f"{leaf!r}, which hardly moves"
                )
        return ""

    def _undrawn(self, quantity: str, leaf: str) -> str:
        way = self.way[quantity, leaf][-1]
        spread = self.plain_limits[quantity, leaf][-1] / DRAWS / way
        away = distances(self.recorded, self.plain)[quantity, leaf][-1] / way
        return (
            "the numbers that it draws are not known, so this cannot be decided in lockstep: with "
            f"others the reference moves by {spread:.2g} of the way of {leaf!r}, from which the "
            f"optimizer is {away:.2g} away"
        )


def _first_steps(path: Path, other: Path) -> Path:
    steps = len(other.parameters)
    evaluation = None if path.evaluation is None else path.evaluation[:steps]
    return Path(path.parameters[:steps], evaluation)


def _over(distance: float, way: float) -> float:
    """Return a distance over the way gone, infinite where there is none."""
    return float(distance / way) if way > 0 else float("inf")
