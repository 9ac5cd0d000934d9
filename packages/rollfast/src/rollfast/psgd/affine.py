"""PSGD Affine: Kronecker products of triangular factors, with the options of an earlier package."""

import optax

from rollfast import guards
from rollfast.guards import MaxAmplitudes, amplitudes
from rollfast.injected import rebuilt_on_automatic_axes
from rollfast.options import (
    check_choice,
    check_interval,
    check_positive_or_none,
    check_precision,
)
from rollfast.psgd.descent import descend
from rollfast.psgd.flat_options import DEFAULT_SEED
from rollfast.psgd.geometry import geometry
from rollfast.psgd.method import Fitting, Method
from rollfast.psgd.moments import MOMENTS
from rollfast.psgd.options import (
    KeyOrSeed,
    Limits,
    Mapping,
    Momentum,
    Precision,
    Structure,
    Timing,
)
from rollfast.typing import DTypeLike, Number, PyTree, ScalarOrSchedule

__all__ = ["affine", "scale_by_affine"]

# Of each order whether the step of Q is divided by a running estimate, and of what.
_ORDERS = {"tracked": (True, "2nd"), "2nd": (False, "2nd"), "1st": (False, "1st")}
# Triangular factors are not rotated.
_NO_ITERATIONS = 1


@rebuilt_on_automatic_axes
def scale_by_affine(
    *,
    preconditioner_update_probability: ScalarOrSchedule = 1.0,
    b1: Number = 0.9,
    nesterov: bool = False,
    max_size_triangular: float = 4096,
    max_skew_triangular: float = 128,
    matricize: bool = False,
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
    """Precondition gradients by P = QᴴQ, Q a Kronecker product of one factor for every axis.

    P is fitted to min E[gᴴPg + vᴴP⁻¹v], leaf by leaf. With v white noise that is independent of the
    gradients it whitens them; with Hessian-vector products in place of gradients,
    `update(grads, state, params, Hvp=Hv, vector=v)`, it is Newton's P = |H|⁻¹ as nearly as such
    factors can. The update is P times the momentum, not scaled by a learning rate.

    Factors are triangular, moved by dQ = E Q: geometry `EQ` of `scale_by_kron`, with the defaults
    and options of an earlier package. Axes of size one are dropped. Sizes that say which factors
    there are must be among the `static_args` of `optax.inject_hyperparams`.

    Args:
        preconditioner_update_probability: As for `scale_by_xmat`.
        b1: As for `scale_by_xmat`.
        nesterov: As for `scale_by_xmat`.
        max_size_triangular: Longest axis with a dense factor; longer ones get a diagonal.
        max_skew_triangular: Largest ratio of n² to the number of entries with a dense factor, n the
            length of the axis.
        matricize: Whether leaves of three axes or more are seen as a matrix, the one with the
            smallest two dense factors, instead of having a factor for every axis.
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
        grad_clip_max_amps: (largest root mean square, largest modulus) of the direction of every
            leaf, the first alone (the second is then 10), or None for no limit.
        raw_global_grad_clip: As for `scale_by_xmat`.
        permissive_spike_protection: As for `scale_by_xmat`.
        precond_dtype: As for `scale_by_xmat`.

    Returns:
        A transformation with `ScaleByKronState`. `update` also takes `Hvp` and `vector`, trees
        like the gradients, and `update_preconditioner`, a boolean in place of the probability. A
        step with a gradient that is not finite returns zero updates and the state as it was.

    Raises:
        ValueError: An option is out of its range.

    Source: psgd_torch a8616f1, class `Affine`; arXiv 1809.10232 and 1512.04202, numbers not seen.
    """
    check_choice("step_normalizer_order", step_normalizer_order, _ORDERS)
    check_choice("precond_init_moment", precond_init_moment, MOMENTS)
    check_interval("precond_lr", precond_lr, 0, 2, schedule=True)
    check_positive_or_none("precond_init_scale", precond_init_scale)
    check_precision("precision", precision)
    tracks, normalizer = _ORDERS[step_normalizer_order]
    fitting = Fitting(
        geometry("EQ"),
        precond_lr,
        beta_lipschitz,
        tracks,
        damping,
        _NO_ITERATIONS,
        precond_init_scale,
        whiten_grad,
        update_preconditioner_first,
        None,
        normalizer,
        precond_init_moment,
    )
    method = Method(
        Momentum(b1, nesterov),
        mu_dtype,
        fitting,
        Structure(max_size_triangular, max_skew_triangular, 1, None, None, None, matricize),
        Timing(preconditioner_update_probability, preconditioner_update_interval),
        Limits(amplitudes(grad_clip_max_amps), "per_tensor_rms", None, update_global_norm_clip),
        Mapping(in_turn=False, batch_size=1),
        Precision(precond_dtype, precision, precision),
        None,
        DEFAULT_SEED if seed is None else seed,
    )
    return guards.skip_unsound_steps(
        optax.GradientTransformationExtraArgs(method.init, method.update),
        max_norm=raw_global_grad_clip,
        permissive=permissive_spike_protection,
        inner_skips=True,
    )


@rebuilt_on_automatic_axes
def affine(
    learning_rate: ScalarOrSchedule = 0.01,
    *,
    weight_decay: Number = 0.0,
    mask: PyTree | None = None,
    preconditioner_update_probability: ScalarOrSchedule = 1.0,
    b1: Number = 0.9,
    nesterov: bool = False,
    max_size_triangular: float = 4096,
    max_skew_triangular: float = 128,
    matricize: bool = False,
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
    """Step along the preconditioned momentum of `scale_by_affine`, with decoupled decay.

    W ← W - η (P m + λ W).

    Args:
        learning_rate: η, a number or a schedule.
        weight_decay: λ, multiplied by the learning rate.
        mask: Tree of booleans, or function of the parameters that returns one: which leaves decay.
            All if None.
        preconditioner_update_probability: As for `scale_by_affine`.
        b1: As for `scale_by_affine`.
        nesterov: As for `scale_by_affine`.
        max_size_triangular: As for `scale_by_affine`.
        max_skew_triangular: As for `scale_by_affine`.
        matricize: As for `scale_by_affine`.
        precond_lr: As for `scale_by_affine`.
        precond_init_scale: As for `scale_by_affine`.
        update_global_norm_clip: As for `scale_by_affine`.
        step_normalizer_order: As for `scale_by_affine`.
        seed: As for `scale_by_affine`.
        mu_dtype: As for `scale_by_affine`.
        precision: As for `scale_by_affine`.
        precond_init_moment: As for `scale_by_affine`.
        beta_lipschitz: As for `scale_by_affine`.
        damping: As for `scale_by_affine`.
        whiten_grad: As for `scale_by_affine`.
        update_preconditioner_first: As for `scale_by_affine`.
        preconditioner_update_interval: As for `scale_by_affine`.
        grad_clip_max_amps: As for `scale_by_affine`.
        raw_global_grad_clip: As for `scale_by_affine`.
        permissive_spike_protection: As for `scale_by_affine`.
        precond_dtype: As for `scale_by_affine`.

    Returns:
        A transformation; updates have the dtype of the gradients.

    Raises:
        ValueError: An option is out of its range.

    Source: psgd_torch a8616f1, class `Affine`; arXiv 1809.10232 and 1512.04202, numbers not seen.
    """
    preconditioned = scale_by_affine(
        preconditioner_update_probability=preconditioner_update_probability,
        b1=b1,
        nesterov=nesterov,
        max_size_triangular=max_size_triangular,
        max_skew_triangular=max_skew_triangular,
        matricize=matricize,
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
