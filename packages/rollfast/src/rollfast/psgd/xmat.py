"""PSGD with an X for a factor: the optimizer around `x_matrix`."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import optax

from rollfast.guards import MaxAmplitudes, amplitudes
from rollfast.injected import rebuilt_on_automatic_axes
from rollfast.psgd.descent import descend
from rollfast.psgd.draws import FlatDraws
from rollfast.psgd.flat import StepRule
from rollfast.psgd.flat_method import FlatMethod, FlatOptions, Start, guarded
from rollfast.psgd.flat_options import FlatFitting, FlatLimits
from rollfast.psgd.options import KeyOrSeed, Momentum, Precision, Timing
from rollfast.psgd.x_matrix import (
    XMatrix,
    apply,
    apply_adjoint,
    apply_normal,
    inverse,
    product,
    update_factor,
)
from rollfast.typing import Array, DTypeLike, Number, PyTree, ScalarOrSchedule

__all__ = [
    "ScaleByXmatState",
    "XMatrix",
    "apply",
    "apply_adjoint",
    "apply_normal",
    "inverse",
    "product",
    "scale_by_xmat",
    "update_factor",
    "xmat",
]


class ScaleByXmatState(NamedTuple):
    """State of `scale_by_xmat`.

    Attributes:
        count: Steps taken, int32.
        mu: Momentum in the structure of the parameters; None where `b1` is 0.
        a: Diagonal of Q, (n,).
        b: Antidiagonal of Q, (n,).
        L: Lipschitz estimate.
        needs_scale_init: Whether the scale of Q waits for a first gradient.
        key: Key of all random numbers, never changed: a step folds its own number in.
    """

    count: Array  # type: ignore[assignment]
    mu: PyTree | None
    a: Array
    b: Array
    L: Array
    needs_scale_init: Array
    key: Array


class _Fitted(NamedTuple):
    a: Array
    b: Array
    L: Array


@dataclass(frozen=True)
class _Family:
    """What sets XMat apart, see `flat_method.Family`."""

    state = ScaleByXmatState
    fitted = _Fitted
    stored = ("a", "b")
    rotates = False
    has_probe = True

    def start(self, start: Start) -> _Fitted:
        zeros = jnp.zeros(start.size, start.dtype)
        return _Fitted(jnp.ones_like(zeros), zeros, jnp.zeros([], start.dtype))

    def scaled(self, fitted: _Fitted, scale: Array) -> _Fitted:
        scale = scale.astype(fitted.a.dtype)
        return fitted._replace(a=scale * fitted.a, b=scale * fitted.b)

    def fit(
        self, fitted: _Fitted, h: Array, v: Array | None, draws: FlatDraws, rule: StepRule
    ) -> _Fitted:
        del draws
        assert v is not None
        factor, divisor = update_factor(XMatrix(fitted.a, fitted.b), fitted.L, h, v, rule)
        return _Fitted(*factor, divisor)

    def apply(self, fitted: _Fitted, vector: Array) -> Array:
        return apply_normal(XMatrix(fitted.a, fitted.b), vector)


@rebuilt_on_automatic_axes
def scale_by_xmat(
    *,
    preconditioner_update_probability: ScalarOrSchedule = 1.0,
    b1: Number = 0.9,
    nesterov: bool = False,
    precond_lr: ScalarOrSchedule = 0.1,
    precond_init_scale: Number | None = None,
    update_global_norm_clip: Number | None = None,
    step_normalizer_order: str = "tracked",
    seed: KeyOrSeed | None = None,
    mu_dtype: DTypeLike | None = None,
    precision: str | None = "tensorfloat32",
    precond_init_moment: str = "4th",
    beta_lipschitz: Number = 0.9,
    damping: Number | None = 1e-9,
    whiten_grad: bool = True,
    update_preconditioner_first: bool = True,
    preconditioner_update_interval: ScalarOrSchedule | None = None,
    grad_clip_max_amps: MaxAmplitudes = None,
    raw_global_grad_clip: Number | None = None,
    permissive_spike_protection: bool = True,
    precond_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Precondition gradients by P = QᵀQ, Q an X: a diagonal and an antidiagonal.

    P is fitted to min E[gᵀPg + vᵀP⁻¹v]. With v white noise that is independent of the gradients
    it whitens them, P = E[ggᵀ]^(-½) as nearly as an X can. With Hessian-vector products in
    place of gradients, `update(grads, state, params, Hvp=Hv, vector=v)`, it is Newton's P = |H|⁻¹.
    All leaves are one vector; a complex entry is two real numbers. The update is P times the
    momentum, not scaled by a learning rate.

    Args:
        preconditioner_update_probability: Probability that a step updates Q, a number or a
            schedule. The step that sets the scale of Q does so always.
        b1: Decay of the momentum, in [0, 1); the running mean of the gradients until t / (t+1)
            exceeds it. 0 for none.
        nesterov: Whether the momentum looks ahead: what is preconditioned is the momentum that the
            same gradients would lead to in a next step.
        precond_lr: Step of Q, relative to what `step_normalizer_order` says, a number or a
            schedule, in [0, 2]. That Q stays regular is argued for steps below ½ (`scale_by_lra`,
            `scale_by_dense_newton`: below 1).
        precond_init_scale: Scale of Q at the start; None to take it from the first gradients that
            are not zero.
        update_global_norm_clip: Largest norm of the direction over all leaves, or None for any.
        step_normalizer_order: What a step of Q is divided by: the smoothness of the criterion, of
            which a running estimate is kept (`tracked`), as it is in this step (`2nd`), or the size
            of the gradient (`1st`). The last two are the formulas of the original package.
        seed: Seed, or key of `jax.random`, typed or raw; None for 36.
        mu_dtype: Dtype in which momentum is kept; float32 at least if None.
        precision: Precision of products of matrices, as `jax.default_matmul_precision` takes it.
        precond_init_moment: Of which moment of the first gradients the scale is made: `4th`, the
            safer and smaller, or `2nd`, that of the original package.
        beta_lipschitz: Decay of the running estimate, in [0, 1); 0.999 for sparse gradients.
        damping: Standard deviation λ of the noise that is added to the gradient for the update of
            Q, so that P < 1/λ; None for no noise.
        whiten_grad: Whether P whitens gradients (True) or their momentum (False).
        update_preconditioner_first: Whether a gradient is preconditioned by the Q that has seen it
            (True) or by the one before (False, without bias).
        preconditioner_update_interval: Q is updated in every step whose number, from 0, is a
            multiple of it, whatever the probability; a number or a schedule, or None.
        grad_clip_max_amps: (largest root mean square, largest modulus) of the direction over all
            leaves, the first alone (the second is then 10), or None for no limit.
        raw_global_grad_clip: Largest norm over all gradients, or None for any.
        permissive_spike_protection: Whether gradients above that norm are clipped (True) or the
            step is skipped, with zero updates and the state as it was (False).
        precond_dtype: Dtype in which Q is kept; float32 at least if None.

    Returns:
        A transformation with `ScaleByXmatState`. `update` also takes `Hvp` and `vector`, trees
        like the gradients, and `update_preconditioner`, a boolean in place of the probability. A
        step with a gradient that is not finite returns zero updates and the state as it was.

    Raises:
        ValueError: An option is out of its range.

    Source: psgd_torch a8616f1, class `XMat`; arXiv 2402.04553 and 2211.04422, numbers not seen.
    """
    options = FlatOptions(
        Momentum(b1, nesterov),
        mu_dtype,
        FlatFitting(
            step_normalizer_order,
            precond_lr,
            beta_lipschitz,
            damping,
            precond_init_scale,
            precond_init_moment,
            whiten_grad,
            update_preconditioner_first,
        ),
        Timing(preconditioner_update_probability, preconditioner_update_interval),
        FlatLimits(amplitudes(grad_clip_max_amps), update_global_norm_clip),
        Precision(precond_dtype, precision, precision),
        seed,
    )
    method = FlatMethod(_Family(), options)
    return guarded(method, raw_global_grad_clip, permissive_spike_protection)


@rebuilt_on_automatic_axes
def xmat(
    learning_rate: ScalarOrSchedule = 0.01,
    *,
    weight_decay: Number = 0.0,
    mask: PyTree | None = None,
    preconditioner_update_probability: ScalarOrSchedule = 1.0,
    b1: Number = 0.9,
    nesterov: bool = False,
    precond_lr: ScalarOrSchedule = 0.1,
    precond_init_scale: Number | None = None,
    update_global_norm_clip: Number | None = None,
    step_normalizer_order: str = "tracked",
    seed: KeyOrSeed | None = None,
    mu_dtype: DTypeLike | None = None,
    precision: str | None = "tensorfloat32",
    precond_init_moment: str = "4th",
    beta_lipschitz: Number = 0.9,
    damping: Number | None = 1e-9,
    whiten_grad: bool = True,
    update_preconditioner_first: bool = True,
    preconditioner_update_interval: ScalarOrSchedule | None = None,
    grad_clip_max_amps: MaxAmplitudes = None,
    raw_global_grad_clip: Number | None = None,
    permissive_spike_protection: bool = True,
    precond_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Step along the preconditioned momentum of `scale_by_xmat`, with decoupled decay.

    W ← W - η (P m + λ W).

    Args:
        learning_rate: η, a number or a schedule.
        weight_decay: λ, multiplied by the learning rate.
        mask: Tree of booleans, or function of the parameters that returns one: which leaves decay.
            All if None.
        preconditioner_update_probability: As for `scale_by_xmat`.
        b1: As for `scale_by_xmat`.
        nesterov: As for `scale_by_xmat`.
        precond_lr: As for `scale_by_xmat`.
        precond_init_scale: As for `scale_by_xmat`.
        update_global_norm_clip: As for `scale_by_xmat`.
        step_normalizer_order: As for `scale_by_xmat`.
        seed: As for `scale_by_xmat`.
        mu_dtype: As for `scale_by_xmat`.
        precision: As for `scale_by_xmat`.
        precond_init_moment: As for `scale_by_xmat`.
        beta_lipschitz: As for `scale_by_xmat`.
        damping: As for `scale_by_xmat`.
        whiten_grad: As for `scale_by_xmat`.
        update_preconditioner_first: As for `scale_by_xmat`.
        preconditioner_update_interval: As for `scale_by_xmat`.
        grad_clip_max_amps: As for `scale_by_xmat`.
        raw_global_grad_clip: As for `scale_by_xmat`.
        permissive_spike_protection: As for `scale_by_xmat`.
        precond_dtype: As for `scale_by_xmat`.

    Returns:
        A transformation; updates have the dtype of the gradients.

    Raises:
        ValueError: An option is out of its range.

    Source: psgd_torch a8616f1, class `XMat`; arXiv 2402.04553 and 2211.04422, numbers not seen.
    """
    preconditioned = scale_by_xmat(
        preconditioner_update_probability=preconditioner_update_probability,
        b1=b1,
        nesterov=nesterov,
        precond_lr=precond_lr,
        precond_init_scale=precond_init_scale,
        update_global_norm_clip=update_global_norm_clip,
        step_normalizer_order=step_normalizer_order,
        seed=seed,
        mu_dtype=mu_dtype,
        precision=precision,
        precond_init_moment=precond_init_moment,
        beta_lipschitz=beta_lipschitz,
        damping=damping,
        whiten_grad=whiten_grad,
        update_preconditioner_first=update_preconditioner_first,
        preconditioner_update_interval=preconditioner_update_interval,
        grad_clip_max_amps=grad_clip_max_amps,
        raw_global_grad_clip=raw_global_grad_clip,
        permissive_spike_protection=permissive_spike_protection,
        precond_dtype=precond_dtype,
    )
    return descend(preconditioned, learning_rate, weight_decay, mask)
