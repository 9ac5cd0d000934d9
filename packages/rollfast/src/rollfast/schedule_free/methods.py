"""Schedule-Free SGD, AdamW, PSGD and PRISM."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax

from rollfast import guards
from rollfast.guards import MaxAmplitudes
from rollfast.injected import rebuilt_on_automatic_axes
from rollfast.linalg.newton_schulz import Row
from rollfast.options import check_choice, check_interval, check_number
from rollfast.prism.dimension_numbers import DimensionNumbers
from rollfast.prism.prism import prism
from rollfast.psgd.kron import kron
from rollfast.psgd.options import GradClipMode, KeyOrSeed, PreconditionerMode
from rollfast.psgd.probability import ANNEALED
from rollfast.schedule_free.warmup import warmed_up
from rollfast.schedule_free.wrapper import schedule_free
from rollfast.schedules import wsd_schedule
from rollfast.typing import Array, DTypeLike, Number, PyTree, ScalarOrSchedule, scalar_dtype

__all__ = ["schedule_free_adamw", "schedule_free_kron", "schedule_free_prism", "schedule_free_sgd"]

BIAS_CORRECTIONS = ("denominator", "learning_rate")


@rebuilt_on_automatic_axes
def schedule_free_sgd(
    learning_rate: ScalarOrSchedule = 1.0,
    *,
    b1: Number = 0.9,
    warmup_steps: Number = 0,
    weight_decay: Number = 0.0,
    weighting_mode: str = "practical",
    averaging_power: Number = 0.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Schedule-Free SGD, z ← z - γ_t (g + λ y).

    Args:
        learning_rate: γ, reached after the warmup, a number or a schedule.
        b1: β of the interpolation, in [0, 1].
        warmup_steps: Steps over which the rate rises linearly, γ (t+1) / warmup from t = 0.
        weight_decay: λ, taken at y.
        weighting_mode: As for `schedule_free`.
        averaging_power: As for `schedule_free`.
        state_dtype: As for `schedule_free`.

    Returns:
        A transformation with `ScheduleFreeState`.

    Raises:
        ValueError: An option is out of its range.

    Source: arXiv 2405.15682v4, equations (3) to (5); equal to the package `schedulefree` 1.4.1.
    """
    check_interval("weight_decay", weight_decay, 0, float("inf"))
    rate = warmed_up(learning_rate, warmup_steps)
    base = optax.chain(optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(rate))
    return schedule_free(
        base,
        rate,
        b1=b1,
        weighting_mode=weighting_mode,
        averaging_power=averaging_power,
        state_dtype=state_dtype,
        use_max_learning_rate=True,
    )


@rebuilt_on_automatic_axes
def schedule_free_adamw(
    learning_rate: ScalarOrSchedule = 0.0025,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    warmup_steps: Number = 0,
    weighting_mode: str = "practical",
    averaging_power: Number = 0.0,
    bias_correction: str = "denominator",
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Schedule-Free AdamW, z ← z - γ_t (g / (√v̂ + ε) + λ y).

    Args:
        learning_rate: γ, reached after the warmup, a number or a schedule.
        b1: β₁ of the interpolation, in [0, 1]; there is no first moment.
        b2: β₂, decay of the second moment, in [0, 1).
        eps: ε, added to the denominator.
        weight_decay: λ, taken at y.
        warmup_steps: Steps over which the rate rises linearly, γ (t+1) / warmup from t = 0.
        weighting_mode: As for `schedule_free`.
        averaging_power: As for `schedule_free`.
        bias_correction: Where √(1 - β₂ᵗ) goes: `denominator`, as in the released package, or
            `learning_rate`, and with it into decay and averaging weights, as in the paper.
        state_dtype: As for `schedule_free`.

    Returns:
        A transformation with `ScheduleFreeState`.

    Raises:
        ValueError: An option is out of its range.

    Source: arXiv 2405.15682v4, Algorithm 1 (`learning_rate`); package `schedulefree` 1.4.1
        (`denominator`).
    """
    check_interval("b2", b2, 0, 1, open_high=True)
    check_interval("eps", eps, 0, float("inf"))
    check_interval("weight_decay", weight_decay, 0, float("inf"))
    check_choice("bias_correction", bias_correction, BIAS_CORRECTIONS)
    in_denominator = bias_correction == "denominator"
    warm = warmed_up(learning_rate, warmup_steps)

    def corrected(count: Array) -> Array:
        return warm(count) * jnp.sqrt(1 - b2 ** jnp.asarray(count + 1, scalar_dtype()))

    rate = warm if in_denominator else corrected
    base = optax.chain(
        guards.limit_to_squares(),
        optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=in_denominator),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
    )
    return schedule_free(
        base,
        rate,
        b1=b1,
        weighting_mode=weighting_mode,
        averaging_power=averaging_power,
        state_dtype=state_dtype,
        use_max_learning_rate=True,
    )


@rebuilt_on_automatic_axes
def schedule_free_kron(
    learning_rate: Number,
    total_steps: int,
    *,
    warmup_fraction: float = 0.1,
    decay_fraction: float = 0.1,
    decay_shape: str = "linear",
    weighting_mode: str = "schedulet",
    sf_b1: Number = 0.9,
    state_dtype: DTypeLike | None = None,
    weight_decay: Number = 0.0,
    weight_decay_mask: PyTree | None = None,
    preconditioner_update_probability: ScalarOrSchedule = ANNEALED,
    max_size_triangular: float = 8192,
    max_skew_triangular: float = 1.0,
    min_ndim_triangular: int = 2,
    memory_save_mode: str | None = None,
    update_preconditioner_first: bool = True,
    preconditioner_lr: ScalarOrSchedule = 0.1,
    preconditioner_init_scale: Number | None = None,
    mu_dtype: DTypeLike | None = None,
    precond_dtype: DTypeLike | None = None,
    precond_update_precision: str | None = "tensorfloat32",
    precond_grads_precision: str | None = None,
    scanned_layers: PyTree | None = None,
    lax_map_scanned_layers: bool = False,
    lax_map_batch_size: int = 8,
    preconditioner_mode: str | PreconditionerMode = PreconditionerMode.Q0P5EQ1P5,
    beta_lipschitz: Number = 0.9,
    track_lipschitz: bool = True,
    damping: Number | None = 1e-9,
    grad_clip_max_amps: MaxAmplitudes = (2.0, 10.0),
    grad_clip_mode: str | GradClipMode = GradClipMode.PER_TENSOR_RMS,
    raw_global_grad_clip: Number | None = None,
    permissive_spike_protection: bool = True,
    newton_schulz_iters: int = 5,
    axis_name: str | None = None,
    key: KeyOrSeed = 42,
    preconditioner_update_interval: ScalarOrSchedule | None = None,
    merge_small_dims: int | None = None,
    partition_large_dims: int | None = None,
    cache_preconditioner: bool | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Schedule-Free around `kron`, with the warmup, stable, decay schedule in both.

    There is no momentum besides the interpolation.

    Args:
        learning_rate: Peak rate.
        total_steps: Number of steps of the schedule.
        warmup_fraction: As for `wsd_schedule`.
        decay_fraction: As for `wsd_schedule`.
        decay_shape: As for `wsd_schedule`.
        weighting_mode: As for `schedule_free`.
        sf_b1: `b1` of `schedule_free`.
        state_dtype: As for `schedule_free`.
        weight_decay: As for `kron`.
        weight_decay_mask: As for `kron`.
        preconditioner_update_probability: As for `kron`.
        max_size_triangular: As for `kron`.
        max_skew_triangular: As for `kron`.
        min_ndim_triangular: As for `kron`.
        memory_save_mode: As for `kron`.
        update_preconditioner_first: As for `kron`.
        preconditioner_lr: As for `kron`.
        preconditioner_init_scale: As for `kron`.
        mu_dtype: As for `kron`; no effect, since there is no momentum to keep.
        precond_dtype: As for `kron`.
        precond_update_precision: As for `kron`.
        precond_grads_precision: As for `kron`.
        scanned_layers: As for `kron`.
        lax_map_scanned_layers: As for `kron`.
        lax_map_batch_size: As for `kron`.
        preconditioner_mode: As for `kron`.
        beta_lipschitz: As for `kron`.
        track_lipschitz: As for `kron`.
        damping: As for `kron`.
        grad_clip_max_amps: As for `kron`.
        grad_clip_mode: As for `kron`.
        raw_global_grad_clip: As for `kron`.
        permissive_spike_protection: As for `kron`.
        newton_schulz_iters: As for `kron`.
        axis_name: As for `kron`.
        key: As for `kron`.
        preconditioner_update_interval: As for `kron`.
        merge_small_dims: As for `kron`.
        partition_large_dims: As for `kron`.
        cache_preconditioner: As for `kron`.

    Returns:
        A transformation with `ScheduleFreeState`.

    Raises:
        ValueError: An option is out of its range.

    Source: arXiv 2405.15682v4, theorem 2, for a base optimizer of any kind.
    """
    check_number("learning_rate", learning_rate)
    check_interval("sf_b1", sf_b1, 0, 1)
    rate = wsd_schedule(
        learning_rate, total_steps, warmup_fraction, decay_fraction, decay_shape=decay_shape
    )
    base = kron(
        rate,
        b1=0.0,
        weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask,
        preconditioner_update_probability=preconditioner_update_probability,
        max_size_triangular=max_size_triangular,
        max_skew_triangular=max_skew_triangular,
        min_ndim_triangular=min_ndim_triangular,
        memory_save_mode=memory_save_mode,
        update_preconditioner_first=update_preconditioner_first,
        preconditioner_lr=preconditioner_lr,
        preconditioner_init_scale=preconditioner_init_scale,
        mu_dtype=mu_dtype,
        precond_dtype=precond_dtype,
        precond_update_precision=precond_update_precision,
        precond_grads_precision=precond_grads_precision,
        scanned_layers=scanned_layers,
        lax_map_scanned_layers=lax_map_scanned_layers,
        lax_map_batch_size=lax_map_batch_size,
        preconditioner_mode=preconditioner_mode,
        beta_lipschitz=beta_lipschitz,
        track_lipschitz=track_lipschitz,
        damping=damping,
        grad_clip_max_amps=grad_clip_max_amps,
        grad_clip_mode=grad_clip_mode,
        raw_global_grad_clip=raw_global_grad_clip,
        permissive_spike_protection=permissive_spike_protection,
        newton_schulz_iters=newton_schulz_iters,
        axis_name=axis_name,
        key=key,
        preconditioner_update_interval=preconditioner_update_interval,
        merge_small_dims=merge_small_dims,
        partition_large_dims=partition_large_dims,
        cache_preconditioner=cache_preconditioner,
    )
    return schedule_free(
        base, rate, b1=sf_b1, weighting_mode=weighting_mode, state_dtype=state_dtype
    )


@rebuilt_on_automatic_axes
def schedule_free_prism(
    learning_rate: Number,
    total_steps: int,
    *,
    warmup_fraction: float = 0.1,
    decay_fraction: float = 0.1,
    decay_shape: str = "linear",
    weighting_mode: str = "schedulet",
    sf_b1: Number = 0.9,
    state_dtype: DTypeLike | None = None,
    prism_b1: Number = 0.95,
    gamma: Number = 1.0,
    ns_iters: int = 5,
    shape_nesterov: bool = True,
    weight_decay: Number = 0.0,
    grad_clip_max_amps: MaxAmplitudes = (2.0, 10.0),
    raw_global_grad_clip: Number | None = None,
    permissive_spike_protection: bool = True,
    mu_dtype: DTypeLike | None = None,
    axis_name: str | None = None,
    adam_learning_rate: Number | None = None,
    adam_b1: Number = 0.0,
    adam_b2: Number = 0.999,
    adam_eps: Number = 1e-8,
    prism_weight_dimension_numbers: DimensionNumbers = None,
    nesterov: bool = False,
    bias_correction: bool = False,
    weight_decay_mask: PyTree | None = None,
    ns_coeffs: str | Sequence[Row] = "jordan",
    ns_form: str = "auto",
    eps: Number = 0.0,
    compute_dtype: DTypeLike | None = None,
    precision: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Schedule-Free around `prism`, with the warmup, stable, decay schedule in both.

    Args:
        learning_rate: Peak rate of the matrices.
        total_steps: Number of steps of the schedule.
        warmup_fraction: As for `wsd_schedule`.
        decay_fraction: As for `wsd_schedule`.
        decay_shape: As for `wsd_schedule`.
        weighting_mode: As for `schedule_free`.
        sf_b1: `b1` of `schedule_free`.
        state_dtype: As for `schedule_free`.
        prism_b1: `b1` of `prism`; with 0 the momentum is the gradient, the innovation nothing,
            and `gamma` without effect.
        gamma: As for `prism`.
        ns_iters: As for `prism`.
        shape_nesterov: As for `prism`.
        weight_decay: As for `prism`; 0, as for the other Schedule-Free methods.
        grad_clip_max_amps: As for `prism`.
        raw_global_grad_clip: As for `prism`; a skipped step moves no sequence.
        permissive_spike_protection: As for `prism`.
        mu_dtype: As for `prism`.
        axis_name: As for `prism`.
        adam_learning_rate: Peak rate of the other leaves; `learning_rate` if None.
        adam_b1: As for `prism`; 0, as the interpolation takes the place of a first moment.
        adam_b2: As for `prism`.
        adam_eps: As for `prism`.
        prism_weight_dimension_numbers: As for `prism`.
        nesterov: As for `prism`; off, as the interpolation takes its place.
        bias_correction: As for `prism`.
        weight_decay_mask: As for `prism`.
        ns_coeffs: As for `prism`.
        ns_form: As for `prism`.
        eps: As for `prism`.
        compute_dtype: As for `prism`.
        precision: As for `prism`.

    Returns:
        A transformation with `ScheduleFreeState`.

    Raises:
        ValueError: An option is out of its range.

    Source: arXiv 2405.15682v4, theorem 2, for a base optimizer of any kind.
    """
    check_number("learning_rate", learning_rate)
    check_number("adam_learning_rate", adam_learning_rate, none=True)
    check_interval("prism_b1", prism_b1, 0, 1, open_high=True)
    check_interval("sf_b1", sf_b1, 0, 1)

    def schedule(peak: Number) -> optax.Schedule:
        return wsd_schedule(
            peak, total_steps, warmup_fraction, decay_fraction, decay_shape=decay_shape
        )

    rate = schedule(learning_rate)
    base = prism(
        rate,
        b1=prism_b1,
        gamma=gamma,
        weight_decay=weight_decay,
        ns_iters=ns_iters,
        shape_nesterov=shape_nesterov,
        grad_clip_max_amps=grad_clip_max_amps,
        raw_global_grad_clip=raw_global_grad_clip,
        permissive_spike_protection=permissive_spike_protection,
        mu_dtype=mu_dtype,
        axis_name=axis_name,
        adam_learning_rate=None if adam_learning_rate is None else schedule(adam_learning_rate),
        adam_b1=adam_b1,
        adam_b2=adam_b2,
        adam_eps=adam_eps,
        prism_weight_dimension_numbers=prism_weight_dimension_numbers,
        nesterov=nesterov,
        bias_correction=bias_correction,
        weight_decay_mask=weight_decay_mask,
        ns_coeffs=ns_coeffs,
        ns_form=ns_form,
        eps=eps,
        compute_dtype=compute_dtype,
        precision=precision,
    )
    return schedule_free(
        base, rate, b1=sf_b1, weighting_mode=weighting_mode, state_dtype=state_dtype
    )
