"""Checks of Kronecker products and of the Gram matrices of their axes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from verification import compare
from verification.case import Case, Invariant, Sample
from verification.problems.factors import diagonal, positive_definite, rotation
from verification.problems.matrices import SCALES, gaussian

__all__ = ["CHECKS"]

NAME = "linalg.kronecker"
# Shape, and which axes have a dense factor.
LAYOUTS = (
    ((4, 3), (True, True)),
    ((3, 5), (True, False)),
    ((2, 4, 3), (True, False, True)),
    ((3, 2, 2, 4), (False, True, True, True)),
    ((6,), (True,)),
    ((5,), (False,)),
    ((1,), (False,)),
)


def _factor(rng: np.random.Generator, size: int, dense: bool, is_complex: bool) -> np.ndarray:
    if not dense:
        return diagonal(rng, size, 100.0)
    turned = rotation(rng, size, 0.4, is_complex)
    return turned @ positive_definite(rng, size, 10.0, is_complex)


def _layouts(rng: np.random.Generator) -> Iterator[tuple[str, list[np.ndarray], np.ndarray]]:
    for shape, dense in LAYOUTS:
        for index, is_complex in enumerate((False, True)):
            for scale in SCALES:
                factors = [
                    _factor(rng, size, d, is_complex) for size, d in zip(shape, dense, strict=True)
                ]
                label = f"{'x'.join(map(str, shape))} {scale:.0e} complex {is_complex}"
                # The scale sits in the tensor or in one of its factors.
                factors[0] = factors[0] * (scale if index else 1.0)
                yield label, factors, gaussian(rng, shape, is_complex) * (1.0 if index else scale)


def _applied(power: int) -> Callable[[np.random.Generator], Iterator[Sample]]:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for label, factors, tensor in _layouts(rng):
            if power == 2:
                # A square must stay within float32.
                sizes = [float(np.max(np.abs(q))) for q in factors]
                factors = [q / np.sqrt(s) for q, s in zip(factors, sizes, strict=True)]
            yield Sample(label, (factors, tensor), scale=_size(factors, tensor, power))

    return samples


def _size(factors: list[np.ndarray], tensor: np.ndarray, power: int) -> float:
    norms = [compare.norm(q) if q.ndim > 1 else float(np.max(np.abs(q))) for q in factors]
    return compare.norm(tensor) * float(np.prod([n**power for n in norms]))


def _grams(rng: np.random.Generator) -> Iterator[Sample]:
    for label, factors, tensor in _layouts(rng):
        del factors
        # A square must stay within float32.
        size = float(np.max(np.abs(tensor)))
        power = 2.0 ** np.clip(np.round(np.log2(size)), -50, 50) / 2.0 ** np.round(np.log2(size))
        for axis in range(tensor.ndim):
            yield Sample(f"{label} axis {axis}", (tensor * power, axis))
    # Long rows, which are turned over in memory before they are multiplied.
    for length in (256, 300):
        yield Sample(f"3x{length} complex", (gaussian(rng, (3, length), True), 1))


def _balanced(rng: np.random.Generator) -> Iterator[Sample]:
    for label, factors, _ in _layouts(rng):
        scales = [(1e15, 1e-12, 3.0, 0.5)[axis] for axis in range(len(factors))]
        yield Sample(label, ([q * s for q, s in zip(factors, scales, strict=True)],))
    first, second = rng.standard_normal((3, 3)), rng.standard_normal(4)
    yield Sample("product overflows", ([first * 1e200, second * 1e180],))
    yield Sample("product vanishes", ([first * 1e-200, second * 1e-180],))
    yield Sample("a zero factor", ([first, np.zeros(4)],))


def _product_kept(result: Any, sample: Sample, eps: float) -> float:
    """Return how far the product of all largest entries has moved, in epsilons."""
    before = sum(np.log2(max(np.max(np.abs(q)), 5e-324)) for q in sample.arguments[0])
    after = sum(np.log2(max(np.max(np.abs(q)), 5e-324)) for q in result)
    return float(abs(after - before)) / eps / 2000.0


CHECKS = (
    Case(
        name=f"{NAME}.apply",
        samples=_applied(1),
        budget=4.0,
        reason="one product of length n for each axis",
        dtypes=("float64", "float32"),
    ),
    Case(
        name=f"{NAME}.apply_normal",
        samples=_applied(2),
        budget=4.0,
        reason="two products of length n for each axis",
        dtypes=("float64", "float32"),
    ),
    Case(
        name=f"{NAME}.gram",
        samples=_grams,
        budget=4.0,
        reason="sums of N / n products",
        dtypes=("float64", "float32"),
    ),
    Case(
        name=f"{NAME}.gram_diagonal",
        samples=_grams,
        budget=4.0,
        reason="sums of N / n squares",
        dtypes=("float64", "float32"),
    ),
    Case(
        name=f"{NAME}.balance",
        samples=_balanced,
        budget=8.0,
        reason="a mean of logarithms or a root, and a product",
        invariants=(
            Invariant("product kept", _product_kept, 8.0, "logarithms of up to 2000 in size"),
        ),
        dtypes=("float64", "float32"),
    ),
)
