"""Checks of the three sequences."""

from collections.abc import Iterator

import numpy as np

from verification import compare
from verification.case import Case, Sample
from verification.problems import tensors

NAME = "schedule_free.sequences"
B1 = (0.9, 0.5, 0.98, 1.0)


def _tuples(rng: np.random.Generator, count: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    streams = [tensors(rng, cheap=True) for _ in range(count)]
    for samples in zip(*streams, strict=True):
        yield samples[0].label, [sample.value for sample in samples]


def _scale(arrays: list[np.ndarray]) -> float:
    return sum(compare.norm(array) for array in arrays)


def _mixed(rng: np.random.Generator, values: tuple[float, ...]) -> Iterator[Sample]:
    for index, (label, arrays) in enumerate(_tuples(rng, 2)):
        number = values[index % len(values)]
        yield Sample(label, (*arrays, number), scale=_scale(arrays))


def _between(rng: np.random.Generator) -> Iterator[Sample]:
    yield from _mixed(rng, (*B1, 0.0))


def _averages(rng: np.random.Generator) -> Iterator[Sample]:
    yield from _mixed(rng, (1.0, 0.5, 0.01, 0.0))


def _points(rng: np.random.Generator) -> Iterator[Sample]:
    for sample in _mixed(rng, B1):
        scale = (sample.scale or 0.0) / sample.arguments[-1]
        yield Sample(sample.label, sample.arguments, scale=scale)


def _moves(rng: np.random.Generator) -> Iterator[Sample]:
    for index, (label, (y, z, step)) in enumerate(_tuples(rng, 3)):
        terms = [y, z, 0.1 * step]
        numbers = (*B1, 0.0)[index % 5], (1.0, 0.25, 1e-3)[index % 3]
        yield Sample(label, (*terms, *numbers), scale=_scale(terms))


REASON = "a few roundings of each entry, relative to the terms of the sum"
CHECKS = tuple(
    Case(name=f"{NAME}.{function}", samples=samples, budget=4.0, reason=REASON)
    for function, samples in (
        ("interpolate", _between),
        ("average", _averages),
        ("evaluation_point", _points),
        ("iterate_update", _moves),
    )
)
