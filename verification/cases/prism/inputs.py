"""Trees that PRISM must take as it takes others, evaluated without compiling."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.registry import production

__all__ = ["CHECKS"]

NAME, SCALE = "prism.prism.prism", "prism.prism.scale_by_prism"
SAME = "the same operations on the same numbers"
SHAPES: dict[str, tuple[int, ...]] = {"a": (3, 4), "b": (4, 3)}

Side = Callable[[np.random.Generator], Any]


def _updates(optimizer: Any, stream: list[Any]) -> Any:
    state = optimizer.init(stream[0])
    update = interpreted(optimizer.update)
    for gradients in stream:
        updates, state = update(gradients, state, gradients)
    return updates


def _stream(rng: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> list[Any]:
    return [{leaf: rng.standard_normal(shape) for leaf, shape in shapes.items()} for _ in "12"]


def _numbered(each: bool) -> Side:
    def run(rng: np.random.Generator) -> Any:
        numbers = production("prism.dimension_numbers.PrismDimensionNumbers")(1, 0)
        given = {leaf: numbers for leaf in SHAPES} if each else numbers
        optimizer = production(NAME)(0.1, prism_weight_dimension_numbers=given)
        return _updates(optimizer, _stream(rng, SHAPES))

    return run


def _with_others(others: dict[str, tuple[int, ...]], shape: tuple[int, ...]) -> Side:
    """Return the update of one leaf, beside others or alone; what is no number spreads to it."""

    def run(rng: np.random.Generator) -> Any:
        stream = _stream(rng, {"w": shape})
        zeros = {leaf: np.zeros(other) for leaf, other in others.items()}
        optimizer = production(SCALE)(grad_clip_max_amps=None, compute_dtype="float32")
        found = _updates(optimizer, [{**gradients, **zeros} for gradients in stream])
        return found["w"] + sum(np.sum(found[leaf]) for leaf in others)

    return run


def _without_innovation(scale: float) -> Side:
    def run(rng: np.random.Generator) -> Any:
        options = {"b1": 0.0, "compute_dtype": "float32", "grad_clip_max_amps": None}
        stream = [{"w": rng.standard_normal((4, 3)) * scale}]
        return _updates(production(SCALE)(**options), stream)

    return run


def _added(scale: float) -> Side:
    """Return the updates of gradients and of an eps, both scaled, shaped in float32."""

    def run(rng: np.random.Generator) -> Any:
        options = {"compute_dtype": "float32", "grad_clip_max_amps": None, "eps": 0.5 * scale}
        return _updates(
            production(SCALE)(**options),
            [{leaf: g * scale for leaf, g in given.items()} for given in _stream(rng, SHAPES)],
        )

    return run


def _in_float32(rounded: bool) -> Side:
    """Return what is shaped in float32 of float64 gradients, rounded once more or not."""

    def run(rng: np.random.Generator) -> Any:
        options = {"compute_dtype": "float32", "grad_clip_max_amps": None, "nesterov": False}
        updates = _updates(production(SCALE)(**options), _stream(rng, SHAPES))
        dtype = np.float32 if rounded else np.float64
        return {leaf: np.asarray(update, dtype) for leaf, update in updates.items()}

    return run


def _without_nesterov(shaped: bool) -> Side:
    def run(rng: np.random.Generator) -> Any:
        optimizer = production(SCALE)(nesterov=False, shape_nesterov=shaped)
        return _updates(optimizer, _stream(rng, SHAPES))

    return run


def _told_more(more: bool) -> Side:
    """Return the updates of a matrix and of a vector, with an argument that nobody asks for."""

    def run(rng: np.random.Generator) -> Any:
        optimizer = production(NAME)(0.1)
        (gradients, _) = _stream(rng, {"matrix": (3, 4), "vector": (4,)})
        state, given = optimizer.init(gradients), {"value": np.asarray(1.0)} if more else {}
        return interpreted(optimizer.update)(gradients, state, gradients, **given)[0]

    return run


def _spiked(spiked: bool) -> Side:
    """Return the updates after a run into which a spike may have come, which is skipped."""

    def run(rng: np.random.Generator) -> Any:
        options = {"raw_global_grad_clip": 100.0, "permissive_spike_protection": False}
        stream = _stream(rng, SHAPES)
        if spiked:
            stream.insert(1, {leaf: np.full(shape, 1e3) for leaf, shape in SHAPES.items()})
        return _updates(production(SCALE)(**options), stream)

    return run


CHECKS = (
    Equivalence(
        name=SCALE,
        label="with a spike that is skipped = without",
        left=_spiked(True),
        right=_spiked(False),
        budget=0.0,
        reason="a skipped step leaves the state as it was",
    ),
    Equivalence(
        name=SCALE,
        label="no Nesterov before shaping = none after it",
        left=_without_nesterov(True),
        right=_without_nesterov(False),
        budget=0.0,
        reason=SAME,
    ),
    Equivalence(
        name=NAME,
        label="with an argument that nobody asks for = without",
        left=_told_more(True),
        right=_told_more(False),
        budget=0.0,
        reason=SAME,
    ),
    Equivalence(
        name=NAME,
        label="dimension numbers for all leaves = for each",
        left=_numbered(False),
        right=_numbered(True),
        budget=0.0,
        reason=SAME,
    ),
    Equivalence(
        name=SCALE,
        label="beside a leaf without entries = alone",
        left=_with_others({"empty": (0, 3)}, (3, 4)),
        right=_with_others({}, (3, 4)),
        budget=0.0,
        reason=SAME,
    ),
    Equivalence(
        name=SCALE,
        label="beside a leaf of zeros = alone",
        left=_with_others({"zero": (4, 2)}, (3, 4)),
        right=_with_others({}, (3, 4)),
        budget=0.0,
        reason=SAME,
    ),
    Equivalence(
        name=SCALE,
        label="a matrix of one entry beside another = alone",
        left=_with_others({"other": (1, 1)}, (1, 1)),
        right=_with_others({}, (1, 1)),
        budget=0.0,
        reason=SAME,
    ),
    Equivalence(
        name=SCALE,
        label="float32 inside, gradients and eps of scale 2^10 = of scale one",
        left=_added(2.0**10),
        right=_added(1.0),
        budget=0.0,
        reason="eps is divided by the unit of the entries; the scale is a power of two",
    ),
    Equivalence(
        name=SCALE,
        label="float32 inside = the same, rounded to float32",
        left=_in_float32(False),
        right=_in_float32(True),
        budget=0.0,
        reason="what float32 has computed is not rounded again",
    ),
    Equivalence(
        name=SCALE,
        label="no innovation, float32 inside, at scale 2^-400 = at scale one",
        left=_without_innovation(2.0**-400),
        right=_without_innovation(1.0),
        budget=0.0,
        reason="what is shaped is divided by its largest entry; the scale is a power of two",
    ),
)
