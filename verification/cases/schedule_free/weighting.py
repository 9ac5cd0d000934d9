"""Checks of the weights of the average."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from verification.case import Case, Sample

NAME = "schedule_free.weighting"
MODES = ("theoretical", "schedulet", "practical")


def _weights(rng: np.random.Generator) -> Iterator[Sample]:
    for mode, count, power in product(MODES, (0, 6, 3000), (0.0, 0.5, 2.0)):
        rate = np.asarray(10.0 ** rng.uniform(-4, 1))
        options = {"count": count, "mode": mode, "averaging_power": power}
        yield Sample(f"{mode}, step {count}, power {power:g}", (rate,), options)


def _coefficients(rng: np.random.Generator) -> Iterator[Sample]:
    for _ in range(6):
        weight = 10.0 ** rng.uniform(-4, 1)
        rest = 10.0 ** rng.uniform(-4, 4)
        yield Sample("random", (np.asarray(weight), np.asarray(weight + rest)))
    yield Sample("first step", (np.asarray(0.25), np.asarray(0.25)))
    yield Sample("all weights zero", (np.asarray(0.0), np.asarray(0.0)))


CHECKS = (
    Case(
        name=f"{NAME}.averaging_weight",
        samples=_weights,
        budget=4.0,
        reason="a power, whose last digits libraries round differently, and two products",
    ),
    Case(
        name=f"{NAME}.averaging_coefficient",
        samples=_coefficients,
        budget=1.0,
        reason="one quotient",
    ),
)
