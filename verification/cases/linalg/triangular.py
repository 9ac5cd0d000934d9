"""Checks of solving with the adjoint of triangular factors."""

from collections.abc import Iterator

import numpy as np

from verification.case import Case, Sample
from verification.problems.factors import diagonal, triangular
from verification.problems.matrices import gaussian

__all__ = ["CHECKS"]

LAYOUTS = (
    ((4, 3), (True, True)),
    ((3, 5), (True, False)),
    ((2, 4, 3), (True, False, True)),
    ((7,), (True,)),
    ((5,), (False,)),
    ((1, 2), (True, True)),
    # Sides from 256 on, which are solved in halves, of many columns and of few.
    ((261, 300), (True, False)),
    ((3, 260), (False, True)),
)


def _solved(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, dense in LAYOUTS:
        for is_complex in (False, True):
            for condition, scale in ((10.0, 1.0), (1e3, 1e-6), (10.0, 1e6)):
                factors = [
                    triangular(rng, n, condition, is_complex) if d else diagonal(rng, n, condition)
                    for n, d in zip(shape, dense, strict=True)
                ]
                factors[-1] = factors[-1] * scale
                label = f"{'x'.join(map(str, shape))} cond {condition:g} {scale:.0e}"
                arguments = (factors, gaussian(rng, shape, is_complex))
                # A triangular solve errs by less than this, but no bound promises it.
                worst = max([np.linalg.cond(q) for q in factors if q.ndim > 1], default=1.0)
                yield Sample(f"{label} complex {is_complex}", arguments, condition=worst**0.5)


CHECKS = (
    Case(
        name="linalg.triangular.solve_adjoint",
        samples=_solved,
        budget=4.0,
        reason="one substitution of length n for each axis",
        dtypes=("float64", "float32"),
    ),
)
