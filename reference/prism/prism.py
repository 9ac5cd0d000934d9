"""PRISM as a whole: the shaped direction, and the optimizer that steps along it.

What the paper (arXiv 2602.03096) fixes is the momentum, the innovation and the polar factor of both
stacked, on matrices. Look-ahead, bias correction, clipping, the guard against spikes and AdamW for
the other leaves are conventions of the released code, each an option here.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from reference.guards import clip_by_tensor_rms, global_norm, spike_scale
from reference.linalg.newton_schulz import coefficients
from reference.optimizer import Leaves, Optimizer, State, keeps_dtype, value_at, zeros_like
from reference.prism import shaping
from reference.trees.matrixize import from_matrices, to_matrices

__all__ = ["prism", "scale_by_prism"]

Rate = float | Callable[[int], float]
# Per leaf: (reduction axes, output axes), or None for a leaf that is not shaped.
DimensionNumbers = dict[str, tuple | None]


class _Direction(NamedTuple):
    """The options that decide the direction of one leaf."""

    b1: float
    gamma: float
    ns_iters: int
    nesterov: bool
    shape_nesterov: bool
    bias_correction: bool
    grad_clip_max_amps: float | tuple[float, float] | None
    rows: tuple | None
    eps: float


def _axes(name: str, leaf: np.ndarray, dimension_numbers: DimensionNumbers | None) -> tuple | None:
    if dimension_numbers is None:
        return (0, 1) if np.ndim(leaf) == 2 else None
    return dimension_numbers.get(name)


def _rows(ns_coeffs: str) -> tuple | None:
    """Return the rows of a named iteration, or None for the exact polar factor."""
    return None if ns_coeffs == "exact" else coefficients(ns_coeffs)


def _shape_tensor(
    target: np.ndarray, innovation: np.ndarray, axes: tuple, options: _Direction
) -> np.ndarray:
    if target.size == 0:
        return target
    shaped = []
    for m, d in zip(to_matrices(target, *axes), to_matrices(innovation, *axes), strict=True):
        if options.rows is None:
            shaped.append(shaping.shape_exact(m, d, options.gamma))
        else:
            iteration = (options.rows, options.ns_iters, options.eps)
            shaped.append(shaping.shape(m, d, options.gamma, *iteration))
    return from_matrices(np.stack(shaped), target.shape, *axes)


def _direction(
    mu: np.ndarray, gradient: np.ndarray, count: int, axes: tuple | None, options: _Direction
) -> np.ndarray:
    """Return O_t for one leaf, from M_t and G_t; `count` is 1 at the first step."""
    b1 = options.b1
    mean = shaping.corrected_momentum(mu, b1, count) if options.bias_correction else mu
    if not (options.nesterov and options.shape_nesterov):
        target = mean
    elif options.bias_correction:
        target = shaping.corrected_nesterov(mu, gradient, b1, count)
    else:
        target = shaping.nesterov(mu, gradient, b1)

    direction = target
    if axes is not None:
        direction = _shape_tensor(target, shaping.innovation(gradient, mean), axes, options)
    if options.nesterov and not options.shape_nesterov:
        direction = shaping.nesterov(direction, gradient, b1)

    limits = options.grad_clip_max_amps
    if limits is None:
        return direction
    max_rms, max_abs = limits if isinstance(limits, tuple) else (limits, 10.0)
    return clip_by_tensor_rms(direction, max_rms, max_abs)


@keeps_dtype
def _scaled(gradient: np.ndarray, scale: float) -> np.ndarray:
    return gradient * scale


def scale_by_prism(
    b1: float = 0.95,
    gamma: float = 1.0,
    ns_iters: int = 5,
    nesterov: bool = True,
    shape_nesterov: bool = True,
    bias_correction: bool = False,
    grad_clip_max_amps: float | tuple[float, float] | None = (2.0, 10.0),
    raw_global_grad_clip: float | None = None,
    permissive_spike_protection: bool = True,
    dimension_numbers: DimensionNumbers | None = None,
    ns_coeffs: str = "jordan",
    eps: float = 0.0,
) -> Optimizer:
    """Return the PRISM direction of every leaf; the parameters do not move.

    M_t = b1 M_{t-1} + (1 - b1) G_t,  D_t = G_t - M_t,  O_t = polar([M_t; gamma D_t])[:m].

    Args:
        b1: the decay of the momentum.
        gamma: how strongly the innovation damps; 0 is Muon.
        ns_iters: the number of Newton-Schulz iterations.
        nesterov: whether to look ahead, b1 (.) + (1 - b1) G_t: before the shaping, in the top
            block only, if `shape_nesterov`, and otherwise after it, on O_t.
        shape_nesterov: see `nesterov`.
        bias_correction: whether target and innovation use the corrected momentum.
        grad_clip_max_amps: limits (root mean square, modulus of an entry) on the direction of a
            leaf; one number r is (r, 10); None is no limit.
        raw_global_grad_clip: the largest norm of the whole gradient; None is no limit.
        permissive_spike_protection: whether a gradient over that limit is shortened instead of
            skipped.
        dimension_numbers: per leaf (reduction axes, output axes) or None; by default the leaves of
            two axes are matrices as they stand. Leaves without them are not shaped: O_t = target.
        ns_coeffs: a name of `linalg.newton_schulz.coefficients`, or "exact" for the polar factor.
        eps: added to the norm in the Newton-Schulz iteration.

    Returns:
        An optimizer. State: "mu", "count", "params", and after a step "updates", the direction
        with positive sign and without learning rate. A step whose gradient is not finite, or is
        skipped, gives zero updates and changes nothing else, the count included.

    Source: arXiv 2602.03096, number not seen; options of rollfast 0.1.0, whose behaviour differs
    on skipped steps (there momentum and count go on).
    """
    flags = (nesterov, shape_nesterov, bias_correction)
    limits = grad_clip_max_amps
    options = _Direction(b1, gamma, ns_iters, *flags, limits, _rows(ns_coeffs), eps)

    def init(params: Leaves) -> State:
        return {"params": params, "mu": zeros_like(params), "count": 0, "skipped": False}

    def step(state: State, gradients: Leaves) -> State:
        norm = global_norm(list(gradients.values()))
        scale = spike_scale(norm, raw_global_grad_clip, permissive_spike_protection)
        if scale == 0:
            return {**state, "updates": zeros_like(gradients), "skipped": True}
        count = state["count"] + 1
        mu, updates = {}, {}
        for name, gradient in gradients.items():
            gradient = _scaled(gradient, scale)
            mu[name] = shaping.momentum(state["mu"][name], gradient, b1)
            axes = _axes(name, gradient, dimension_numbers)
            updates[name] = _direction(mu[name], gradient, count, axes, options)
        return {**state, "mu": mu, "count": count, "updates": updates, "skipped": False}

    return Optimizer(init, step)


@keeps_dtype
def _decayed_step(
    parameter: np.ndarray, direction: np.ndarray, learning_rate: float, weight_decay: float
) -> np.ndarray:
    return -learning_rate * (direction + weight_decay * parameter)


class _Adam(NamedTuple):
    """The options of AdamW, for the leaves that are not shaped."""

    b1: float
    b2: float
    eps: float


@keeps_dtype
def _second_moment(previous: np.ndarray, magnitude: np.ndarray, b2: float) -> np.ndarray:
    return b2 * previous + (1 - b2) * magnitude**2


@keeps_dtype
def _adam_direction(mu: np.ndarray, nu: np.ndarray, count: int, options: _Adam) -> np.ndarray:
    """Return the direction of Adam, arXiv 1412.6980, Algorithm 1."""
    mu_hat = mu / (1 - options.b1**count)
    nu_hat = nu / (1 - options.b2**count)
    return mu_hat / (np.sqrt(nu_hat) + options.eps)


def _init(params: Leaves, dimension_numbers: DimensionNumbers | None) -> State:
    zeros = zeros_like(params)
    matrices = {name for name in params if _axes(name, params[name], dimension_numbers) is not None}
    others = {name: zeros[name] for name in params if name not in matrices}
    return {
        "params": params,
        "mu": {name: zeros[name] for name in params if name in matrices},
        "adam_mu": others,
        "adam_nu": {name: np.abs(zero) for name, zero in others.items()},
        "count": 0,
        "skipped": False,
    }


def _prism_leaf(
    state: State,
    name: str,
    gradient: np.ndarray,
    count: int,
    axes: tuple,
    options: _Direction,
) -> tuple[dict, np.ndarray]:
    """Return the new moments of a matrix leaf and its direction."""
    mu = shaping.momentum(state["mu"][name], gradient, options.b1)
    return {"mu": mu}, _direction(mu, gradient, count, axes, options)


def _adam_leaf(
    state: State, name: str, gradient: np.ndarray, count: int, options: _Adam
) -> tuple[dict, np.ndarray]:
    """Return the new moments of any other leaf and its direction."""
    mu = shaping.momentum(state["adam_mu"][name], gradient, options.b1)
    nu = _second_moment(state["adam_nu"][name], np.abs(gradient), options.b2)
    return {"adam_mu": mu, "adam_nu": nu}, _adam_direction(mu, nu, count, options)


def prism(
    learning_rate: Rate,
    b1: float = 0.95,
    gamma: float = 1.0,
    weight_decay: float = 0.01,
    ns_iters: int = 5,
    nesterov: bool = True,
    shape_nesterov: bool = True,
    bias_correction: bool = False,
    grad_clip_max_amps: float | tuple[float, float] | None = (2.0, 10.0),
    raw_global_grad_clip: float | None = None,
    permissive_spike_protection: bool = True,
    adam_learning_rate: Rate | None = None,
    adam_b1: float = 0.9,
    adam_b2: float = 0.999,
    adam_eps: float = 1e-8,
    dimension_numbers: DimensionNumbers | None = None,
    ns_coeffs: str = "jordan",
    eps: float = 0.0,
) -> Optimizer:
    """Step matrices along the PRISM direction and all other leaves by AdamW.

    matrices: W <- W - lr (O_t + weight_decay W)
    others:   w <- w - adam_lr (m_hat / (sqrt(v_hat) + adam_eps) + weight_decay w)

    Args:
        learning_rate: lr, a number or a function of the step from 0.
        b1: see `scale_by_prism`.
        gamma: see `scale_by_prism`.
        weight_decay: the decoupled decay of every leaf.
        ns_iters: see `scale_by_prism`.
        nesterov: see `scale_by_prism`.
        shape_nesterov: see `scale_by_prism`.
        bias_correction: see `scale_by_prism`.
        grad_clip_max_amps: see `scale_by_prism`; it does not limit the AdamW leaves.
        raw_global_grad_clip: the largest norm of the whole gradient, AdamW leaves included.
        permissive_spike_protection: see `scale_by_prism`.
        adam_learning_rate: adam_lr; None is `learning_rate`.
        adam_b1: the decay of AdamW's first moment.
        adam_b2: the decay of AdamW's second moment.
        adam_eps: added to AdamW's root.
        dimension_numbers: see `scale_by_prism`; leaves without them are AdamW's.
        ns_coeffs: see `scale_by_prism`.
        eps: see `scale_by_prism`.

    Returns:
        An optimizer. State: "mu" (matrices), "adam_mu" and "adam_nu" (others), "count", "params",
        and after a step "updates", the change of the parameters. A step whose gradient is not
        finite, or is skipped, changes nothing, and its updates are zero: no decay either.

    Source: arXiv 2602.03096, number not seen; AdamW: arXiv 1711.05101, Algorithm 2.
    """
    flags = (nesterov, shape_nesterov, bias_correction)
    limits = grad_clip_max_amps
    options = _Direction(b1, gamma, ns_iters, *flags, limits, _rows(ns_coeffs), eps)
    adam = _Adam(adam_b1, adam_b2, adam_eps)
    if adam_learning_rate is None:
        adam_learning_rate = learning_rate

    def init(params: Leaves) -> State:
        return _init(params, dimension_numbers)

    def step(state: State, gradients: Leaves) -> State:
        norm = global_norm(list(gradients.values()))
        scale = spike_scale(norm, raw_global_grad_clip, permissive_spike_protection)
        if scale == 0:
            return {**state, "updates": zeros_like(state["params"]), "skipped": True}
        lr = value_at(learning_rate, state["count"])
        adam_lr = value_at(adam_learning_rate, state["count"])
        count = state["count"] + 1
        leaves = {}
        for name, parameter in state["params"].items():
            gradient = _scaled(gradients[name], scale)
            axes = _axes(name, parameter, dimension_numbers)
            if axes is not None:
                moments, direction = _prism_leaf(state, name, gradient, count, axes, options)
            else:
                moments, direction = _adam_leaf(state, name, gradient, count, adam)
            rate = lr if axes is not None else adam_lr
            update = _decayed_step(parameter, direction, rate, weight_decay)
            leaves[name] = {**moments, "updates": update, "params": parameter + update}
        fields = ("mu", "adam_mu", "adam_nu", "params", "updates")
        new = {f: {n: leaf[f] for n, leaf in leaves.items() if f in leaf} for f in fields}
        return {**new, "count": count, "skipped": False}

    return Optimizer(init, step)
