"""Checks of products of triangular and Hermitian matrices that are not multiplied as a whole."""

from collections.abc import Callable

import numpy as np

from verification.equivalence import Equivalence
from verification.problems.factors import diagonal, positive_definite, triangular
from verification.registry import production

__all__ = ["CHECKS"]

State = Callable[[np.random.Generator, int, float, bool], np.ndarray]


def _kept(function: str, state: State, side: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: np.asarray(production(function)(state(rng, side, 10.0, True)))


def _diagonal(
    rng: np.random.Generator, side: int, condition: float, is_complex: bool
) -> np.ndarray:
    del is_complex
    return diagonal(rng, side, condition)


def _whole(state: State, side: int) -> Callable[[np.random.Generator], np.ndarray]:
    def product(rng: np.random.Generator) -> np.ndarray:
        factor = state(rng, side, 10.0, True)
        return np.abs(factor) ** 2 if factor.ndim == 1 else factor.conj().T @ factor

    return product


CHECKS = tuple(
    Equivalence(
        name="linalg.kronecker.apply_normal",
        label=f"Q^H Q of a {form} factor = that of any",
        left=_kept(function, state, side),
        right=_whole(state, side),
        budget=4.0,
        reason="the same sums in another order, and terms that are zero left out",
    )
    # Sides that are split: once in unlike halves, and once where the halves must be alike.
    for form, function, state, side in (
        ("triangular", "linalg.upper.upper_normal_factor", triangular, 513),
        ("diagonal", "linalg.upper.upper_normal_factor", _diagonal, 513),
        ("Hermitian", "linalg.hermitian.hermitian_square", positive_definite, 400),
        ("real diagonal", "linalg.hermitian.hermitian_square", _diagonal, 5),
    )
)
