"""Checks of the Newton–Schulz iteration and the polar factor."""

from collections.abc import Iterator, Sequence

import numpy as np

from verification import compare, registry
from verification.case import Case, Invariant, Sample
from verification.problems import matrices
from verification.problems.matrices import gaussian

__all__ = ["CHECKS", "gain", "gap_condition"]

NAME = "linalg.newton_schulz"
ITERATIONS = {"jordan": 5, "dion": 5, "polar_express": 6, "polar_express_unsafe": 5, "cubic": 8}
# One table for each shape, so that each compiles once.
TABLES = {
    (12, 8): "jordan",
    (8, 12): "polar_express",
    (9, 9): "dion",
    (7, 10): "cubic",
    (1, 7): "polar_express_unsafe",
    # Large enough for products that leave out what symmetry gives.
    (384, 390): "jordan",
}


def gain(rows: Sequence[Sequence[float]], iterations: int) -> float:
    """Return the largest slope of the whole iteration on [0, 1], mostly Π aₖ, that at zero."""
    value = np.concatenate([[0.0], np.geomspace(1e-8, 1.0, 4000)])
    slope = np.ones_like(value)
    for index in range(iterations):
        a, b, c = rows[min(index, len(rows) - 1)]
        slope *= a + 3 * b * value**2 + 5 * c * value**4
        value = a * value + b * value**3 + c * value**5
    return float(np.max(np.abs(slope)))


def gap_condition(matrix: np.ndarray) -> float:
    """Return σ₁/σᵣ over the singular values that count, the condition of the polar factor."""
    values = np.linalg.svd(matrix, compute_uv=False)
    kept = values[values > values[0] * max(matrix.shape) * np.finfo(float).eps]
    return float(kept[0] / kept[-1])


def _coefficients(rng: np.random.Generator) -> Iterator[Sample]:
    del rng
    for name in ITERATIONS:
        yield Sample(name, (name,))


def _iteration(rng: np.random.Generator) -> Iterator[Sample]:
    newton_schulz = registry.reference(f"{NAME}.newton_schulz")
    large = max(TABLES)
    small = tuple(shape for shape in TABLES if shape != large)
    samples = [*matrices(rng, small, cheap=True), ("256x260 complex", gaussian(rng, large, True))]
    for label, matrix in samples:
        table = TABLES[matrix.shape]
        rows = registry.reference(f"{NAME}.coefficients")(table)
        arguments = (matrix, tuple(map(tuple, rows)), ITERATIONS[table], 0.0)
        size = compare.norm(newton_schulz(*arguments))
        condition = max(1.0, gain(rows, ITERATIONS[table]) / size)
        yield Sample(f"{table} {label}", arguments, condition=condition)
    yield Sample("a zero matrix", (np.zeros((12, 8)), ((3.4445, -4.7750, 2.0315),), 5, 0.0))
    row = ((3.0, -3.2, 1.2),)
    for eps in (0.5, 2.0):
        matrix = rng.standard_normal((12, 8))
        yield Sample(f"own row, eps {eps}", (matrix, row, 3, eps), condition=10.0)


def _polar(rng: np.random.Generator) -> Iterator[Sample]:
    for label, matrix in matrices(rng, cheap=True):
        if "near-singular" not in label:
            yield Sample(label, (matrix,), condition=gap_condition(matrix))
    yield Sample("a zero matrix", (np.zeros((5, 3)),))


def _isometry(result: np.ndarray, sample: Sample, eps: float) -> float:
    """Return how far the singular values are from one or zero, in epsilons."""
    values = np.linalg.svd(result, compute_uv=False)
    return float(np.max(np.minimum(np.abs(values - 1), values)) / eps / sample.condition)


CHECKS = (
    Case(
        name=f"{NAME}.coefficients",
        samples=_coefficients,
        budget=0.0,
        reason="published numbers, copied: equal bits",
        dtypes=("float64",),
        apply=lambda function, name: np.asarray(function(name)),
    ),
    Case(
        name=f"{NAME}.newton_schulz",
        samples=_iteration,
        budget=8.0,
        reason="three products an iteration, amplified by the slope of the iteration at zero",
        dtypes=("float64", "float32"),
    ),
    Case(
        name=f"{NAME}.polar",
        samples=_polar,
        budget=4.0,
        reason="backward stable singular value decomposition, times σ₁/σᵣ",
        invariants=(
            Invariant("isometry", _isometry, 16.0, "singular vectors orthonormal to a few eps"),
        ),
        dtypes=("float64",),
    ),
)
