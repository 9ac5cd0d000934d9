"""Checks of tensors seen as matrices."""

from collections.abc import Iterator

import numpy as np

from verification.case import Case, Sample

NAME = "trees.matrixize"
LAYOUTS = (
    ((4, 3), (0,), (1,)),
    ((4, 3), (1,), (0,)),
    ((3, 5, 2, 4), (0, 1, 2), (3,)),
    ((3, 5, 2, 4), (3, 1), (0,)),
    ((2, 3, 4), (1,), (2,)),
    ((2, 3, 4, 5), (-1,), (1,)),
)


def _forward(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, reduction, output in LAYOUTS:
        tensor = rng.standard_normal(shape)
        options = {"reduction_axes": reduction, "output_axes": output}
        yield Sample(f"{shape} {reduction} to {output}", (tensor,), options)


def _back(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, reduction, output in LAYOUTS:
        rows = int(np.prod([shape[axis] for axis in reduction]))
        columns = int(np.prod([shape[axis] for axis in output]))
        stack = rng.standard_normal((int(np.prod(shape)) // (rows * columns), rows, columns))
        options = {"shape": shape, "reduction_axes": reduction, "output_axes": output}
        yield Sample(f"{shape} {reduction} to {output}", (stack,), options)


REASON = "entries are moved, not computed: equal bits"
CHECKS = tuple(
    Case(name=f"{NAME}.{function}", samples=samples, budget=0.0, reason=REASON, ratio=0.0)
    for function, samples in (("to_matrices", _forward), ("from_matrices", _back))
)
