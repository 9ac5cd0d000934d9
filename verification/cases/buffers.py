"""A first state has buffers of its own, each of them once, so that it can be donated."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from verification.cases.dtypes import NAMES
from verification.equivalence import Equivalence
from verification.registry import production

__all__ = ["CHECKS"]

SHAPES = {"a": (3, 4), "b": (5,)}


def _buffers(name: str) -> list[int]:
    """Return where the key, the parameters and all arrays of a first state are kept."""
    import jax
    import jax.numpy as jnp

    key, factory = jax.random.PRNGKey(0), production(name)
    named = [one for one in ("key", "seed") if one in inspect.signature(factory).parameters]
    params = {leaf: jnp.ones(shape) for leaf, shape in SHAPES.items()}
    state = factory(*NAMES[name], **dict.fromkeys(named, key)).init(params)
    arrays = [one for one in jax.tree.leaves((key, params, state)) if isinstance(one, jax.Array)]
    return [array.unsafe_buffer_pointer() for array in arrays if array.size]


def _number(name: str, different: bool) -> Callable[[np.random.Generator], Any]:
    """Return how many arrays there are, or how many buffers they are kept in."""

    def run(rng: np.random.Generator) -> Any:
        del rng
        found = _buffers(name)
        return np.asarray(float(len(set(found) if different else found)))

    return run


CHECKS = tuple(
    Equivalence(
        name=name,
        label="buffers of the key, the parameters and a first state = arrays",
        left=_number(name, True),
        right=_number(name, False),
        budget=0.0,
        reason="whole numbers",
    )
    for name in NAMES
)
