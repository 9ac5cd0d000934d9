"""Two ways to the same result, held against each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from verification import compare
from verification.results import FLOAT64, Finding, Result, Verdict

__all__ = ["Equivalence"]


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """A sentence that says two computations agree.

    Attributes:
        name: Dotted name of what is under test.
        label: The sentence, `left = right`.
        left: From a random generator to a tree of arrays.
        right: From a random generator in the same state to the same tree.
        budget: Largest error, in epsilons times the condition; 0 asks for equal bits.
        reason: Why the two must agree, and why within that many.
        condition: Amplification of rounding that the computation itself has.
        needs_devices: Number of devices without which the check is skipped.
    """

    name: str
    label: str
    left: Callable[[np.random.Generator], Any]
    right: Callable[[np.random.Generator], Any]
    budget: float
    reason: str
    condition: float = 1.0
    dtypes: tuple[str, ...] = (FLOAT64,)
    needs_devices: int = 1

    @property
    def title(self) -> str:
        """What tells this check from others."""
        return f"{self.name} {self.label}"

    def run(self, dtype: str, seed: int, *, thorough: bool = True) -> list[Result]:
        """Evaluate both sides on the same draws."""
        del thorough
        import jax

        if jax.device_count() < self.needs_devices:
            missing = f"needs {self.needs_devices} devices, found {jax.device_count()}"
            return [self._result(dtype, Verdict.SKIPPED, Finding(detail=missing))]
        left, structure = jax.tree_util.tree_flatten_with_path(
            self.left(np.random.default_rng(seed))
        )
        right, other = jax.tree.flatten(self.right(np.random.default_rng(seed)))
        if structure != other:
            detail = f"structures differ: {structure} and {other}"
            return [self._result(dtype, Verdict.FAIL, Finding(float("inf"), detail=detail))]
        worst, empty = Finding(), []
        for (path, a), b in zip(left, right, strict=True):
            error = compare.error_in_eps(a, b, compare.epsilon(dtype), condition=self.condition)
            worst = worst.worse(Finding(error, f"leaf {jax.tree_util.keystr(path)}"))
            expected = np.asarray(b)
            if np.issubdtype(expected.dtype, np.inexact) and not expected.any():
                empty.append(jax.tree_util.keystr(path))
        if not worst.error <= self.budget:
            return [self._result(dtype, Verdict.FAIL, worst)]
        if empty:
            nothing = Finding(worst.error, worst.where, f"all zeros on both sides: {empty}")
            return [self._result(dtype, Verdict.MISTRUSTED, nothing)]
        return [self._result(dtype, Verdict.PASS, worst)]

    def _result(self, dtype: str, verdict: Verdict, worst: Finding) -> Result:
        return Result(
            name=self.name,
            kind="equivalence",
            dtype=dtype,
            verdict=verdict,
            error=worst.error,
            budget=self.budget,
            unit="eps",
            reason=self.reason,
            label=self.label,
            where=worst.where,
            detail=worst.detail,
        )
