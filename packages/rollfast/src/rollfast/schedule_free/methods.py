"""Schedule-Free SGD, AdamW and PRISM."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax

from rollfast import guards
from rollfast.linalg.newton_schulz import Row
from rollfast.options import check_choice, check_interval
from rollfast.prism.dimension_numbers import DimensionNumbers
from rollfast.prism.direction import MaxAmplitudes
from rollfast.prism.prism import prism
from rollfast.schedule_free.wrapper import schedule_free
from rollfast.schedules import wsd_schedule
from rollfast.typing import Array, DTypeLike, Number, PyTree, ScalarOrSchedule, scalar_dtype

__all__ = ["schedule_free_adamw", "schedule_free_prism", "schedule_free_sgd"]

BIAS_CORRECTIONS = ("denominator", "learning_rate")


def _warmup(learning_rate: ScalarOrSchedule, warmup_steps: Number) -> optax.Schedule:
    """Return γ min(1, (t+1) / warmup), t from 0."""

    def schedule(count: Array) -> Array:
        steps = jnp.asarray(count + 1, scalar_dtype())
        rate = jnp.asarray(learning_rate(count) if callable(learning_rate) else learning_rate)
        return rate * jnp.minimum(1, steps / jnp.maximum(warmup_steps, 1))

    return schedule


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
    check_interval("warmup_steps", warmup_steps, 0, float("inf"))
    check_interval("weight_decay", weight_decay, 0, float("inf"))
    rate = _warmup(learning_rate, warmup_steps)
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
    check_interval("warmup_steps", warmup_steps, 0, float("inf"))
    check_interval("weight_decay", weight_decay, 0, float("inf"))
    check_choice("bias_correction", bias_correction, BIAS_CORRECTIONS)
    in_denominator = bias_correction == "denominator"
    warm = _warmup(learning_rate, warmup_steps)

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
