"""Checks of the rotations that bring a factor back towards a positive definite one."""

from collections.abc import Callable, Iterator

import numpy as np

from verification import compare
from verification.case import Case, Invariant, Sample
from verification.problems.factors import positive_definite, rotation
from verification.problems.matrices import SCALES, gaussian

__all__ = ["CHECKS"]

NAME = "linalg.procrustes"
PROBES = 4
# Rows of complex numbers that are turned over by themselves.
WIDE = 128
# A small angle is reached, a larger one only approached, and over 90° the second order is positive.
ANGLES = (0.3, 0.01, 1.0, 2.5)


def _rotated(
    rng: np.random.Generator, max_step: float
) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    for size, is_complex in ((6, False), (5, True), (2, False)):
        for condition in (3.0, 1e3):
            for index, angle in enumerate(ANGLES):
                scale = SCALES[index % 3]
                q = rotation(rng, size, angle, is_complex)
                q = scale * q @ positive_definite(rng, size, condition, is_complex)
                label = f"{size}x{size} cond {condition:g} angle {angle} {scale:.0e}"
                probes = gaussian(rng, (PROBES, size), is_complex)
                yield f"{label} complex {is_complex}", q, probes, max_step * (1, 0.3)[index % 2]
    q = rotation(rng, WIDE, 0.3, True) @ positive_definite(rng, WIDE, 3.0, True)
    yield "wide complex angle 0.3", q, gaussian(rng, (PROBES, WIDE), True), max_step
    yield "1x1 complex", np.asarray([[0.6 + 0.2j]]), np.asarray([[1.0 + 1j]]), max_step
    yield "1x1 real", np.asarray([[0.6]]), np.asarray([[1.0]]), max_step
    q = positive_definite(rng, 6, 30.0, False)
    yield "already positive", q, gaussian(rng, (PROBES, 6), False), max_step


def _samples(max_step: float) -> Callable[[np.random.Generator], Iterator[Sample]]:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for label, q, probes, step in sorted(
            _rotated(rng, max_step), key=lambda row: "angle 1" not in row[0]
        ):
            yield Sample(label, (q, probes, step))

    return samples


def _stretch(allowed: float) -> Callable[[np.ndarray, Sample, float], float]:
    """Return how far the rotation is from unitary, over what its expansion leaves out."""

    def error(result: np.ndarray, sample: Sample, eps: float) -> float:
        del eps
        before = sample.arguments[0]
        change = result.conj().T @ result / compare.norm(before) ** 2
        was = before.conj().T @ before / compare.norm(before) ** 2
        return float(np.linalg.norm(change - was, 2)) / allowed

    return error


def _asymmetry(result: np.ndarray, sample: Sample, eps: float) -> float:
    before = sample.arguments[0]
    was = compare.norm(before - before.conj().T)
    now = compare.norm(result - result.conj().T)
    return max(0.0, now - was) / compare.norm(before) / eps


CHECKS = tuple(
    Case(
        name=f"{NAME}.{function}",
        samples=_samples(max_step),
        budget=4.0,
        reason="a handful of products of length n",
        invariants=(
            Invariant("stays a rotation", _stretch(allowed), 1.0, "the expansion leaves out that"),
            Invariant("less skew", _asymmetry, 1e15, "a step towards the nearest positive factor"),
        ),
        dtypes=("float64", "float32"),
    )
    for function, max_step, allowed in (
        ("rotate_second_order", 0.125, 2 * 0.125**4 / 4),
        ("rotate_third_order", 1 / 3, 2 * (1 / 3) ** 6 / 64),
    )
)
