"""Devices and limits of PSGD with Kronecker factors, evaluated without compiling."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.registry import production

__all__ = ["CHECKS"]

NAME = "psgd.kron.scale_by_kron"
STEPS = 2

Side = Callable[[np.random.Generator], Any]


def _on_devices(count: int | None) -> Side:
    """Return the updates of several devices with the same gradients, or of one by itself."""

    def run(rng: np.random.Generator) -> Any:
        import jax

        axis = None if count is None else "devices"
        optimizer = production(NAME)(key=7, b1=0.5, axis_name=axis)
        stream = [{"w": rng.standard_normal((3, 4))} for _ in range(STEPS)]
        init, update = optimizer.init, optimizer.update
        if count is not None:
            stream = [{"w": np.stack([gradients["w"]] * count)} for gradients in stream]
            init, update = jax.vmap(init), jax.vmap(update, axis_name=axis)
        state, update = init(stream[0]), interpreted(update)
        for gradients in stream:
            updates, state = update(gradients, state, gradients)
        return updates["w"] if count is None else updates["w"][1]

    return run


CHECKS = (
    Equivalence(
        name=NAME,
        label="devices with one gradient = one device",
        left=_on_devices(2),
        right=_on_devices(None),
        budget=4.0,
        condition=10.0,
        reason="a mean of equal matrices; products in stacks, amplified by some tens",
    ),
)
