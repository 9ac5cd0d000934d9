"""A step keeps every dtype, asked of the traced step alone: nothing is computed."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.registry import production

__all__ = ["CHECKS"]

NAMES = {
    "prism.prism.prism": (0.1,),
    "psgd.kron.kron": (0.1,),
    "psgd.affine.affine": (0.1,),
    "psgd.xmat.xmat": (0.1,),
    "psgd.lra.low_rank_approximation": (0.1,),
    "psgd.dense.dense_newton": (0.1,),
    "schedule_free.methods.schedule_free_sgd": (0.1,),
    "schedule_free.methods.schedule_free_adamw": (0.1,),
    "schedule_free.methods.schedule_free_kron": (0.1, 10),
    "schedule_free.methods.schedule_free_prism": (0.1, 10),
}
DTYPES = ("bool", "int32", "uint32", "bfloat16", "float32", "float64", "complex64")
# What may be kept in another dtype than that of the parameters.
KEPT = ("mu_dtype", "precond_dtype", "state_dtype")
# It has no momentum to keep.
UNUSED = {("schedule_free.methods.schedule_free_kron", "mu_dtype")}
GIVEN, ASKED = "float32", "bfloat16"


def _options(name: str) -> list[str]:
    known = inspect.signature(production(name)).parameters
    return [one for one in KEPT if one in known and (name, one) not in UNUSED]


def _dtypes(
    name: str, number: int, asked: str | None = None
) -> Callable[[np.random.Generator], Any]:
    """Return the dtypes of gradients and state before a step, or of updates and state after it."""

    def run(rng: np.random.Generator) -> Any:
        del rng
        import jax

        options = _options(name) if asked is None else [asked]
        optimizer = production(name)(*NAMES[name], **dict.fromkeys(options, ASKED))
        shapes = {"w": (3, 4), "b": (4,)}
        tree = {leaf: jax.ShapeDtypeStruct(shape, GIVEN) for leaf, shape in shapes.items()}
        state = jax.eval_shape(optimizer.init, tree)
        after = jax.eval_shape(optimizer.update, tree, state, tree)
        sides = (tree, state), after
        return [
            np.asarray(1.0 + DTYPES.index(str(leaf.dtype)))
            for leaf in jax.tree.leaves(sides[number])
        ]

    return run


def _holds(name: str) -> Callable[[np.random.Generator], Any]:
    """Return, for each option alone, whether something is kept in the dtype asked for."""

    def run(rng: np.random.Generator) -> Any:
        code = 1.0 + DTYPES.index(ASKED)
        return [np.asarray(float(code in _dtypes(name, 0, one)(rng))) for one in _options(name)]

    return run


def _true(name: str, rng: np.random.Generator) -> Any:
    del rng
    return [np.asarray(1.0) for _ in _options(name)]


CHECKS = (
    *(
        Equivalence(
            name=name,
            label="dtypes after a step = dtypes before",
            left=_dtypes(name, 1),
            right=_dtypes(name, 0),
            budget=0.0,
            reason="nothing is computed: equal codes",
        )
        for name in NAMES
    ),
    *(
        Equivalence(
            name=name,
            label="something kept in the dtype asked for = true",
            left=_holds(name),
            right=partial(_true, name),
            budget=0.0,
            reason="nothing is computed: equal codes",
        )
        for name in NAMES
    ),
)
