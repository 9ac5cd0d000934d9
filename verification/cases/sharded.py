"""Limits and steps of what is spread over a mapped axis, evaluated without compiling."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.registry import production

__all__ = ["CHECKS"]

NAME = "guards.clip_by_global_rms"
LIMITS = (0.4, 1.1)
OPTIMIZERS = {
    "prism.prism.prism": (0.1,),
    "prism.prism.scale_by_prism": (),
    "psgd.kron.kron": (0.1,),
    "psgd.kron.scale_by_kron": (),
}


def _whole(rng: np.random.Generator) -> Any:
    arrays = [rng.standard_normal((6, 4)), rng.standard_normal((2, 5))]
    return interpreted(lambda x: production(NAME)(x, *LIMITS))(arrays)


def _shards(rng: np.random.Generator) -> Any:
    import jax

    arrays = [rng.standard_normal((6, 4)), rng.standard_normal((2, 5))]
    cut = [array.reshape(2, -1, array.shape[1]) for array in arrays]
    limited = jax.vmap(lambda x: production(NAME)(x, *LIMITS, "shards"), axis_name="shards")
    found = interpreted(limited)(cut)
    return [one.reshape(array.shape) for one, array in zip(found, arrays, strict=True)]


def _on_devices(name: str, spoiled: bool) -> Callable[[np.random.Generator], Any]:
    """Return the updates of two devices, of which one may have had a step that is no number."""

    def run(rng: np.random.Generator) -> Any:
        import jax

        optimizer = production(name)(*OPTIMIZERS[name], axis_name="devices")
        first = {"w": rng.standard_normal((2, 3, 4))}
        spoil = {"w": np.stack([np.full((3, 4), np.nan), first["w"][1]])}
        state = jax.vmap(optimizer.init)(first)
        update = interpreted(jax.vmap(optimizer.update, axis_name="devices"))
        for gradients in [spoil, first] if spoiled else [first]:
            updates, state = update(gradients, state, gradients)
        return updates

    return run


CHECKS = (
    *(
        Equivalence(
            name=name,
            label="a step that is no number on one device = no step on any",
            left=_on_devices(name, True),
            right=_on_devices(name, False),
            budget=0.0,
            reason="a skipped step leaves the state as it was",
        )
        for name in OPTIMIZERS
    ),
    Equivalence(
        name=NAME,
        label="shards of an axis = the whole",
        left=_shards,
        right=_whole,
        budget=4.0,
        reason="squares are summed in another order",
    ),
)
