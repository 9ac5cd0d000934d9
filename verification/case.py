"""One kernel, its production function and its reference on the same inputs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from verification import compare, registry
from verification.kernel import Caller, cast, fits, is_array
from verification.recall import recalled
from verification.results import FLOAT64, Finding, Result, Verdict

__all__ = ["Case", "Invariant", "Sample"]

DTYPES = (FLOAT64, "float32", "bfloat16")
# Error in low precision over that of the reference itself in that precision.
RATIO_BUDGET = 4.0
ONE_ROUNDING = 0.5
RATIO_REASON = "production may sum in another order than the reference does in the same dtype"


@dataclass(frozen=True)
class Sample:
    """One input.

    Attributes:
        label: Says what is special about it.
        arguments: Arguments of both functions; arrays are rounded to the dtype under test.
        options: Options of both functions.
        production_options: Options of the production function alone (a form, not a formula).
        condition: Amplification of a relative rounding of the input that the formula has.
        scale: What errors are relative to, if not the norm of the result.
    """

    label: str
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    production_options: dict[str, Any] = field(default_factory=dict)
    condition: float = 1.0
    scale: float | None = None


@dataclass(frozen=True)
class Invariant:
    """A property of the production result alone, as an error in epsilons."""

    name: str
    error: Callable[[Any, Sample, float], float]
    budget: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """A kernel under test.

    Attributes:
        name: Dotted name, of both functions.
        samples: From a random generator to inputs in float64.
        budget: Largest error at float64, in epsilons times the condition number.
        reason: Why that many.
        invariants: Properties of the result.
        dtypes: Dtypes to run in.
        ratio: Largest error in low precision, over that of the control.
        ratio_reason: Why that much.
        apply: How a function is called, if not as function(*arguments, **options).
        label: Which of several cases of one name.
    """

    name: str
    samples: Callable[[np.random.Generator], Iterator[Sample]]
    budget: float
    reason: str
    invariants: tuple[Invariant, ...] = ()
    dtypes: tuple[str, ...] = DTYPES
    ratio: float = RATIO_BUDGET
    ratio_reason: str = RATIO_REASON
    apply: Callable[..., Any] | None = None
    label: str = ""

    @property
    def title(self) -> str:
        """What tells this check from others."""
        return f"{self.name} {self.label}".strip()

    def _functions(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        both = registry.production(self.name), registry.reference(self.name)
        if self.apply is None:
            return both
        apply = self.apply
        wrapped = tuple(lambda *a, _f=function, **o: apply(_f, *a, **o) for function in both)
        return wrapped[0], wrapped[1]

    def run(self, dtype: str, seed: int, *, thorough: bool = True) -> list[Result]:
        """Compare production in a dtype with the reference in float64.

        Args:
            dtype: `float64`, `float32` or `bfloat16`.
            seed: Seed of the inputs.
            thorough: Whether to check the invariants and whether the inputs can be trusted too.
        """
        caller, eps = Caller(), compare.epsilon(dtype)
        implementation, truth = self._functions()
        samples = recalled(self, ("samples", dtype, seed), lambda: self._fitting(dtype, seed))
        worst, properties = Finding(), {i.name: Finding() for i in self.invariants}
        for number, sample in enumerate(samples):
            rounded = cast(sample.arguments, dtype)
            options = {**sample.options, **sample.production_options}
            actual = caller(implementation, rounded, options)
            expected, floor = recalled(
                self,
                ("expected", dtype, seed, number),
                partial(self._expected, truth, sample, rounded, dtype),
            )
            error = compare.worst_error(
                actual, expected, eps, condition=sample.condition, scale=sample.scale
            )
            error = error / floor
            detail = _dtype_drift(actual, rounded, dtype)
            worst = worst.worse(Finding(float("inf") if detail else error, sample.label, detail))
            for invariant in self.invariants if thorough and dtype == FLOAT64 else ():
                found = Finding(invariant.error(actual, sample, eps), sample.label)
                properties[invariant.name] = properties[invariant.name].worse(found)
        results = [self._result(dtype, worst, samples, thorough)]
        if dtype == FLOAT64 and thorough:
            results += [self._invariant_result(i, properties[i.name]) for i in self.invariants]
        return results

    def _fitting(self, dtype: str, seed: int) -> list[Sample]:
        """Return the samples that can be had in a dtype."""
        return [
            sample
            for sample in self.samples(np.random.default_rng(seed))
            if all(fits(a, dtype) for a in _arrays(sample))
        ]

    def _expected(
        self, truth: Callable[..., Any], sample: Sample, rounded: tuple[Any, ...], dtype: str
    ) -> tuple[Any, float]:
        """Return the result of the reference, and what errors are measured in, in epsilons."""
        expected = truth(*cast(rounded, FLOAT64), **sample.options)
        if dtype == FLOAT64:
            return expected, 1.0
        floor = self._control(truth, sample, rounded, expected, compare.epsilon(dtype))
        return expected, floor

    def _control(
        self,
        truth: Callable[..., Any],
        sample: Sample,
        rounded: tuple[Any, ...],
        expected: Any,
        eps: float,
    ) -> float:
        """Return the error of the reference itself in this dtype.

        At least that of one rounding of the input, amplified as the formula amplifies it: the
        control may be lucky with its roundings, which production cannot be asked to be.
        """
        # What overflows in this dtype excuses nothing: it counts as one rounding below.
        with np.errstate(all="ignore"):
            control = truth(*rounded, **sample.options)
        error = compare.worst_error(
            control, expected, eps, condition=sample.condition, scale=sample.scale
        )
        return max(error, ONE_ROUNDING) if np.isfinite(error) else ONE_ROUNDING

    def _result(self, dtype: str, worst: Finding, samples: list[Sample], thorough: bool) -> Result:
        exact = dtype == FLOAT64
        budget, reason = (self.budget, self.reason) if exact else (self.ratio, self.ratio_reason)
        verdict, detail = Verdict.PASS, worst.detail
        if not worst.error <= budget:
            verdict = Verdict.FAIL
        elif exact and thorough:
            detail = self._distrust(samples) or detail
            if compare.is_loose(budget, worst.error):
                detail = f"budget {budget:g} is over 16 times the worst error; tighten it"
            verdict = Verdict.MISTRUSTED if detail else Verdict.PASS
        return Result(
            name=self.name,
            kind="case",
            dtype=dtype,
            verdict=verdict,
            error=worst.error,
            budget=budget,
            unit="eps" if exact else "ratio to control",
            reason=reason,
            label=self.label,
            field="result",
            where=worst.where,
            detail=detail,
        )

    def _invariant_result(self, invariant: Invariant, worst: Finding) -> Result:
        return Result(
            name=self.name,
            kind="invariant",
            dtype=FLOAT64,
            verdict=Verdict.PASS if worst.error <= invariant.budget else Verdict.FAIL,
            error=worst.error,
            budget=invariant.budget,
            unit="eps",
            reason=invariant.reason,
            label=self.label,
            field=invariant.name,
            where=worst.where,
        )

    def _distrust(self, samples: list[Sample]) -> str:
        """Say why these inputs could not convict a wrong function, or nothing."""
        _, truth = self._functions()
        expected = [truth(*sample.arguments, **sample.options) for sample in samples]
        entries = np.concatenate([np.ravel(a) for e in expected for a in [*_as_list(e), []]])
        if entries.size == 0 or np.count_nonzero(entries) < entries.size / 2:
            return "more than half of what the reference returns is zero"
        pairs = list(zip(samples, expected, strict=True))
        if not self._convicts(pairs, lambda s, e: [np.zeros_like(a) for a in _as_list(e)]):
            return "an answer of zeros would pass"
        for changed in _changes(samples):
            if not self._convicts(pairs, changed):
                return f"a change of {changed.subject} would pass"
        return ""

    def _convicts(
        self, pairs: list[tuple[Sample, Any]], wrong: Callable[[Sample, Any], Any]
    ) -> bool:
        for sample, expected in pairs:
            answer = wrong(sample, expected)
            if answer is None:
                continue
            if callable(answer):
                _, truth = self._functions()
                try:
                    answer = answer(truth)
                except (ValueError, ZeroDivisionError):
                    return True
            error = compare.worst_error(
                _as_list(answer),
                _as_list(expected),
                compare.epsilon(FLOAT64),
                condition=sample.condition,
                scale=sample.scale,
            )
            if not error <= self.budget:
                return True
        return False


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _arrays(sample: Sample) -> list[np.ndarray]:
    import jax

    return [leaf for leaf in jax.tree.leaves(sample.arguments) if is_array(leaf)]


def _dtype_drift(actual: Any, arguments: tuple[Any, ...], dtype: str) -> str:
    """Say whether arrays came back in another precision than they went in, or nothing."""
    import jax

    given = [leaf for leaf in jax.tree.leaves(arguments) if is_array(leaf) and leaf.ndim > 0]
    if not given:
        return ""
    for array in jax.tree.leaves(actual):
        real = array.real.dtype if np.iscomplexobj(array) else array.dtype
        if array.ndim > 0 and str(real) != dtype:
            return f"arrays of {dtype} came back as {array.dtype}"
    return ""


@dataclass(frozen=True)
class _Change:
    """One leaf of the arguments changed a little, everything else as it was."""

    position: int
    subject: str
    change: Callable[[Any], Any]

    def __call__(self, sample: Sample, expected: Any) -> Callable[..., Any] | None:
        import jax

        leaves, structure = jax.tree.flatten((sample.arguments, sample.options))
        if self.position >= len(leaves):
            return None
        changed = list(leaves)
        try:
            changed[self.position] = self.change(leaves[self.position])
        except TypeError:
            return None
        arguments, options = structure.unflatten(changed)
        return lambda truth: truth(*arguments, **options)


def _changes(samples: list[Sample]) -> list[_Change]:
    """Return one change for every argument that is data or a number."""
    import jax

    paths = jax.tree_util.tree_flatten_with_path((samples[0].arguments, samples[0].options))[0]
    found = []
    for position, (path, leaf) in enumerate(paths):
        where = f"argument {jax.tree_util.keystr(path)}"
        if is_array(leaf) and np.issubdtype(leaf.dtype, np.inexact):
            found.append(_Change(position, f"{where} to zero", np.zeros_like))
        elif isinstance(leaf, bool):
            found.append(_Change(position, f"{where} to its opposite", lambda value: not value))
        elif isinstance(leaf, int):
            found.append(_Change(position, f"{where} by one", lambda value: value + 1))
        elif isinstance(leaf, float):
            found.append(_Change(position, f"{where} by 1 %", lambda v: v * 1.01 if v else 0.01))
    return found
