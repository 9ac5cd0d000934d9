"""Dtypes and steps that the other cases do not have."""

from collections.abc import Callable, Iterator
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
SIDE, ROWS = 400, ((3.4445, -4.7750, 2.0315),)


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
    # One strong plane and weak ones, all turned by nearly a right angle: the third trace is small.
    turn = [[np.cos(1.5), -np.sin(1.5)], [np.sin(1.5), np.cos(1.5)]]
    basis = np.linalg.qr(gaussian(rng, (22, 22), False))[0]
    q = basis @ np.kron(np.diag([1.0, *[0.3] * 10]), turn) @ basis.T
    yield Sample("planes of two sizes", (q, gaussian(rng, (4, 22), False), 50.0))


def _of_zero(rng: np.random.Generator) -> Any:
    del rng
    return 1 + interpreted(production("linalg.positive.hermitian_polar_factor"))(np.zeros((3, 3)))


def _flat(rng: np.random.Generator) -> Iterator[Sample]:
    """Yield matrices whose spectral norm is far above that of a row, and near the largest bound."""
    for size, is_complex in ((6, False), (5, True)):
        q = np.ones((size, size)) + 0.5 * positive_definite(rng, size, 3.0, is_complex)
        yield Sample(f"{size}x{size} complex {is_complex}", (q,), condition=15.0)
    for axis in (0, 1):
        q = 0.1 * positive_definite(rng, 12, 3.0, False)
        np.moveaxis(q, axis, 0)[0] += 1.0
        yield Sample(f"one along axis {axis}", (q,), condition=15.0)


TABLES: tuple[tuple[tuple[float, float, float], ...], ...] = (
    ROWS,
    ((4.0, -5.0, 2.0), (2.0, -1.5, 0.5)),
)
PRECISIONS = ("float64", "float32", "bfloat16")
# Fewer than there are rows, as many, and more: the last row then goes on.
COUNTS = (1, 2, 4)
ITERATED = TABLES[1][0][0] * TABLES[1][1][0] ** 3

Side = Callable[[np.random.Generator], Any]


def _cuts(rng: np.random.Generator) -> Any:
    """Return how many iterations each segment has."""
    import jax.numpy as jnp

    del rng
    cut = production("linalg.gram_newton_schulz.segments")
    plans = [cut(rows, 12, float(jnp.finfo(dtype).eps)) for rows in TABLES for dtype in PRECISIONS]
    return [np.asarray([float(len(segment.rows)) for segment in plan]) for plan in plans]


def _longest(rng: np.random.Generator) -> Any:
    """Return how many iterations go on until Π a² is above 2^16, or above 1 % in epsilons."""
    import jax.numpy as jnp

    del rng
    found = []
    for rows in TABLES:
        slopes = [rows[min(index, len(rows) - 1)][0] for index in range(12)]
        for dtype in PRECISIONS:
            limit = min(16 * np.log(2), np.log(0.01 / float(jnp.finfo(dtype).eps)))
            lengths, left = [], slopes
            while left:
                grown = 2 * np.cumsum(np.log(left)) > limit
                lengths.append(int(np.argmax(grown)) + 1 if grown.any() else len(left))
                left = left[lengths[-1] :]
            found.append(np.asarray(lengths, float))
    return found


def _iterated(is_traced: bool) -> Side:
    """Return what some numbers of iterations give, known to the compiler or not."""

    def run(rng: np.random.Generator) -> Any:
        x = gaussian(rng, (4, 3), False)
        iterate, shape = production(NAME), production("prism.shaping.shape")

        def all_of(x: Any, counts: Any) -> Any:
            found = [iterate(x, TABLES[1], count, 0.0) for count in counts]
            return [*found, shape(x, x, 1.0, TABLES[1], counts[1], 0.0, "auto")]

        if is_traced:
            return interpreted(all_of)(x, [np.asarray(count) for count in COUNTS])
        return interpreted(lambda x: all_of(x, COUNTS))(x)

    return run


CHECKS = (
    Equivalence(
        name=NAME,
        label="a number of iterations that is traced = one that is known",
        left=_iterated(True),
        right=_iterated(False),
        budget=8.0,
        condition=ITERATED,
        reason="products in other forms, amplified by the slope of the iteration at zero",
    ),
    Equivalence(
        name="linalg.positive.hermitian_polar_factor",
        label="of zero, and one = one",
        left=_of_zero,
        right=lambda rng: np.ones((3, 3)),
        budget=0.0,
        reason="zero",
    ),
    Case(
        name="linalg.positive.hermitian_polar_factor",
        label="of nearly equal entries",
        samples=_flat,
        budget=4.0,
        reason="as well conditioned as a norm; a rounding for each iteration",
    ),
    Equivalence(
        name="prism.shaping.shape",
        label="iterations between restarts = as many as the bound on rounding allows",
        left=_cuts,
        right=_longest,
        budget=0.0,
        reason="whole numbers",
    ),
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
