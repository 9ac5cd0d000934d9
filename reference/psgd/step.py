"""A step with Kronecker product preconditioners: when it fits, and what it steps along."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from reference.guards import (
    clip_by_global_norm,
    clip_by_global_rms,
    clip_by_tensor_rms,
    global_norm,
    spike_scale,
)
from reference.linalg import kronecker
from reference.optimizer import (
    Leaves,
    Optimizer,
    State,
    all_finite,
    keeps_dtype,
    map_leaves,
    value_at,
    zeros_like,
)
from reference.psgd.geometry import Geometry
from reference.psgd.state import Factors, Fit, Inputs, Layout, Number, StepDraws, Structure, Table

__all__: list[str] = []


class Options(NamedTuple):
    """The options of a step, named as those of `kron.scale_by_kron` where not grouped.

    Attributes:
        clip: a row of `CLIPS`.
        nesterov: whether the direction is that of beta_{t+1} m_t + (1 - beta_{t+1}) g_t.
        max_norm: the largest norm of the whole direction; None is no limit.
    """

    structure: Structure
    fit: Fit
    b1: float
    probability: Number
    interval: int | None
    whiten_grad: bool
    fits_first: bool
    clip: Callable
    grad_clip_max_amps: float | tuple[float, float] | None
    raw_global_grad_clip: float | None
    permissive: bool
    draws: Callable[[int], StepDraws] | None
    seed: int
    nesterov: bool = False
    max_norm: float | None = None

    def optimizer(self, scale: float | None) -> Optimizer:
        """Return the optimizer whose updates are the preconditioned direction.

        Args:
            scale: s of Q = s I at the start; None leaves it pending.

        Returns:
            An optimizer as `kron.scale_by_kron` describes it.
        """

        def init(params: Leaves) -> State:
            return _init(params, self.structure, scale, self.fit)

        def step(
            state: State,
            gradients: Leaves,
            vector: Leaves | None = None,
            Hvp: Leaves | None = None,
            update_preconditioner: bool | None = None,
        ) -> State:
            return _step(state, gradients, Pair(vector, Hvp, update_preconditioner), self)

        return Optimizer(init, step)


class Pair(NamedTuple):
    """What the caller says about a fit: v, H v, and whether to fit."""

    vector: Leaves | None
    product: Leaves | None
    update_preconditioner: bool | None


class Descent(NamedTuple):
    """A step against a direction: W <- W - lr (u + weight_decay W).

    Attributes:
        learning_rate: lr, a number or a function of the step from 0.
        weight_decay: the decoupled decay of every leaf.
    """

    learning_rate: Number
    weight_decay: float

    def along(self, base: Optimizer) -> Optimizer:
        """Return the optimizer that steps against the updates of `base`, see `kron.kron`."""
        direction: Callable[..., State] = base.step

        def step(
            state: State,
            gradients: Leaves,
            vector: Leaves | None = None,
            Hvp: Leaves | None = None,
            update_preconditioner: bool | None = None,
        ) -> State:
            new = direction(state, gradients, vector, Hvp, update_preconditioner)
            if new["skipped"]:
                return new
            rate = value_at(self.learning_rate, state["count"])
            updates = map_leaves(
                lambda parameter, u: _decayed_step(parameter, u, rate, self.weight_decay),
                state["params"],
                new["updates"],
            )
            params = map_leaves(lambda parameter, u: parameter + u, state["params"], updates)
            return {**new, "params": params, "updates": updates}

        return Optimizer(base.init, step)


@keeps_dtype
def _scaled(array: np.ndarray, scale: float) -> np.ndarray:
    return array * scale


@keeps_dtype
def _mean(mu: np.ndarray, gradient: np.ndarray, count: int, b1: float) -> np.ndarray:
    """Return beta m + (1 - beta) g, the running mean until beta has reached b1."""
    beta = min(count / (1 + count), b1)
    return beta * mu + (1 - beta) * gradient


def _decide(options: Options, state: State, uniform: float, override: bool | None) -> bool:
    count = state["count"]
    if override is not None:
        return bool(override)
    if state["needs_scale_init"]:
        return True
    if options.interval is not None:
        return count % options.interval == 0
    return bool(uniform < value_at(options.probability, count))


def _some(tree: Leaves) -> bool:
    """Say whether a tree is finite and has an entry other than 0."""
    return all_finite(tree) and any(bool(np.any(leaf != 0)) for leaf in tree.values())


def _direction(factors: Factors, momentum: Sequence[np.ndarray], row: Geometry) -> list[np.ndarray]:
    """Return P m of every slice."""
    apply = kronecker.apply if row.basis == "direct" else kronecker.apply_normal
    return [apply(qs, m).astype(m.dtype) for qs, m in zip(factors, momentum, strict=True)]


def _clip_per_tensor(updates: Leaves, scanned: frozenset[str], limits: tuple) -> Leaves:
    """Clip every leaf by itself, and every layer of a scanned leaf."""
    return {
        name: np.stack([clip_by_tensor_rms(layer, *limits) for layer in update])
        if name in scanned and len(update)
        else clip_by_tensor_rms(update, *limits)
        for name, update in updates.items()
    }


def _clip_together(updates: Leaves, scanned: frozenset[str], limits: tuple) -> Leaves:
    return dict(zip(updates, clip_by_global_rms(list(updates.values()), *limits), strict=True))


CLIPS = Table("grad_clip_mode", {"per_tensor_rms": _clip_per_tensor, "global_rms": _clip_together})


def _clipped(updates: Leaves, options: Options) -> Leaves:
    limits = options.grad_clip_max_amps
    if limits is not None:
        both = limits if isinstance(limits, tuple) else (limits, 10.0)
        updates = options.clip(updates, options.structure.scanned_layers, both)
    clipped = clip_by_global_norm(list(updates.values()), options.max_norm)
    return dict(zip(updates, clipped, strict=True))


def _step(state: State, gradients: Leaves, pair: Pair, options: Options) -> State:
    if (pair.vector is None) != (pair.product is None):
        raise ValueError("vector and Hvp are a pair; one of them is missing")
    total = global_norm(list(gradients.values()))
    scale = spike_scale(total, options.raw_global_grad_clip, options.permissive)
    if scale == 0:
        return {**state, "updates": zeros_like(gradients), "skipped": True}
    count = state["count"]
    layout = Layout(gradients, options.structure)
    drawn = options.draws(count) if options.draws else layout.draw(options.seed, count)
    gradients = map_leaves(lambda g: _scaled(g, scale), gradients)
    mu = map_leaves(lambda m, g: _mean(m, g, count, options.b1), state["mu"], gradients)
    ahead = mu
    if options.nesterov:
        ahead = map_leaves(lambda m, g: _mean(m, g, count + 1, options.b1), mu, gradients)

    decided = _decide(options, state, drawn.decision, pair.update_preconditioner)
    if pair.vector is not None and pair.product is not None:
        decided = decided and all_finite(pair.vector) and all_finite(pair.product)
        ready = decided and _some(pair.vector) and _some(pair.product)
        vector, fitted = layout.split(pair.vector), layout.split(pair.product)
    else:
        chosen, vector = gradients if options.whiten_grad else mu, None
        ready, fitted = decided and _some(chosen), layout.split(chosen)
    inputs = Inputs(fitted, vector, decided, ready)
    fields, before, after = options.fit.advance(state, layout, inputs, drawn)

    factors = after if options.fits_first else before
    direction = _direction(factors, layout.split(ahead), options.fit.geometry)
    updates = _clipped(layout.join(direction), options)
    new = {**fields, "mu": mu, "count": count + 1, "updates": updates, "skipped": False}
    return {**state, **new}


def _init(params: Leaves, structure: Structure, scale: float | None, fit: Fit) -> State:
    layout = Layout(params, structure)
    factors = layout.identity()
    return {
        "params": params,
        "mu": zeros_like(params),
        "Qs_preconditioners": layout.pack(
            factors if scale is None else fit.rescaled(factors, scale)
        ),
        "Ls_lipschitz": layout.pack(layout.zero_lipschitz()),
        "needs_scale_init": scale is None,
        "count": 0,
        "skipped": False,
    }


@keeps_dtype
def _decayed_step(
    parameter: np.ndarray, direction: np.ndarray, learning_rate: float, weight_decay: float
) -> np.ndarray:
    return -learning_rate * (direction + weight_decay * parameter)
