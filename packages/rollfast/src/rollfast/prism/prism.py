"""PRISM as Optax transformations."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rollfast import guards
from rollfast.guards import MaxAmplitudes, amplitudes
from rollfast.injected import rebuilt_on_automatic_axes
from rollfast.linalg.newton_schulz import Row
from rollfast.options import check_dtype, check_interval, check_number
from rollfast.prism import shaping
from rollfast.prism.dimension_numbers import (
    DimensionNumbers,
    masked_specification,
    partition_labels,
    resolve,
)
from rollfast.prism.direction import Direction, Momentum, Shaping
from rollfast.trees.precision import copied, in_accumulator_dtype, to_accumulators
from rollfast.trees.shapes import check_shapes
from rollfast.typing import Array, DTypeLike, Number, PyTree, ScalarOrSchedule

__all__ = ["ScaleByPrismState", "prism", "scale_by_prism"]


class ScaleByPrismState(NamedTuple):
    """State of `scale_by_prism`.

    Attributes:
        count: Steps taken, int32.
        mu: Momentum, in the structure of the parameters.
    """

    count: Array  # type: ignore[assignment]
    mu: PyTree


@rebuilt_on_automatic_axes
def scale_by_prism(
    *,
    b1: Number = 0.95,
    gamma: Number = 1.0,
    ns_iters: int = 5,
    nesterov: bool = True,
    shape_nesterov: bool = True,
    bias_correction: bool = False,
    mu_dtype: DTypeLike | None = None,
    raw_global_grad_clip: Number | None = None,
    permissive_spike_protection: bool = True,
    grad_clip_max_amps: MaxAmplitudes = (2.0, 10.0),
    axis_name: str | None = None,
    weight_dimension_numbers: DimensionNumbers = None,
    ns_coeffs: str | Sequence[Row] = "jordan",
    ns_form: str = "auto",
    eps: Number = 0.0,
    compute_dtype: DTypeLike | None = None,
    precision: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Shape momentum by the polar factor of itself stacked on its innovation.

    M ← β M + (1-β) G, D = G - M, and the update is the top block of polar([M; γ D]), by
    Newton–Schulz. It is not scaled by a learning rate, and points along the gradient.

    Args:
        b1: β, decay of the momentum, in [0, 1).
        gamma: γ ≥ 0, weight of the innovation; 0 gives Muon.
        ns_iters: Number of Newton–Schulz iterations.
        nesterov: Whether to look one step ahead, β M + (1-β) G.
        shape_nesterov: Whether that is done before the shaping (True) or to its result, as
            β O + (1-β) G (False).
        bias_correction: Whether to free the momentum of its start at zero; the innovation is
            then taken from the corrected momentum.
        mu_dtype: Dtype in which momentum is kept; float32 at least if None.
        raw_global_grad_clip: Largest norm over all gradients, or None for any.
        permissive_spike_protection: Whether gradients above that norm are clipped (True) or
            the step is skipped, with zero updates and the state as it was (False).
        grad_clip_max_amps: (largest root mean square, largest modulus) of each updated tensor,
            the first alone (the second is then 10), or None for no limit.
        axis_name: Mapped axis over which gradients are sharded, for the norm, or None.
        weight_dimension_numbers: Which leaves are matrices along which axes: None (leaves of
            two axes), `PrismDimensionNumbers` for all leaves, a tree of them and None, or a
            function from parameters to such a tree. Other leaves get their momentum unshaped.
        ns_coeffs: Coefficients by name (`jordan`, `dion`, `polar_express`,
            `polar_express_unsafe`, `cubic`), as rows (a, b, c) of which the last is repeated,
            or `exact` for the polar factor by singular value decomposition.
        ns_form: `direct`, `gram` or `auto`, see `prism.shaping.shape`.
        eps: Added to the Frobenius norm before the iteration.
        compute_dtype: Dtype of the iteration; that of the accumulators if None. Under
            `optax.inject_hyperparams` it must be among `static_args`.
        precision: Precision of its matrix products, as `jax.default_matmul_precision` takes it.

    Returns:
        A transformation with `ScaleByPrismState`. A step with a gradient that is not finite
        returns zero updates and the state as it was.

    Raises:
        ValueError: An option is out of its range, or dimension numbers do not fit a leaf.

    Source: arXiv 2602.03096v1; deviations in the note.
    """
    check_dtype("mu_dtype", mu_dtype)
    averaging = Momentum(b1, nesterov, shape_nesterov, bias_correction)
    if isinstance(ns_iters, Integral):
        ns_iters = int(ns_iters)
    method = Shaping(gamma, ns_iters, ns_coeffs, eps, ns_form, compute_dtype, precision)
    direction = Direction(averaging, method, amplitudes(grad_clip_max_amps))

    def init(params: PyTree) -> ScaleByPrismState:
        resolve(weight_dimension_numbers, params)
        mu = jax.tree.map(jnp.zeros_like, copied(params, mu_dtype))
        return ScaleByPrismState(jnp.zeros([], jnp.int32), mu)

    def update(
        updates: PyTree, state: ScaleByPrismState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByPrismState]:
        del params, extra
        numbers = resolve(weight_dimension_numbers, updates)
        check_shapes("updates", updates, state.mu)
        gradients, structure = jax.tree.flatten(updates)
        wide = to_accumulators(gradients)
        kept = jax.tree.leaves(state.mu)
        mu = [
            shaping.momentum(old.astype(g.dtype), g, averaging.b1)
            for old, g in zip(kept, wide, strict=True)
        ]
        count = optax.safe_increment(state.count)
        directions = direction.of_leaves(mu, wide, count, numbers)
        directions = [o.astype(g.dtype) for o, g in zip(directions, gradients, strict=True)]
        mu = [m.astype(old.dtype) for m, old in zip(mu, kept, strict=True)]
        return structure.unflatten(directions), ScaleByPrismState(count, structure.unflatten(mu))

    return guards.skip_unsound_steps(
        optax.GradientTransformationExtraArgs(init, update),
        max_norm=raw_global_grad_clip,
        permissive=permissive_spike_protection,
        axis_name=axis_name,
    )


@rebuilt_on_automatic_axes
def prism(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Number = 0.95,
    gamma: Number = 1.0,
    weight_decay: Number = 0.01,
    weight_decay_mask: PyTree | None = None,
    ns_iters: int = 5,
    nesterov: bool = True,
    shape_nesterov: bool = True,
    bias_correction: bool = False,
    grad_clip_max_amps: MaxAmplitudes = (2.0, 10.0),
    raw_global_grad_clip: Number | None = None,
    permissive_spike_protection: bool = True,
    mu_dtype: DTypeLike | None = None,
    axis_name: str | None = None,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_b1: Number = 0.9,
    adam_b2: Number = 0.999,
    adam_eps: Number = 1e-8,
    prism_weight_dimension_numbers: DimensionNumbers = None,
    ns_coeffs: str | Sequence[Row] = "jordan",
    ns_form: str = "auto",
    eps: Number = 0.0,
    compute_dtype: DTypeLike | None = None,
    precision: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Update matrices by PRISM and all other leaves by AdamW.

    W ← W - η (O + λ W), with O from `scale_by_prism`, where its other options are described.

    Args:
        learning_rate: η, a number or a schedule.
        b1: As for `scale_by_prism`.
        gamma: As for `scale_by_prism`.
        weight_decay: λ, of both branches; multiplied by the learning rate.
        weight_decay_mask: Tree of booleans, or function of the parameters that returns one:
            which leaves decay. All if None.
        ns_iters: As for `scale_by_prism`.
        nesterov: As for `scale_by_prism`.
        shape_nesterov: As for `scale_by_prism`.
        bias_correction: As for `scale_by_prism`.
        grad_clip_max_amps: As for `scale_by_prism`.
        raw_global_grad_clip: As for `scale_by_prism`; the norm is that of the leaves of both
            branches, and so is a skipped step.
        permissive_spike_protection: As for `scale_by_prism`.
        mu_dtype: As for `scale_by_prism`, in both branches.
        axis_name: As for `scale_by_prism`.
        adam_learning_rate: Learning rate of the other leaves; `learning_rate` if None.
        adam_b1: Decay of Adam's first moment.
        adam_b2: Decay of Adam's second moment.
        adam_eps: Added to Adam's denominator.
        prism_weight_dimension_numbers: As `weight_dimension_numbers` for `scale_by_prism`;
            leaves without go to AdamW.
        ns_coeffs: As for `scale_by_prism`.
        ns_form: As for `scale_by_prism`.
        eps: As for `scale_by_prism`.
        compute_dtype: As for `scale_by_prism`.
        precision: As for `scale_by_prism`.

    Returns:
        A transformation; updates have the dtype of the gradients.

    Raises:
        ValueError: An option is out of its range, or dimension numbers do not fit a leaf.

    Source: arXiv 2602.03096v1; AdamW, arXiv 1711.05101v3, algorithm 2.
    """
    check_number("learning_rate", learning_rate, schedule=True)
    check_number("adam_learning_rate", adam_learning_rate, schedule=True, none=True)
    check_interval("weight_decay", weight_decay, 0, math.inf)
    check_interval("adam_b1", adam_b1, 0, 1, open_high=True)
    check_interval("adam_b2", adam_b2, 0, 1, open_high=True)
    check_interval("adam_eps", adam_eps, 0, float("inf"))
    numbers = prism_weight_dimension_numbers
    direction = scale_by_prism(
        b1=b1,
        gamma=gamma,
        ns_iters=ns_iters,
        nesterov=nesterov,
        shape_nesterov=shape_nesterov,
        bias_correction=bias_correction,
        mu_dtype=mu_dtype,
        grad_clip_max_amps=grad_clip_max_amps,
        weight_dimension_numbers=masked_specification(numbers),
        ns_coeffs=ns_coeffs,
        ns_form=ns_form,
        eps=eps,
        compute_dtype=compute_dtype,
        precision=precision,
    )
    adam = optax.chain(
        guards.limit_to_squares(),
        optax.scale_by_adam(adam_b1, adam_b2, adam_eps, mu_dtype=mu_dtype),
    )
    rates = {
        "prism": learning_rate,
        "adam": learning_rate if adam_learning_rate is None else adam_learning_rate,
    }
    branches = {
        name: optax.chain(
            scaling,
            optax.add_decayed_weights(weight_decay, weight_decay_mask),
            optax.scale_by_learning_rate(rates[name]),
        )
        for name, scaling in (("prism", guards.unguarded(direction)), ("adam", adam))
    }
    return guards.skip_unsound_steps(
        in_accumulator_dtype(
            optax.partition(branches, lambda params: partition_labels(numbers, params))
        ),
        max_norm=raw_global_grad_clip,
        permissive=permissive_spike_protection,
        axis_name=axis_name,
    )
