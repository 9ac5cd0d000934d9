"""Checks of the smoothness of the criterion along a factor, and of its gradient."""

from collections.abc import Iterator

import numpy as np

from verification import compare
from verification.case import Case, Sample
from verification.problems.factors import gram_matrix, positive_definite
from verification.problems.matrices import SCALES, gaussian

__all__ = ["CHECKS"]

NAME = "psgd.factor"


def _pairs(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (label, first, second): matrices, a matrix and a scalar, vectors, vector and scalar."""
    for size, is_complex in ((6, False), (5, True), (1, False)):
        for scale in SCALES:
            first = scale * gram_matrix(rng, size, size, is_complex)
            label = f"{size}x{size} {scale:.0e} complex {is_complex}"
            second = scale * positive_definite(rng, size, 1e3, is_complex)
            yield label, first, second
            yield f"{label} scalar", first, np.asarray(scale * 0.7)
    for size in (7, 1):
        for scale in SCALES:
            first, second = scale * rng.random((2, size))
            yield f"{size} {scale:.0e}", first, second
            yield f"{size} {scale:.0e} scalar", first, np.asarray(scale * 0.7)


def _smooth(rng: np.random.Generator) -> Iterator[Sample]:
    for label, first, second in _pairs(rng):
        probes = None
        if first.ndim > 1:
            probes = gaussian(rng, (4, first.shape[0]), np.iscomplexobj(first))
        yield Sample(label, (first, second, probes))


def _sizes(rng: np.random.Generator) -> Iterator[Sample]:
    for label, first, second in _pairs(rng):
        difference = first - (second * np.eye(len(first)) if first.ndim > 1 else second)
        if np.shape(second):
            difference = first - second
        both = compare.norm(first) + compare.norm(second) * np.sqrt(len(first))
        lost = both / compare.norm(np.triu(difference) if first.ndim > 1 else difference)
        yield Sample(label, (first, second), condition=lost)


def _tracked(rng: np.random.Generator) -> Iterator[Sample]:
    for index, scale in enumerate((*SCALES, 1.0)):
        smaller, larger = np.sort(rng.random(2)) * scale
        beta = (0.9, 0.5, 0.0, 0.999)[index]
        yield Sample(f"falls {scale:.0e}", (np.asarray(larger), np.asarray(smaller), beta))
        yield Sample(f"rises {scale:.0e}", (np.asarray(smaller), np.asarray(larger), beta))
    yield Sample("from zero", (np.asarray(0.0), np.asarray(0.3), 0.9))


def _gradients(rng: np.random.Generator) -> Iterator[Sample]:
    for label, first, second in _pairs(rng):
        yield Sample(label, (first, second), scale=compare.norm(first) + compare.norm(second))


CHECKS = (
    Case(
        name=f"{NAME}.smoothness",
        samples=_smooth,
        budget=8.0,
        reason="the bound of a norm, four products of length n",
        dtypes=("float64", "float32"),
    ),
    Case(
        name=f"{NAME}.gradient_size",
        samples=_sizes,
        budget=4.0,
        reason="a difference, amplified as far as it cancels, and the bound of its norm",
        dtypes=("float64", "float32"),
    ),
    Case(
        name=f"{NAME}.lipschitz",
        samples=_tracked,
        budget=4.0,
        reason="two products and a sum",
    ),
    Case(
        name=f"{NAME}.relative_gradient",
        samples=_gradients,
        budget=1.0,
        reason="one difference",
    ),
)
