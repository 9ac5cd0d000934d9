"""Checks of the lower bounds on spectral norms."""

from collections.abc import Callable, Iterator

import numpy as np

from verification.case import Case, Invariant, Sample
from verification.problems.factors import gram_matrix, positive_definite
from verification.problems.matrices import SCALES, gaussian

__all__ = ["CHECKS"]

NAME = "linalg.norm_bounds"
PROBES = 5
REASON = "four products of length n, normalised; the probes only point the way"


def _hermitian(rng: np.random.Generator, size: int, is_complex: bool) -> Iterator[tuple]:
    yield "gram", gram_matrix(rng, size, size, is_complex)
    yield "graded", positive_definite(rng, size, 1e6, is_complex)
    yield "rank-one", gram_matrix(rng, size, 1, is_complex)


def _skew(rng: np.random.Generator, size: int, is_complex: bool) -> Iterator[tuple]:
    matrix = gaussian(rng, (size, size), is_complex)
    yield "skew", matrix - matrix.conj().T
    graded = positive_definite(rng, size, 1e3, is_complex) @ matrix
    yield "graded", graded - graded.conj().T


def _samples(
    kinds: Callable[[np.random.Generator, int, bool], Iterator[tuple]], smallest_real: int
) -> Callable[[np.random.Generator], Iterator[Sample]]:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for size, is_complex in ((8, False), (5, True), (1, True), (smallest_real, False)):
            for kind, matrix in kinds(rng, size, is_complex):
                for scale in SCALES:
                    probes = gaussian(rng, (PROBES, size), is_complex)
                    label = f"{size}x{size} {kind} {scale:.0e} complex {is_complex}"
                    yield Sample(label, (scale * matrix, probes))
        yield Sample("zero", (np.zeros((8, 8)), gaussian(rng, (PROBES, 8), False)))

    return samples


def _any_matrix(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, is_complex in (((6, 6), False), ((5, 5), True), ((7, 4), False), ((1, 1), True)):
        # Of the last kind the longest row is longer than every column, of the one before not.
        for kind in ("gaussian", "triangular", "column", "row"):
            matrix = gaussian(rng, shape, is_complex)
            if kind == "triangular":
                matrix = np.triu(matrix)
            elif kind == "column":
                matrix[:, 0] *= 4.0
            elif kind == "row":
                matrix[-1] *= 4.0
            for scale in SCALES:
                label = f"{shape[0]}x{shape[1]} {kind} {scale:.0e} complex {is_complex}"
                yield Sample(label, (scale * matrix,))
    # The row is taken, from which another bound comes than from the column.
    alike = np.asarray([[2.0, 2.0, -2.0], [-2.0, -2.0, -2.0], [2.0, 2.0, 2.0]])
    yield Sample("longest row as long as longest column", (alike,))
    yield Sample("zero", (np.zeros((6, 6)),))


def _norm(sample: Sample) -> float:
    matrix = sample.arguments[0]
    largest = np.max(np.abs(matrix))
    return float(largest * np.linalg.norm(matrix / largest, 2)) if largest else 0.0


def _excess(result: np.ndarray, sample: Sample, eps: float) -> float:
    norm = _norm(sample)
    return max(0.0, float(result) / norm - 1) / eps if norm else float(result)


def _shortfall(result: np.ndarray, sample: Sample, eps: float) -> float:
    del eps
    return 0.0 if float(result) >= _norm(sample) / np.sqrt(2) else float("inf")


UPPER = Invariant("at most the norm", _excess, 8.0, "a Rayleigh quotient, rounded")
LOWER = Invariant(
    "at least the norm over √2", _shortfall, 0.0, "psgd_torch's observation, no theorem"
)
CHECKS = (
    Case(
        name=f"{NAME}.norm_bound",
        samples=_any_matrix,
        budget=4.0,
        reason="two products of length n, normalised",
        invariants=(UPPER, LOWER),
        dtypes=("float64", "float32"),
    ),
    *(
        Case(
            name=f"{NAME}.{function}",
            samples=_samples(kinds, smallest_real),
            budget=8.0,
            reason=REASON,
            invariants=(UPPER, LOWER),
            dtypes=("float64", "float32"),
        )
        # A real skew-symmetric matrix of one entry is zero.
        for function, kinds, smallest_real in (
            ("hermitian_norm_bound", _hermitian, 1),
            ("skew_norm_bound", _skew, 2),
        )
    ),
)
