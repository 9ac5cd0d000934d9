"""A whole optimizer against its reference, step by step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from verification import compare, registry, rounding
from verification.free_running import Control, Divergence, distance
from verification.interpreter import compiled
from verification.kernel import cast
from verification.problems import problem
from verification.recall import recalled
from verification.results import FLOAT64, Finding, Result, Verdict

__all__ = ["Field", "Trajectory", "updated_params"]

FORCED, FREE = "teacher-forced", "free-running"


@dataclass(frozen=True)
class Field:
    """One quantity of the state, in both worlds.

    Attributes:
        name: Field of the reference's state.
        read: (production state, parameters after the step, updates) -> dict of leaves, or scalar.
        write: (production state, reference value) -> production state; None if not stored.
        condition: (leaf of the reference's field) -> amplification that the formula has.
    """

    name: str
    read: Callable[[Any, Any, Any], Any]
    write: Callable[[Any, Any], Any] | None = None
    condition: Callable[[np.ndarray], float] | None = None


def updated_params(state: Any, params: Any, updates: Any) -> Any:
    """Read the parameters after the step."""
    del state, updates
    return params


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """An optimizer under test on a problem.

    Attributes:
        name: Dotted name of both factories.
        label: Which of several trajectories of one name.
        problem: Name of the problem.
        build: From a factory to an optimizer, for both: (factory, is_production) -> optimizer.
        fields: What is compared after every step.
        budget: Largest local error of a teacher-forced step at float64, in epsilons.
        reason: Why that many.
        growth: Largest free-running error, over that of the control.
        growth_reason: Why that much.
        ratio: Largest local error at float32, over that of the control.
        ratio_reason: Why that much.
        steps: Steps of a default run; a long one takes ten times as many.
        spoil: (gradients, step) -> gradients, to put spikes into the stream.
        extra: (parameters, step) -> keyword arguments of a step on both sides, in NumPy.
    """

    name: str
    problem: str
    build: Callable[[Callable[..., Any], bool], Any]
    fields: Sequence[Field]
    budget: float
    reason: str
    label: str = ""
    growth: float = 4.0
    growth_reason: str = "production rounds no more than the reference rounded at random"
    ratio: float = 4.0
    ratio_reason: str = "production may sum in another order than the control"
    steps: int = 20
    free: bool = True
    dtypes: tuple[str, ...] = (FLOAT64, "float32")
    spoil: Callable[[dict[str, np.ndarray], int], dict[str, np.ndarray]] | None = None
    extra: Callable[[dict[str, Any], int], dict[str, Any]] | None = None

    @property
    def title(self) -> str:
        """What tells this check from others."""
        return f"{self.name} {self.label} on {self.problem}".replace("  ", " ")

    def run(
        self,
        dtype: str,
        seed: int,
        *,
        thorough: bool = True,
        long: bool = False,
        steps: int | None = None,
    ) -> list[Result]:
        """Run teacher-forced and, at float64, free-running.

        Args:
            dtype: `float64` or `float32`.
            seed: Seed of the problem.
            thorough: Whether to go on after a step that fails, to run free, and to ask whether the
                trajectory can be trusted.
            long: Whether to take ten times as many steps.
            steps: Teacher-forced steps to take, if not all.
        """
        setup = _Setup.make(self, dtype, seed, self.steps * (10 if long else 1))
        results = [setup.teacher_forced(steps, thorough=thorough, long=long)]
        if thorough and dtype == FLOAT64:
            results = [rounding.with_floor(results[0], setup.rounding_error, long=long)]
        if self.free and thorough and dtype == FLOAT64:
            results.append(setup.free_running(seed))
        return results


@dataclass
class _Setup:
    """Both optimizers, and the reference's states along its own run."""

    trajectory: Trajectory
    dtype: str
    eps: float
    problem: Any
    reference: Any
    production: Any
    update: Callable[..., Any]
    seed: int
    states: list[dict[str, Any]] = field(default_factory=list)
    gradients: list[dict[str, np.ndarray]] = field(default_factory=list)
    extras: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def make(cls, trajectory: Trajectory, dtype: str, seed: int, steps: int) -> "_Setup":
        task = problem(trajectory.problem, seed)
        reference = trajectory.build(registry.reference(trajectory.name), False)
        production = trajectory.build(registry.production(trajectory.name), True)
        setup = cls(
            trajectory,
            dtype,
            compare.epsilon(dtype),
            task,
            reference,
            production,
            compiled(production.update),
            seed,
        )
        key = "run", dtype, seed, steps
        found = recalled(trajectory, key, lambda: setup._run_of_reference(steps))
        setup.states, setup.gradients, setup.extras = found
        return setup

    def _run_of_reference(self, steps: int) -> tuple[list[Any], list[Any], list[Any]]:
        """Return the states, gradients and further arguments of the reference's own run."""
        state = self.reference.init(self.problem.initial_parameters())
        states, gradients, extras = [state], [], []
        for step in range(steps):
            gradients.append(self.gradients_at(state["params"], step))
            extras.append(self.extra_at(state["params"], step))
            state = self.reference.step(state, gradients[-1], **extras[-1])
            states.append(state)
        return states, gradients, extras

    def gradients_at(self, params: dict[str, Any], step: int) -> dict[str, np.ndarray]:
        gradients = self.problem.gradients(params, step)
        spoil = self.trajectory.spoil
        return gradients if spoil is None else spoil(gradients, step)

    def extra_at(self, params: dict[str, Any], step: int) -> dict[str, Any]:
        extra = self.trajectory.extra
        return {} if extra is None else extra(params, step)

    def teacher_forced(
        self, steps: int | None = None, *, thorough: bool = True, long: bool = False
    ) -> Result:
        """Take each step from the reference's state.

        Args:
            steps: How many, if not all.
            thorough: Whether to go on after one that fails, and to say whether to trust this.
            long: Whether steps over the budget are held against the reference rounded at random:
                among a thousand there are some in which rounding alone goes that far.
        """
        series, controls = [], []
        errors: list[rounding.Error] = []
        template = self.production.init(self._arrays(self.states[0]["params"]))
        start = worst = self._at_start(template)
        for step, gradients in enumerate(self.gradients[:steps]):
            if not thorough and not worst.error <= self._forced_budget():
                break
            before = _rounded(self.states[step], self.dtype)
            gradients, extra = cast((gradients, self.extras[step]), self.dtype)
            key = "step", self.dtype, self.seed, step
            expected, control = recalled(
                self.trajectory,
                key,
                partial(self._expected, before, gradients, extra, step),
            )
            written = self._written(template, before)
            state, params, updates = self._step(written, before, gradients, extra)
            found, largest, largest_control = Finding(), 0.0, 0.0
            for item in self.trajectory.fields:
                actual = item.read(state, params, updates)
                error = self._compare(item, actual, expected, f"step {step}")
                largest, in_eps = max(largest, error.error), error.error
                if control is not None:
                    floor = self._compare(item, control[item.name], expected, "").error
                    largest_control = max(largest_control, floor)
                    error = Finding(error.error / max(floor, 0.5), error.where)
                errors.append(rounding.Error(step, item.name, in_eps, error))
                found = found.worse(error)
            series.append(largest)
            controls.append(max(largest_control, 0.5))
            worst = worst.worse(found)
        if long and not worst.error <= self._forced_budget():
            allowed = self._forced_budget()
            worst = start.worse(rounding.unexplained(errors, allowed, self.rounding_errors))
        controls = controls if self.dtype != FLOAT64 else []
        return self._result(FORCED, worst, series, controls, thorough=thorough)

    def _forced_budget(self) -> float:
        return self.trajectory.budget if self.dtype == FLOAT64 else self.trajectory.ratio

    def _at_start(self, state: Any) -> Finding:
        """Compare what both start from, which no step would show."""
        expected = _rounded(self.states[0], self.dtype)
        worst = Finding()
        for item in self.trajectory.fields:
            if item.write is not None and item.name in expected:
                actual = item.read(state, self._arrays(expected["params"]), None)
                found = self._compare(item, actual, expected, "at the start")
                floor = 1.0 if self.dtype == FLOAT64 else 0.5
                worst = worst.worse(Finding(found.error / floor, found.where))
        return worst

    def _expected(
        self,
        before: dict[str, Any],
        gradients: dict[str, np.ndarray],
        extra: dict[str, Any],
        step: int,
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the state after the step in float64, and in low precision also the control's."""
        if self.dtype == FLOAT64:
            return self.states[step + 1], None
        wide, more = cast((gradients, extra), FLOAT64)
        exact = self.reference.step(_rounded(before, FLOAT64), wide, **more)
        return exact, self.reference.step(before, gradients, **extra)

    def _step(
        self,
        state: Any,
        before: dict[str, Any],
        gradients: dict[str, np.ndarray],
        extra: dict[str, Any],
    ) -> tuple[Any, Any, Any]:
        import optax

        params = self._arrays(before["params"])
        updates, state = self.update(
            self._arrays(gradients), state, params, **cast(extra, self.dtype)
        )
        return state, optax.apply_updates(params, updates), updates

    def _written(self, state: Any, reference_state: dict[str, Any]) -> Any:
        for item in self.trajectory.fields:
            if item.write is not None:
                state = item.write(state, reference_state[item.name])
        return state

    def _arrays(self, tree: dict[str, np.ndarray]) -> Any:
        import jax.numpy as jnp

        return {name: jnp.asarray(leaf) for name, leaf in cast(tree, self.dtype).items()}

    def _compare(self, item: Field, actual: Any, expected: dict[str, Any], where: str) -> Finding:
        wanted = expected[item.name]
        if not isinstance(wanted, dict):
            error = compare.error_in_eps(actual, wanted, self.eps)
            return Finding(error, f"{where}; field {item.name}")
        worst = Finding()
        for leaf, value in wanted.items():
            condition = 1.0 if item.condition is None else item.condition(value)
            error = compare.error_in_eps(actual[leaf], value, self.eps, condition=condition)
            worst = worst.worse(Finding(error, f"{where}; field {item.name}; leaf {leaf}"))
        return worst

    def free_running(self, seed: int) -> Result:
        """Run production on its own states; the control is the reference, rounded at random."""
        state = self.production.init(self._arrays(self.states[0]["params"]))
        params = self._arrays(self.states[0]["params"])
        control = Control(self.reference, self.states[0], seed)
        run = Divergence(self.eps)
        for step in range(len(self.gradients)):
            wanted = self.states[step + 1]["params"]
            gradients = self._arrays(self.gradients_at(params, step))
            extra = self.extra_at(params, step)
            state, params, _ = self._step(state, {"params": params}, gradients, extra)
            there = control.advance(partial(self._inputs, step))
            run.add(distance(params, wanted), [distance(one, wanted) for one in there])
        return run.added_to(self._result(FREE, run.worst(), run.series, run.control_series))

    def _inputs(self, step: int, params: Any) -> tuple[Any, Any]:
        return self.gradients_at(params, step), self.extra_at(params, step)

    def rounding_error(self, step: int, source: rounding.Source) -> float:
        """Return how far a step of the reference moves when it is rounded at random."""
        return max(self.rounding_errors(step, source).values())

    def rounding_errors(self, step: int, source: rounding.Source | int) -> dict[str, float]:
        """Return how far each field moves in such a step; an int is the number of a run."""
        if isinstance(source, int):
            source = rounding.Source([step, source], self.eps)
        before = _rounded(self.states[step], self.dtype)
        gradients, extra = cast((self.gradients[step], self.extras[step]), self.dtype)
        expected, _ = self._expected(before, gradients, extra, step)
        wide, more = cast((gradients, extra), FLOAT64)
        moved = rounding.step(self.reference, _rounded(before, FLOAT64), wide, more, source)
        fields = self.trajectory.fields
        return {i.name: self._compare(i, moved[i.name], expected, "").error for i in fields}

    def _result(
        self,
        kind: str,
        worst: Finding,
        series: list[float],
        controls: list[float],
        *,
        thorough: bool = True,
    ) -> Result:
        in_eps = kind == FORCED and self.dtype == FLOAT64
        item = self.trajectory
        reason = item.reason
        if in_eps:
            budget = item.budget
        elif kind == FORCED:
            budget, reason = item.ratio, item.ratio_reason
        else:
            budget, reason = item.growth, item.growth_reason
        verdict, detail = Verdict.PASS, worst.detail
        if not worst.error <= budget:
            verdict = Verdict.FAIL
        elif not thorough:
            pass
        elif in_eps and compare.is_loose(budget, worst.error):
            verdict = Verdict.MISTRUSTED
            detail = f"budget {budget:g} is over 16 times the worst error; tighten it"
        elif in_eps and (still := self._still_fields()):
            verdict, detail = Verdict.MISTRUSTED, f"{still} never moves on this problem"
        return Result(
            name=item.name,
            kind=kind,
            dtype=self.dtype,
            verdict=verdict,
            error=worst.error,
            budget=budget,
            unit="eps" if in_eps else "ratio to control",
            reason=reason,
            label=f"{item.label} on {item.problem}".strip(),
            field=_part(worst.where, "field "),
            where=worst.where,
            detail=detail,
            series=tuple(series),
            control_series=tuple(controls),
        )

    def _still_fields(self) -> str:
        """Name a field that a frozen optimizer would get right, or nothing."""
        first, last = self.states[0], self.states[-1]
        for item in self.trajectory.fields:
            if item.name not in first:
                continue
            wanted = last[item.name]
            pairs = (
                [(first[item.name][leaf], value) for leaf, value in wanted.items()]
                if isinstance(wanted, dict)
                else [(first[item.name], wanted)]
            )
            budget = self.trajectory.budget
            if any(compare.error_in_eps(a, b, self.eps) <= budget for a, b in pairs):
                return item.name
        return ""


def _part(where: str, prefix: str) -> str:
    found = [part for part in where.split("; ") if part.startswith(prefix)]
    return found[0].removeprefix(prefix) if found else ""


def _rounded(state: dict[str, Any], dtype: str) -> dict[str, Any]:
    return {name: cast(value, dtype) for name, value in state.items()}
