"""Checks of the rules by which a factor moves, a case for each row of the table."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from verification import compare
from verification.case import Case, Invariant, Sample
from verification.problems.factors import diagonal, positive_definite, rotation, triangular
from verification.problems.matrices import SCALES, gaussian

__all__ = ["CHECKS"]

NAME = "psgd.geometry"
PROBES = 4
BOTH = ("float64", "float32")
State = Callable[[np.random.Generator, int, float, bool], np.ndarray]


class Auxiliary(NamedTuple):
    """What a rule is given besides, with the fields of both sides."""

    probes: Any = None
    least_iterations: int = 5


class Row(NamedTuple):
    """A rule for dense factors.

    Attributes:
        function: Its name, without `_matrix`.
        state: Makes factors that the rule keeps to their kind.
        rotates: Whether it takes probes.
        budget: In epsilons.
        reason: Why that many.
        positive: Whether the factor is Hermitian and positive afterwards.
        ratio: Of the error in float32 to that of the control.
        large: A side of which a part of the products is not made, if there is one to check.
    """

    function: str
    state: State
    rotates: bool
    budget: float
    reason: str
    positive: bool = False
    ratio: float = 4.0
    large: int = 0


def _crooked(rng: np.random.Generator, size: int, condition: float, is_complex: bool) -> np.ndarray:
    """Return a factor that some steps have turned away from a positive one."""
    turned = rotation(rng, size, 0.2, is_complex)
    return turned @ positive_definite(rng, size, condition, is_complex)


BASES = ("whitened", "factor", "normal", "direct")
NAMES = (
    *("EQ", "QEP", "QEQ", "Q0.5EQ1.5", "Q0p5EQ1p5", "QUAD", "QUAD4P", "PRO4P", "NS"),
    *("EXP", "TAYLOR2", "HYPER"),
    # No rows, each of which was one somewhere or nearly is.
    *("QE", "QUAD2", "eq", ""),
)
PRODUCTS = "two products of length n"
ROWS = (
    Row("eq", triangular, False, 4.0, "one product of length n", large=513),
    Row("qep", _crooked, False, 4.0, "one product of length n"),
    Row("qeq", _crooked, False, 4.0, "one product of length n"),
    Row("q0p5eq1p5", _crooked, True, 8.0, "a product and a rotation of a few more"),
    Row("quad", positive_definite, False, 4.0, PRODUCTS, positive=True, large=384),
    Row("quad4p", positive_definite, False, 4.0, PRODUCTS, positive=True, large=384),
    Row("pro4p", _crooked, True, 16.0, "a product and up to ten rotations"),
    Row("ns", _crooked, False, 4.0, "a rounding for each Newton–Schulz iteration", True, 8.0),
    Row("exp", positive_definite, False, 8.0, "a series, three squares, two products", True, 32.0),
    # Where a core adds four numbers at once, the reference is 5.3 from the exact result, production
    # 3.9, and they 4.7 from each other.
    Row("taylor2", positive_definite, False, 8.0, "three long products", positive=True, large=384),
    Row("hyper", positive_definite, False, 8.0, "four Schulz iterations, two products", True, 32.0),
)


def _direction(
    rng: np.random.Generator, size: int, is_complex: bool, norm: float, scale: float
) -> tuple[np.ndarray, float]:
    """Return (E, μ) with ‖μE‖ of that size, E with eigenvalues of both signs."""
    matrix = gaussian(rng, (size, size), is_complex)
    matrix = matrix + matrix.conj().T
    return scale * matrix / np.linalg.norm(matrix, 2), norm / scale


def _dense(row: Row) -> Callable[[np.random.Generator], Iterator[Sample]]:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        sizes = [(6, False), (5, True), (1, True)]
        for size, is_complex in sizes + [(row.large, True)] * (row.large > 0):
            for condition in (10.0,) if size == row.large else (10.0, 1e3):
                for index, norm in enumerate((0.5, 0.1, 0.9)):
                    factor_scale, scale = SCALES[index], SCALES[(index + 1) % 3]
                    q = factor_scale * row.state(rng, size, condition, is_complex)
                    gradient, step = _direction(rng, size, is_complex, norm, scale)
                    arguments: tuple[Any, ...] = (q, gradient, step)
                    if row.rotates:
                        arguments += (gaussian(rng, (PROBES, size), is_complex),)
                    label = f"{size}x{size} cond {condition:g} norm {norm} {factor_scale:.0e}"
                    size_before = compare.norm(q)
                    # Newton–Schulz rounds once in each of about that many iterations.
                    many = 5 + np.log(condition) / np.log(1.5) if row.function == "ns" else 1.0
                    label = f"{label} complex {is_complex}"
                    yield Sample(label, arguments, condition=many, scale=size_before)

    return samples


def _moved(
    function: Callable[..., Any], q: Any, gradient: Any, step: Any, probes: Any = None
) -> Any:
    return function(q, gradient, step, Auxiliary(probes))


def _diagonal(rng: np.random.Generator) -> Iterator[Sample]:
    for size in (7, 1):
        for condition in (10.0, 1e3):
            for index, norm in enumerate((0.5, 0.1, 0.9)):
                gradient = rng.standard_normal(size)
                gradient *= SCALES[(index + 1) % 3] / np.max(np.abs(gradient))
                q = SCALES[index] * diagonal(rng, size, condition)
                label = f"{size} cond {condition:g} norm {norm} {SCALES[index]:.0e}"
                arguments = (q, gradient, norm / SCALES[(index + 1) % 3])
                yield Sample(label, arguments, scale=compare.norm(q))


def _names(rng: np.random.Generator) -> Iterator[Sample]:
    del rng
    for name in NAMES:
        yield Sample(name, (name,))


def _described(function: Callable[..., Any], name: str) -> np.ndarray:
    """Return the row of a name as numbers: its basis, and the letters of its other fields."""
    try:
        row = function(name)
    except ValueError:
        return np.asarray([-1])
    texts = (row.name, row.matrix.__name__, row.vector.__name__)
    return np.asarray([1 + BASES.index(row.basis), *map(ord, " ".join(texts))])


def _least_eigenvalue(result: np.ndarray, sample: Sample, eps: float) -> float:
    """Return how far the result is from Hermitian and positive, in epsilons of its norm."""
    del sample
    size = compare.norm(result)
    values = np.linalg.eigvalsh(result / size)
    skew = compare.norm(result - result.conj().T) / size
    return max(skew, -float(values[0])) / eps


def _below(result: np.ndarray, sample: Sample, eps: float) -> float:
    """Return what is below the diagonal, and how negative it is, in epsilons of the norm."""
    del sample
    size = compare.norm(result)
    lower = compare.norm(np.tril(result, -1)) / size
    return max(lower, -float(np.min(np.diagonal(result).real)) / size) / eps


def _invariants(row: Row) -> tuple[Invariant, ...]:
    if row.positive:
        return (Invariant("positive", _least_eigenvalue, 4.0, "zero itself is rounded"),)
    if row.state is triangular:
        return (Invariant("triangular", _below, 0.0, "‖μE‖ < 1 keeps the diagonal positive"),)
    return ()


def _not_negative(result: np.ndarray, sample: Sample, eps: float) -> float:
    del sample, eps
    return 0.0 if np.min(result) > 0 else float("inf")


CHECKS = (
    Case(
        name=f"{NAME}.geometry",
        samples=_names,
        budget=0.0,
        reason="names, copied",
        dtypes=("float64",),
        apply=_described,
    ),
    *(
        Case(
            name=f"{NAME}.{row.function}_matrix",
            samples=_dense(row),
            budget=row.budget,
            reason=row.reason,
            invariants=_invariants(row),
            dtypes=BOTH,
            ratio=row.ratio,
            ratio_reason=f"{row.reason}; the control is exact where production iterates",
            apply=_moved,
        )
        for row in ROWS
    ),
    *(
        Case(
            name=f"{NAME}.{row.function}_vector",
            samples=_diagonal,
            budget=4.0,
            reason="a few roundings of each entry",
            invariants=(Invariant("positive", _not_negative, 0.0, "every row keeps the sign"),),
            ratio=8.0,
            ratio_reason="1 - μE cancels, and production may round μE otherwise",
        )
        for row in ROWS
    ),
)
