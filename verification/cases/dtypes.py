"""A step keeps every dtype and shape, asked of the traced step alone: nothing is computed."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.registry import production

__all__ = ["CHECKS"]

# What makes directions, and is to return them in the dtype of the gradients.
SCALING = (
    "prism.prism.scale_by_prism",
    "psgd.kron.scale_by_kron",
    "psgd.affine.scale_by_affine",
    "psgd.xmat.scale_by_xmat",
    "psgd.lra.scale_by_lra",
    "psgd.dense.scale_by_dense_newton",
)
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
# Fields of a state that are fitted, and those that stay in the dtype of the sums.
FLAT = {
    "psgd.xmat.xmat": (("a", "b"), ("L",)),
    "psgd.lra.low_rank_approximation": (("rows", "d"), ("gram", "L")),
    "psgd.dense.dense_newton": (("Q",), ("L",)),
}
DTYPES = ("bool", "int32", "uint32", "bfloat16", "float32", "float64", "complex64")
# What may be kept in another dtype than that of the parameters.
KEPT = ("mu_dtype", "precond_dtype", "state_dtype")
# It has no momentum to keep.
UNUSED = {("schedule_free.methods.schedule_free_kron", "mu_dtype")}
GIVEN, ASKED = "float32", "bfloat16"
SHAPES = ((5, 4), (20,))


def _options(name: str) -> list[str]:
    known = inspect.signature(production(name)).parameters
    return [one for one in KEPT if one in known and (name, one) not in UNUSED]


def _dtypes(
    name: str,
    number: int,
    asked: Sequence[str],
    given: str = GIVEN,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
) -> Callable[[np.random.Generator], Any]:
    """Return the dtypes and shapes of gradients and state before a step, or of what it returns."""

    def run(rng: np.random.Generator) -> Any:
        del rng
        import jax

        optimizer = production(name)(*NAMES.get(name, ()), **dict.fromkeys(asked, ASKED))
        tree = [jax.ShapeDtypeStruct(shape, given) for shape in shapes]
        state = jax.eval_shape(optimizer.init, tree)
        after = jax.eval_shape(optimizer.update, tree, state, tree)
        sides = (tree, state), after
        return [
            np.asarray([1.0 + DTYPES.index(str(leaf.dtype)), *leaf.shape])
            for leaf in jax.tree.leaves(sides[number])
        ]

    return run


def _holds(name: str) -> Callable[[np.random.Generator], Any]:
    """Return, for each option and each leaf alone, whether something is kept in that dtype."""

    def before(option: str, shape: tuple[int, ...]) -> Callable[[np.random.Generator], Any]:
        return _dtypes(name, 0, [option], shapes=[shape])

    def run(rng: np.random.Generator) -> Any:
        code = 1.0 + DTYPES.index(ASKED)
        return [
            np.asarray(float(any(code == leaf[0] for leaf in before(one, shape)(rng))))
            for one in _options(name)
            for shape in SHAPES
        ]

    return run


def _of_fields(name: str) -> Callable[[np.random.Generator], Any]:
    """Return the dtypes of what is fitted, and of what is known of it, by default and as asked."""

    def run(rng: np.random.Generator) -> Any:
        del rng
        import jax

        found = []
        for asked in (None, ASKED):
            optimizer = production(name)(*NAMES[name], precond_dtype=asked)
            tree = [jax.ShapeDtypeStruct((20,), GIVEN)]
            state = jax.eval_shape(optimizer.init, tree)
            after = jax.eval_shape(optimizer.update, tree, state, tree)[1][0]
            fields = [getattr(after, field) for group in FLAT[name] for field in group]
            found.append(np.asarray([1.0 + DTYPES.index(str(field.dtype)) for field in fields]))
        return found

    return run


def _as_asked(name: str, rng: np.random.Generator) -> Any:
    del rng
    given, asked = (1.0 + DTYPES.index(dtype) for dtype in (GIVEN, ASKED))
    fitted, known = (len(group) for group in FLAT[name])
    rest = [given] * known
    return [np.asarray([given] * fitted + rest), np.asarray([asked] * fitted + rest)]


def _stays_complex(rng: np.random.Generator) -> Any:
    """Return the dtypes of the momentum of a complex leaf, kept by request in one that is not."""
    del rng
    import jax

    tree = [jax.ShapeDtypeStruct((5, 4), "complex64")]
    found = []
    for name in ("prism.prism.scale_by_prism", "psgd.kron.scale_by_kron"):
        state = jax.eval_shape(production(name)(mu_dtype=ASKED).init, tree)
        found.append(np.asarray(1.0 + DTYPES.index(str(state.mu[0].dtype))))
    return found


def _true(name: str, rng: np.random.Generator) -> Any:
    del rng
    return [np.asarray(1.0) for _ in _options(name) for _ in SHAPES]


CHECKS = (
    Equivalence(
        name="psgd.kron.scale_by_kron",
        label=f"momentum of a complex leaf kept in {ASKED} = in complex64",
        left=_stays_complex,
        right=lambda rng: [np.asarray(1.0 + DTYPES.index("complex64"))] * 2,
        budget=0.0,
        reason="nothing is computed: equal codes",
    ),
    *(
        Equivalence(
            name=name,
            label="dtypes and shapes after a step = those before",
            left=_dtypes(name, 1, _options(name)),
            right=_dtypes(name, 0, _options(name)),
            budget=0.0,
            reason="nothing is computed: equal codes",
        )
        for name in NAMES
    ),
    *(
        Equivalence(
            name=name,
            label=f"dtypes and shapes after a step of {ASKED} = those before",
            left=_dtypes(name, 1, (), ASKED),
            right=_dtypes(name, 0, (), ASKED),
            budget=0.0,
            reason="nothing is computed: equal codes",
        )
        for name in SCALING
    ),
    *(
        Equivalence(
            name=name,
            label="what is fitted = in the dtype asked for, and nothing else",
            left=_of_fields(name),
            right=partial(_as_asked, name),
            budget=0.0,
            reason="nothing is computed: equal codes",
        )
        for name in FLAT
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
