"""The references that an optimizer can be held against, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reference.optimizer import Leaves, Optimizer, State, map_leaves, value_at
from verification.conformance.convention import Convention
from verification.conformance.conventions import others, prism, schedule_free

__all__ = ["TARGETS", "Target", "target"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A whole step of the reference, or a schedule.

    Attributes:
        name: Dotted name of the reference function.
        modules: Dotted names of the modules whose text conventions may edit, each after those it
            imports; the last one has the function.
        conventions: What is tried where the optimizer is not equal.
        options: Options at which the conventions come apart, for whoever gives none.
        passes_to: Dotted names of what takes the options that the function passes on.
        preset: Options that make the function the method of this name.
        evaluation: Field of the reference's state for evaluation, or "".
        seeded: Whether the method draws random numbers.
        schedule: Whether the function returns a schedule, and not an optimizer.
    """

    name: str
    modules: tuple[str, ...]
    conventions: tuple[Convention, ...]
    options: Mapping[str, Any]
    passes_to: tuple[str, ...] = ()
    preset: Mapping[str, Any] = field(default_factory=dict)
    evaluation: str = ""
    seeded: bool = False
    schedule: bool = False

    def optimizer(self, function: Callable[..., Any], options: Mapping[str, Any]) -> Optimizer:
        """Return the reference under way, from its function and the options of the user."""
        built = function(**{**self.preset, **_resolved(options)})
        if self.schedule:
            return _as_optimizer(built)
        return _moved(built) if ".scale_by_" in self.name else built


_SF_MODULES = tuple(
    f"schedule_free.{name}" for name in ("sequences", "weighting", "wrapper", "methods")
)
# A rate that falls: under a constant one, no shift of its index would show.
_FALLING = {
    "call": "optax:cosine_decay_schedule",
    "init_value": 0.05,
    "decay_steps": 30,
}
_DECAYED = {"learning_rate": _FALLING, "weight_decay": 0.1}
_AVERAGED = {"b1": 0.85, "warmup_steps": 6, "weight_decay": 0.05, "averaging_power": 0.5}
_FITTED = {"preconditioner_update_probability": 1.0}
_KRON, _FLAT = "psgd.step", "psgd.flat"
_SCALES = {"low_rank_approximation": "scale_by_lra"}
_PRISM_MODULES = ("prism.shaping", "prism.prism")


def _psgd(module: str, function: str, base: str, whole: bool) -> Target:
    scale = function if not whole else _SCALES.get(function, f"scale_by_{function}")
    return Target(
        name=f"psgd.{module}.{function}",
        modules=(base, f"psgd.{module}"),
        conventions=others.PSGD if whole else others.PSGD_DIRECTION,
        options={**_DECAYED, **_FITTED} if whole else _FITTED,
        passes_to=(f"psgd.{module}.{scale}", "psgd.flat.Options"),
        seeded=True,
    )


TARGETS: dict[str, Target] = {
    "schedule_free_sgd": Target(
        name="schedule_free.methods.schedule_free_sgd",
        modules=_SF_MODULES,
        conventions=schedule_free.SGD,
        options={"learning_rate": 0.3, **_AVERAGED},
        evaluation="x",
    ),
    "schedule_free_adamw": Target(
        name="schedule_free.methods.schedule_free_adamw",
        modules=_SF_MODULES,
        conventions=schedule_free.ADAMW,
        options={
            "learning_rate": 0.02,
            "b2": 0.97,
            "eps": 1e-6,
            **_AVERAGED,
        },
        evaluation="x",
    ),
    "schedule_free": Target(
        name="schedule_free.wrapper.schedule_free",
        modules=_SF_MODULES[:3],
        conventions=schedule_free.WRAPPER,
        options={"base_optimizer": "sgd", "learning_rate": _FALLING},
        evaluation="x",
    ),
    "schedule_free_prism": Target(
        name="schedule_free.methods.schedule_free_prism",
        modules=(*_PRISM_MODULES, *_SF_MODULES),
        conventions=(*prism.WHOLE, *schedule_free.WRAPPER),
        options={"learning_rate": 0.05, "total_steps": 20, "weight_decay": 0.1},
        passes_to=("prism.prism.prism",),
        evaluation="x",
    ),
    "schedule_free_kron": Target(
        name="schedule_free.methods.schedule_free_kron",
        modules=(_KRON, "psgd.kron", *_SF_MODULES),
        conventions=(*others.PSGD_WITHOUT_MOMENTUM, *schedule_free.WRAPPER),
        options={"learning_rate": 0.05, "total_steps": 20, "weight_decay": 0.1, **_FITTED},
        passes_to=("psgd.kron.scale_by_kron",),
        evaluation="x",
        seeded=True,
    ),
    "scale_by_prism": Target(
        name="prism.prism.scale_by_prism",
        modules=_PRISM_MODULES,
        conventions=prism.DIRECTION,
        options={"b1": 0.9, "gamma": 0.7},
    ),
    "prism": Target(
        name="prism.prism.prism",
        modules=_PRISM_MODULES,
        conventions=prism.WHOLE,
        options={**_DECAYED, "b1": 0.9, "gamma": 0.7},
    ),
    "muon": Target(
        name="prism.prism.prism",
        modules=_PRISM_MODULES,
        conventions=prism.WHOLE,
        options=_DECAYED,
        preset={"gamma": 0.0, "grad_clip_max_amps": None, "weight_decay": 0.0},
    ),
    "kron": _psgd("kron", "kron", _KRON, True),
    "scale_by_kron": _psgd("kron", "scale_by_kron", _KRON, False),
    "affine": _psgd("affine", "affine", _KRON, True),
    "scale_by_affine": _psgd("affine", "scale_by_affine", _KRON, False),
    "xmat": _psgd("xmat", "xmat", _FLAT, True),
    "scale_by_xmat": _psgd("xmat", "scale_by_xmat", _FLAT, False),
    "low_rank_approximation": _psgd("lra", "low_rank_approximation", _FLAT, True),
    "scale_by_lra": _psgd("lra", "scale_by_lra", _FLAT, False),
    "dense_newton": _psgd("dense", "dense_newton", _FLAT, True),
    "scale_by_dense_newton": _psgd("dense", "scale_by_dense_newton", _FLAT, False),
    "wsd_schedule": Target(
        name="schedules.wsd_schedule",
        modules=("schedules",),
        conventions=others.WSD,
        options={
            "peak_lr": 0.3,
            "total_steps": 30,
            "warmup_fraction": 0.2,
            "decay_fraction": 0.3,
        },
        schedule=True,
    ),
}


def target(name: str) -> Target:
    """Return the reference of a name, short or dotted.

    Raises:
        ValueError: There is none of that name.
    """
    by_name = {**{row.name: row for row in reversed(TARGETS.values())}, **TARGETS}
    if name not in by_name:
        raise ValueError(f"against={name!r} is not allowed; it must be one of {sorted(by_name)}")
    return by_name[name]


def _resolved(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in which the base of a wrapper is an optimizer.

    It is one already, or "sgd" for steps against the gradient at the rate of the wrapper, or
    {"against": name, ...} for another reference with these options.
    """
    base = options.get("base_optimizer")
    if base == "sgd":
        return {**options, "base_optimizer": _descent(options.get("learning_rate", 0.0))}
    if isinstance(base, Mapping):
        further = {name: value for name, value in base.items() if name != "against"}
        row = target(base.get("against", ""))
        from verification.registry import reference

        return {**options, "base_optimizer": row.optimizer(reference(row.name), further)}
    return dict(options)


def _descent(learning_rate: Any) -> Optimizer:
    """Return plain gradient descent, whose updates are -lr g."""

    def init(params: Leaves) -> State:
        return {"params": params, "count": 0}

    def step(state: State, gradients: Leaves) -> State:
        rate = value_at(learning_rate, state["count"])
        updates = map_leaves(lambda gradient: -rate * gradient, gradients)
        return {**state, "count": state["count"] + 1, "updates": updates}

    return Optimizer(init, step)


def _moved(direction: Optimizer) -> Optimizer:
    """Return what adds a direction to the parameters, as Optax adds any updates."""

    def step(state: State, gradients: Leaves) -> State:
        new = direction.step(state, gradients)
        return {**new, "params": map_leaves(np.add, state["params"], new["updates"])}

    return Optimizer(direction.init, step)


def _as_optimizer(schedule: Callable[[int], float]) -> Optimizer:
    """Return what has the rates of a schedule for its parameters."""

    def step(state: State, gradients: Leaves) -> State:
        rates = map_leaves(lambda one: np.full_like(one, schedule(state["count"])), gradients)
        return {"params": rates, "count": state["count"] + 1}

    return Optimizer(lambda params: {"params": params, "count": 0}, step)
