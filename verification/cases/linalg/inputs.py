"""Dtypes and steps that the other cases do not have."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from verification.case import Case, Sample
from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.problems.factors import positive_definite, rotation
from verification.problems.matrices import gaussian
from verification.registry import production

__all__ = ["CHECKS"]

NAME = "linalg.newton_schulz.newton_schulz"
SIDE, ROWS = 300, ((3.4445, -4.7750, 2.0315),)


def _normalized(rng: np.random.Generator) -> Any:
    del rng
    ones = np.ones((SIDE, SIDE), np.float16)
    found = interpreted(production("linalg.newton_schulz.normalize"))(ones, np.float16(0))
    return found[0, 0].astype(np.float64)


def _widths(rng: np.random.Generator) -> Any:
    """Return the bytes of an entry of what comes of float32 where float64 is allowed."""
    del rng
    import jax

    shape = production("prism.shaping.shape")
    matrix = jax.ShapeDtypeStruct((4, 3), "float32")
    iterate = production(NAME)
    found = [
        jax.eval_shape(lambda x: iterate(x, ROWS, 3), matrix),
        jax.eval_shape(lambda x: shape(x, x, 1.0, ROWS, 3, 0.0, "gram"), matrix),
    ]
    return [np.asarray(float(np.dtype(one.dtype).itemsize)) for one in found]


def _far(rng: np.random.Generator) -> Iterator[Sample]:
    """Yield rotations by more than a right angle, most with steps that no limit cuts short."""
    for size, is_complex in ((6, False), (5, True), (2, False)):
        for angle, most in ((2.5, 50.0), (1.8, 50.0), (0.7, 0.1)):
            q = rotation(rng, size, angle, is_complex) @ positive_definite(rng, size, 3, is_complex)
            label = f"{size}x{size} angle {angle} complex {is_complex}"
            yield Sample(label, (q, gaussian(rng, (4, size), is_complex), most))


CHECKS = (
    Case(
        name="linalg.procrustes.rotate_third_order",
        label="far",
        samples=_far,
        budget=8.0,
        reason="a handful of products of length n, whose sum may cancel to a few of them",
        dtypes=("float64",),
    ),
    Equivalence(
        name=NAME,
        label="sum of many squares of float16 = that of wider numbers",
        left=_normalized,
        right=lambda rng: np.asarray(float(np.float16(1.0 / SIDE))),
        budget=0.0,
        reason="exact but for the last division, which both round to float16",
    ),
    Equivalence(
        name=NAME,
        label="bytes of a result of float32 = four",
        left=_widths,
        right=lambda rng: [np.asarray(4.0)] * 2,
        budget=0.0,
        reason="nothing is computed",
    ),
)
