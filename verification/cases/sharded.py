"""Limits of what is spread over a mapped axis, evaluated without compiling."""

from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.registry import production

__all__ = ["CHECKS"]

NAME = "guards.clip_by_global_rms"
LIMITS = (0.4, 1.1)


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


CHECKS = (
    Equivalence(
        name=NAME,
        label="shards of an axis = the whole",
        left=_shards,
        right=_whole,
        budget=4.0,
        reason="squares are summed in another order",
    ),
)
