"""Checks of the arithmetic of PRISM on one matrix."""

from collections.abc import Callable, Iterator

import numpy as np

from verification import compare, registry
from verification.case import Case, Invariant, Sample
from verification.cases.linalg.newton_schulz import gain, gap_condition
from verification.problems import matrices, tensors
from verification.problems.matrices import gaussian

NAME = "prism.shaping"
ELEMENTWISE = "a few roundings of each entry"
B1 = 0.95
# One table for each shape, so that each compiles once.
TABLES = {
    (24, 16): ("jordan", 5),
    (16, 24): ("polar_express", 5),
    (20, 20): ("jordan", 7),
    (8, 40): ("dion", 5),
    (384, 384): ("jordan", 5),
    (128, 300): ("dion", 5),
}


def _pairs(rng: np.random.Generator) -> Iterator[Sample]:
    """Yield two tensors of one kind, the second of other entries."""
    first, second = tensors(rng, cheap=True), tensors(rng, cheap=True)
    for (label, a), (_, b) in zip(first, second, strict=True):
        yield Sample(label, (a, b))


def _averaged(rng: np.random.Generator) -> Iterator[Sample]:
    for index, sample in enumerate(_pairs(rng)):
        b1 = (B1, 0.9, 0.0)[index % 3]
        scale = sum(compare.norm(array) for array in sample.arguments)
        yield Sample(sample.label, (*sample.arguments, b1), scale=scale)


def _innovated(rng: np.random.Generator) -> Iterator[Sample]:
    for sample in _pairs(rng):
        scale = sum(compare.norm(array) for array in sample.arguments)
        yield Sample(sample.label, sample.arguments, scale=scale)


def _corrected(rng: np.random.Generator) -> Iterator[Sample]:
    for index, (label, array) in enumerate(tensors(rng, cheap=True)):
        count = (1, 2, 40)[index % 3]
        # 1 - βᵗ loses what 1 and βᵗ share.
        condition = 1 / (1 - B1**count)
        yield Sample(label, (array, B1, count), condition=condition)


def _ahead(rng: np.random.Generator) -> Iterator[Sample]:
    for index, sample in enumerate(_pairs(rng)):
        count = (1, 2, 40)[index % 3]
        scale = sum(compare.norm(array) for array in sample.arguments) / (1 - B1**count)
        arguments = (*sample.arguments, B1, count)
        yield Sample(sample.label, arguments, condition=1 / (1 - B1**count), scale=scale)


def _blocks(
    rng: np.random.Generator, small: bool
) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    """Yield (label, target, innovation, gamma) of training: a signal and what is left of noise."""
    shapes = ((12, 8), (8, 12), (6, 20)) if small else ((24, 16), (16, 24), (20, 20), (8, 40))
    noise = matrices(rng, shapes, cheap=True)
    signal = matrices(rng, shapes, cheap=True)
    for index, ((label, d), (_, m)) in enumerate(zip(noise, signal, strict=True)):
        yield label, m, d, (1.0, 0.3, 4.0)[index % 3]
    if not small:
        # Large enough for products that leave out what symmetry gives.
        yield (
            "384x384 real",
            gaussian(rng, (384, 384), False),
            gaussian(rng, (384, 384), False),
            0.5,
        )
        yield (
            "128x300 complex",
            gaussian(rng, (128, 300), True),
            gaussian(rng, (128, 300), True),
            1.0,
        )


def _stacked(target: np.ndarray, innovation: np.ndarray, gamma: float) -> np.ndarray:
    return np.concatenate([target, gamma * innovation])


def _augmented(rng: np.random.Generator) -> Iterator[Sample]:
    for label, target, innovation, gamma in _blocks(rng, small=True):
        yield Sample(label, (target, innovation, gamma))


def _exact(rng: np.random.Generator) -> Iterator[Sample]:
    for label, target, innovation, gamma in _blocks(rng, small=True):
        if "near-singular" in label or "rank-one" in label:
            continue
        stacked = _stacked(target, innovation, gamma)
        size = registry.reference(f"{NAME}.shape_exact")(target, innovation, gamma)
        # What rounding of the whole stack does to a top block that may be a small part of it.
        condition = gap_condition(stacked) * np.sqrt(min(stacked.shape)) / compare.norm(size)
        yield Sample(label, (target, innovation, gamma), condition=condition)


def _shaped(form: str, growth: Callable[[float], float]):
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        shape = registry.reference(f"{NAME}.shape")
        for index, (label, target, innovation, gamma) in enumerate(_blocks(rng, small=False)):
            table, iterations = TABLES[target.shape]
            rows = tuple(map(tuple, registry.reference("linalg.newton_schulz.coefficients")(table)))
            eps = 0.0 if index % 4 else 0.1 * compare.norm(_stacked(target, innovation, gamma))
            arguments = (target, innovation, gamma, rows, iterations, eps)
            condition = growth(gain(rows, iterations)) / compare.norm(shape(*arguments))
            yield Sample(
                f"{table} {label}",
                arguments,
                production_options={"form": form},
                condition=max(1.0, condition),
            )

    return samples


def _spectral_excess(result: np.ndarray, sample: Sample, eps: float) -> float:
    return max(0.0, float(np.linalg.norm(result, 2)) - 1) / eps / sample.condition


CHECKS = (
    *(
        Case(name=f"{NAME}.{function}", samples=samples, budget=4.0, reason=ELEMENTWISE)
        for function, samples in (
            ("momentum", _averaged),
            ("innovation", _innovated),
            ("nesterov", _averaged),
            ("augment", _augmented),
        )
    ),
    *(
        Case(
            name=f"{NAME}.{function}",
            samples=samples,
            budget=4.0,
            reason="a few roundings of each entry, amplified by 1 / (1 - βᵗ)",
            ratio=8.0,
            ratio_reason="production rounds β, βᵗ and 1 - βᵗ, the control has them in double",
        )
        for function, samples in (
            ("corrected_momentum", _corrected),
            ("corrected_nesterov", _ahead),
        )
    ),
    Case(
        name=f"{NAME}.shape_exact",
        samples=_exact,
        budget=4.0,
        reason="backward stable singular value decomposition, times the condition of the factor",
        invariants=(
            Invariant(
                "norm at most one", _spectral_excess, 4.0, "a block of a matrix with ‖·‖ = 1"
            ),
        ),
        dtypes=("float64",),
    ),
    Case(
        name=f"{NAME}.shape",
        label="direct",
        samples=_shaped("direct", lambda slope: slope),
        budget=8.0,
        reason="three products an iteration, amplified by the slope of the iteration at zero",
        dtypes=("float64", "float32"),
    ),
    Case(
        name=f"{NAME}.shape",
        label="gram",
        samples=_shaped("gram", lambda slope: slope**2),
        budget=4.0,
        reason="a Gram matrix squares the singular values, and so the slope at zero",
        dtypes=("float64", "float32"),
    ),
)
