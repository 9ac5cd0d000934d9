"""Checks of the learning-rate schedules."""

from collections.abc import Callable, Iterator

import numpy as np

from verification.case import Case, Sample

LAYOUTS = (
    (100, 0.1, 0.1),
    (1000, 0.29, 0.4),
    (37, 0.0, 0.2),
    (37, 0.3, 0.0),
    (10, 0.5, 0.5),
    (1, 0.0, 0.0),
)


def _steps(rng: np.random.Generator) -> Iterator[Sample]:
    del rng
    for total, warmup, decay in LAYOUTS:
        for shape in ("linear", "sqrt"):
            options = {
                "peak_lr": 0.3,
                "total_steps": total,
                "warmup_fraction": warmup,
                "decay_fraction": decay,
                "decay_shape": shape,
            }
            label = f"{total} steps, {warmup:g} warmup, {decay:g} {shape} decay"
            yield Sample(label, (np.arange(total + 3),), options)


def _over_steps(function: Callable[..., Callable], counts: np.ndarray, **options: object):
    """Evaluate a schedule at every step, together where it can be."""
    schedule = function(**options)
    if isinstance(counts, np.ndarray):
        return np.asarray([schedule(int(count)) for count in counts])
    return schedule(counts)


CHECKS = (
    Case(
        name="schedules.wsd_schedule",
        samples=_steps,
        budget=4.0,
        reason="two quotients, a root and a product",
        dtypes=("float64",),
        apply=_over_steps,
    ),
)
