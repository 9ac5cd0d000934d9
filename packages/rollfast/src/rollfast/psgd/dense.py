"""PSGD with one dense factor for all parameters."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import optax

from rollfast import guards
from rollfast.guards import MaxAmplitudes, amplitudes
from rollfast.injected import rebuilt_on_automatic_axes
from rollfast.linalg import kronecker
from rollfast.psgd.descent import descend
from rollfast.psgd.draws import FlatDraws
from rollfast.psgd.factor import relative_gradient
from rollfast.psgd.fitting import terms
from rollfast.psgd.flat import StepRule
from rollfast.psgd.flat_method import FlatMethod, FlatOptions, Start, guarded
from rollfast.psgd.flat_options import FlatFitting, FlatLimits
from rollfast.psgd.geometry import Auxiliary, Geometry, geometry
from rollfast.psgd.options import (
    KeyOrSeed,
    Momentum,
    Precision,
    PreconditionerMode,
    Timing,
    check_step_of_q,
)
from rollfast.typing import Array, DTypeLike, Number, PyTree, ScalarOrSchedule

__all__ = ["ScaleByDenseState", "dense_newton", "scale_by_dense_newton", "update_factor"]


def update_factor(
    q: Array,
    lipschitz: Array,
    h: Array,
    v: Array | None,
    rule: StepRule,
    geometry: Geometry,
    auxiliary: Auxiliary,
) -> tuple[Array, Array]:
    """Move Q by one step of a geometry.

    Args:
        q: Q, or P itself where the geometry moves that, (n, n).
        lipschitz: L, a scalar.
        h: Gradient, or Hessian-vector product, (n,).
        v: White noise, or the vector that the Hessian was multiplied with, (n,); None to have
            it integrated out, which the basis `whitened` cannot.
        rule: How far.
        geometry: Row of the table.
        auxiliary: What the row needs besides.

    Returns:
        (Q, L) after the step; as they were where L overflows.

    Source: psgd_torch a8616f1, `update_precond_dense_*`; arXiv 2402.11858v7, numbers not seen.
    """
    ((first, second),) = terms([q], h, v, geometry.basis)
    gradient = relative_gradient(first, second)
    divisor = rule.divisor(lipschitz, _SIZES[rule.order](first, second, gradient))
    # What overflows says nothing of where to go.
    sound = jnp.isfinite(divisor)
    moved = geometry.matrix(q, gradient, rule.step(divisor), auxiliary)
    return jnp.where(sound, moved, q), jnp.where(sound, divisor, lipschitz)


def _curvature(first: Array, second: Array, gradient: Array) -> Array:
    del gradient
    return jnp.trace(first) + (second if second.ndim == 0 else jnp.trace(second))


def _norm(first: Array, second: Array, gradient: Array) -> Array:
    del first, second
    return guards.global_norm([gradient])


_SIZES = {"tracked": _curvature, "2nd": _curvature, "1st": _norm}


class ScaleByDenseState(NamedTuple):
    """State of `scale_by_dense_newton`.

    Attributes:
        count: Steps taken, int32.
        mu: Momentum in the structure of the parameters; None where `b1` is 0.
        Q: The factor, or P itself in the modes that move that, (n, n).
        L: Lipschitz estimate.
        needs_scale_init: Whether the scale of Q waits for a first gradient.
        key: Key of all random numbers, never changed: a step folds its own number in.
    """

    count: Array  # type: ignore[assignment]
    mu: PyTree | None
    Q: Array
    L: Array
    needs_scale_init: Array
    key: Array


class _Fitted(NamedTuple):
    Q: Array
    L: Array


@dataclass(frozen=True)
class _Family:
    """What sets the dense factor apart, see `flat_method.Family`."""

    geometry: Geometry

    state = ScaleByDenseState
    fitted = _Fitted
    stored = ("Q",)

    @property
    def rotates(self) -> bool:
        return self.geometry.rotates

    @property
    def has_probe(self) -> bool:
        return self.geometry.basis == "whitened"

    def start(self, start: Start) -> _Fitted:
        return _Fitted(jnp.eye(start.size, dtype=start.dtype), jnp.zeros([], start.dtype))

    def scaled(self, fitted: _Fitted, scale: Array) -> _Fitted:
        power = 2 if self.geometry.basis == "direct" else 1
        return fitted._replace(Q=scale.astype(fitted.Q.dtype) ** power * fitted.Q)

    def fit(
        self, fitted: _Fitted, h: Array, v: Array | None, draws: FlatDraws, rule: StepRule
    ) -> _Fitted:
        auxiliary = Auxiliary(draws.rotation_probes)
        return _Fitted(*update_factor(fitted.Q, fitted.L, h, v, rule, self.geometry, auxiliary))

    def apply(self, fitted: _Fitted, vector: Array) -> Array:
        if self.geometry.basis == "direct":
            return fitted.Q @ vector
        return kronecker.apply_normal([fitted.Q], vector)


@rebuilt_on_automatic_axes
def scale_by_dense_newton(
    *,
    preconditioner_update_probability: ScalarOrSchedule = 1.0,
    b1: Number = 0.9,
    nesterov: bool = False,
    preconditioner_mode: str | PreconditionerMode = PreconditionerMode.Q0P5EQ1P5,
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
    """Precondition gradients by P = QᵀQ, Q a whole matrix of n × n for n parameters.

    P is fitted to min E[gᵀPg + vᵀP⁻¹v]. With v white noise that is independent of the gradients
    it whitens them, P = E[ggᵀ]^(-½). With Hessian-vector products in place of gradients,
    `update(grads, state, params, Hvp=Hv, vector=v)`, it is Newton's P = |H|⁻¹. All leaves are one
    vector; a complex entry is two real numbers. The update is P times the momentum, not scaled by
    a learning rate. An update of Q takes about n³ operations, and any other step n²: it is for
    thousands of parameters at most.

    Args:
        preconditioner_update_probability: As for `scale_by_xmat`.
        b1: As for `scale_by_xmat`.
        nesterov: As for `scale_by_xmat`.
        preconditioner_mode: Geometry of the update, as for `scale_by_kron`.
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
        A transformation with `ScaleByDenseState`. `update` also takes `Hvp` and `vector`, trees
        like the gradients, and `update_preconditioner`, a boolean in place of the probability. A
        step with a gradient that is not finite returns zero updates and the state as it was.

    Raises:
        ValueError: An option is out of its range.

    Source: psgd_torch a8616f1, class `DenseNewton`; arXiv 2402.11858v7.
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
    row = geometry(preconditioner_mode)
    check_step_of_q("precond_lr", precond_lr, row.name)
    method = FlatMethod(_Family(row), options)
    return guarded(method, raw_global_grad_clip, permissive_spike_protection)


@rebuilt_on_automatic_axes
def dense_newton(
    learning_rate: ScalarOrSchedule = 0.01,
    *,
    weight_decay: Number = 0.0,
    mask: PyTree | None = None,
    preconditioner_update_probability: ScalarOrSchedule = 1.0,
    b1: Number = 0.9,
    nesterov: bool = False,
    preconditioner_mode: str | PreconditionerMode = PreconditionerMode.Q0P5EQ1P5,
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
    """Step along the preconditioned momentum of `scale_by_dense_newton`, with decoupled decay.

    W ← W - η (P m + λ W).

    Args:
        learning_rate: η, a number or a schedule.
        weight_decay: λ, multiplied by the learning rate.
        mask: Tree of booleans, or function of the parameters that returns one: which leaves decay.
            All if None.
        preconditioner_update_probability: As for `scale_by_dense_newton`.
        b1: As for `scale_by_dense_newton`.
        nesterov: As for `scale_by_dense_newton`.
        preconditioner_mode: As for `scale_by_dense_newton`.
        precond_lr: As for `scale_by_dense_newton`.
        precond_init_scale: As for `scale_by_dense_newton`.
        update_global_norm_clip: As for `scale_by_dense_newton`.
        step_normalizer_order: As for `scale_by_dense_newton`.
        seed: As for `scale_by_dense_newton`.
        mu_dtype: As for `scale_by_dense_newton`.
        precision: As for `scale_by_dense_newton`.
        precond_init_moment: As for `scale_by_dense_newton`.
        beta_lipschitz: As for `scale_by_dense_newton`.
        damping: As for `scale_by_dense_newton`.
        whiten_grad: As for `scale_by_dense_newton`.
        update_preconditioner_first: As for `scale_by_dense_newton`.
        preconditioner_update_interval: As for `scale_by_dense_newton`.
        grad_clip_max_amps: As for `scale_by_dense_newton`.
        raw_global_grad_clip: As for `scale_by_dense_newton`.
        permissive_spike_protection: As for `scale_by_dense_newton`.
        precond_dtype: As for `scale_by_dense_newton`.

    Returns:
        A transformation; updates have the dtype of the gradients.

    Raises:
        ValueError: An option is out of its range.

    Source: psgd_torch a8616f1, class `DenseNewton`; arXiv 2402.11858v7.
    """
    preconditioned = scale_by_dense_newton(
        preconditioner_update_probability=preconditioner_update_probability,
        b1=b1,
        nesterov=nesterov,
        preconditioner_mode=preconditioner_mode,
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
