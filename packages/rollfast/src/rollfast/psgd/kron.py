"""PSGD with a Kronecker-factored preconditioner, as Optax transformations."""

import optax

from rollfast import guards
from rollfast.guards import MaxAmplitudes, amplitudes
from rollfast.injected import rebuilt_on_automatic_axes
from rollfast.psgd.descent import descend
from rollfast.psgd.geometry import geometry
from rollfast.psgd.method import Fitting, Method
from rollfast.psgd.options import (
    GradClipMode,
    KeyOrSeed,
    Limits,
    Mapping,
    Momentum,
    Precision,
    PreconditionerMode,
    Structure,
    Timing,
)
from rollfast.psgd.probability import ANNEALED
from rollfast.typing import DTypeLike, Number, PyTree, ScalarOrSchedule

__all__ = ["kron", "scale_by_kron"]


@rebuilt_on_automatic_axes
def scale_by_kron(
    *,
    b1: Number = 0.9,
    preconditioner_update_probability: ScalarOrSchedule = ANNEALED,
    max_size_triangular: float = 8192,
    max_skew_triangular: float = 1.0,
    min_ndim_triangular: int = 2,
    memory_save_mode: str | None = None,
    whiten_grad: bool = True,
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
    """Precondition gradients by P = QᴴQ, Q a Kronecker product of one factor for every axis.

    P is fitted so that P g is white along every axis (in mode `EQ`, so that E[gᴴPg + vᴴP⁻¹v] is
    least, with v white noise). Where E[ggᴴ] is a Kronecker product itself, both are
    P = E[ggᴴ]^(-½). With Hessian-vector products, `update(grads, state, params, Hvp=Hv,
    vector=v)`, P is fitted to |H|⁻¹ in the same sense, and the step is Newton's. The update is P
    times the momentum, not scaled by a learning rate.

    Under `optax.inject_hyperparams` the numbers that say which factors there are must be among its
    `static_args`: `max_size_triangular`, `max_skew_triangular`, `min_ndim_triangular`,
    `merge_small_dims` and `partition_large_dims`, and so must `lax_map_batch_size`.

    Args:
        b1: Decay of the momentum, in [0, 1). The first steps take a plain mean, so that no bias
            needs correction. 0 keeps no momentum.
        preconditioner_update_probability: Probability that a step updates Q, a number or a
            schedule; by default 1 for 500 steps, then falling to 0.03 at about step 4000. The step
            that sets the scale of Q always updates it.
        max_size_triangular: Longest axis with a dense factor; longer ones get a diagonal.
        max_skew_triangular: Largest n² / N with a dense factor, for an axis of length n of a tensor
            of N entries: with 1 a matrix has one on its shorter axis, a square one on both.
        min_ndim_triangular: Least number of axes of a tensor with dense factors.
        memory_save_mode: None, `one_diag` (a diagonal on the longest axis) or `all_diag`. With a
            `max_skew_triangular` of 1 the longer axis of a matrix that is not square has a diagonal
            anyhow, and `one_diag` changes nothing there.
        whiten_grad: Whether P whitens gradients (True) or their momentum (False); no effect on a
            step with `Hvp`, to which P is fitted in place of both.
        update_preconditioner_first: Whether a gradient is preconditioned by the Q that has seen
            it (True) or by the one before, which does not depend on it (False).
        preconditioner_lr: Step of Q, relative to its Lipschitz estimate, a number or a schedule,
            in [0, 2]; in [0, 1] with mode `PRO4P`, whose P need not stay positive beyond. That Q
            stays regular is argued for steps below 1, divided by norms that are not too low.
        preconditioner_init_scale: Scale of Q at the start; None to take it from what the first fit
            is made to, gradients or products that are not zero. Until then P is the identity.
        mu_dtype: Dtype in which momentum is kept; float32 at least if None.
        precond_dtype: Dtype in which Q is kept; float32 at least if None.
        precond_update_precision: Precision of the products of an update of Q, as
            `jax.default_matmul_precision` takes it.
        precond_grads_precision: Precision of the products of P and the momentum.
        scanned_layers: Tree of booleans, in whole or as a prefix: leaves whose first axis runs
            over layers, each of which is a tensor with factors of its own.
        lax_map_scanned_layers: Whether an update of Q takes tensors of one shape some at a time,
            which saves memory, instead of all at once. On a CPU it takes a few at a time anyhow. No
            effect in mode `EQ`, whose tensors always go one by one: batched triangular solves can
            stop for ever on a CPU with jaxlib 0.10. For the same reason map `EQ` over an ensemble
            by `jax.lax.map` there, and not by `jax.vmap`.
        lax_map_batch_size: At most how many at a time; on a CPU no more than eight. No effect in
            mode `EQ`, nor, but for 1 on a CPU, without `lax_map_scanned_layers`.
        preconditioner_mode: Geometry of the update: `EQ`, `QEP`, `QEQ`, `Q0.5EQ1.5`, `QUAD`,
            `QUAD4P`, `PRO4P`, `NS`, `EXP`, `TAYLOR2` or `HYPER`.
        beta_lipschitz: Decay of the Lipschitz estimate, in [0, 1); 0.999 for sparse gradients.
            No effect without `track_lipschitz`.
        track_lipschitz: Whether the estimate remembers earlier steps.
        damping: Standard deviation λ of the noise that is added to the gradient for the update
            of Q, so that P < 1/λ; None for no noise.
        grad_clip_max_amps: (largest root mean square, largest modulus) of the direction, the first
            alone (the second is then 10), or None for no limit. It holds for whitening and
            Newton's fitting alike.
        grad_clip_mode: Whether the root mean square is that of a leaf (`per_tensor_rms`; of a
            scanned leaf each layer) or of all (`global_rms`).
        raw_global_grad_clip: Largest norm over all gradients, or None for any.
        permissive_spike_protection: Whether gradients above that norm are clipped (True) or
            the step is skipped, with zero updates and the state as it was (False).
        newton_schulz_iters: Least number of iterations of mode `NS`, which goes on until they
            have converged.
        axis_name: Mapped axis of `jax.shard_map` or `jax.vmap` over which gradients are sharded or
            sampled: squares of norms are summed and Gram matrices averaged over it. None where
            gradients are the same everywhere, and under `jax.jit` alone.
        key: Seed, or key of `jax.random`, typed or raw.
        preconditioner_update_interval: Q is updated in every step whose number, from 0, is a
            multiple of it, whatever the probability; a number or a schedule, or None.
        merge_small_dims: Neighbouring axes are merged while their product is at most this; None
            for not at all.
        partition_large_dims: Longer axes are cut into blocks of this length with factors of their
            own; None for not at all.
        cache_preconditioner: Whether QᴴQ of dense factors is kept beside Q between its updates,
            in as much memory again; None where that saves work in the long run, and always where
            the probability follows a schedule, as by default. No effect in the modes `QUAD4P` and
            `PRO4P`, whose factors are those of P itself.

    Returns:
        A transformation with `ScaleByKronState`. `update` also takes `Hvp` and `vector`, trees
        like the gradients, and `update_preconditioner`, a boolean in place of the probability. A
        step with a gradient that is not finite returns zero updates and the state as it was; one
        with a product that is not finite is taken, and leaves out the fit alone.

    Raises:
        ValueError: An option is out of its range, or a scanned leaf has no axis.

    Source: arXiv 2402.11858v7, numbers not seen; psgd_torch a8616f1, `KronWhiten` and
        `KronNewton`; deviations in the note.
    """
    fitting = Fitting(
        geometry(preconditioner_mode),
        preconditioner_lr,
        beta_lipschitz,
        track_lipschitz,
        damping,
        newton_schulz_iters,
        preconditioner_init_scale,
        whiten_grad,
        update_preconditioner_first,
        cache_preconditioner,
    )
    structure = Structure(
        max_size_triangular,
        max_skew_triangular,
        min_ndim_triangular,
        memory_save_mode,
        merge_small_dims,
        partition_large_dims,
    )
    method = Method(
        Momentum(b1),
        mu_dtype,
        fitting,
        structure,
        Timing(preconditioner_update_probability, preconditioner_update_interval),
        Limits(amplitudes(grad_clip_max_amps), grad_clip_mode, axis_name),
        Mapping(lax_map_scanned_layers, lax_map_batch_size),
        Precision(precond_dtype, precond_update_precision, precond_grads_precision),
        scanned_layers,
        key,
    )
    return guards.skip_unsound_steps(
        optax.GradientTransformationExtraArgs(method.init, method.update),
        max_norm=raw_global_grad_clip,
        permissive=permissive_spike_protection,
        axis_name=axis_name,
        inner_skips=True,
    )


@rebuilt_on_automatic_axes
def kron(
    learning_rate: ScalarOrSchedule = 0.001,
    *,
    b1: Number = 0.9,
    weight_decay: Number = 0.0,
    weight_decay_mask: PyTree | None = None,
    preconditioner_update_probability: ScalarOrSchedule = ANNEALED,
    max_size_triangular: float = 8192,
    max_skew_triangular: float = 1.0,
    min_ndim_triangular: int = 2,
    memory_save_mode: str | None = None,
    whiten_grad: bool = True,
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
    """Step along the preconditioned momentum of `scale_by_kron`, with decoupled decay.

    W ← W - η (P m + λ W). With `whiten_grad=False` P whitens the momentum, whose variance is
    (1-b1) / (1+b1) of that of the gradients: divide η by the root of (1+b1) / (1-b1).

    Args:
        learning_rate: η, a number or a schedule.
        b1: As for `scale_by_kron`.
        weight_decay: λ, multiplied by the learning rate.
        weight_decay_mask: Tree of booleans, or function of the parameters that returns one:
            which leaves decay. All if None.
        preconditioner_update_probability: As for `scale_by_kron`.
        max_size_triangular: As for `scale_by_kron`.
        max_skew_triangular: As for `scale_by_kron`.
        min_ndim_triangular: As for `scale_by_kron`.
        memory_save_mode: As for `scale_by_kron`.
        whiten_grad: As for `scale_by_kron`.
        update_preconditioner_first: As for `scale_by_kron`.
        preconditioner_lr: As for `scale_by_kron`.
        preconditioner_init_scale: As for `scale_by_kron`.
        mu_dtype: As for `scale_by_kron`.
        precond_dtype: As for `scale_by_kron`.
        precond_update_precision: As for `scale_by_kron`.
        precond_grads_precision: As for `scale_by_kron`.
        scanned_layers: As for `scale_by_kron`.
        lax_map_scanned_layers: As for `scale_by_kron`.
        lax_map_batch_size: As for `scale_by_kron`.
        preconditioner_mode: As for `scale_by_kron`.
        beta_lipschitz: As for `scale_by_kron`.
        track_lipschitz: As for `scale_by_kron`.
        damping: As for `scale_by_kron`.
        grad_clip_max_amps: As for `scale_by_kron`.
        grad_clip_mode: As for `scale_by_kron`.
        raw_global_grad_clip: As for `scale_by_kron`.
        permissive_spike_protection: As for `scale_by_kron`.
        newton_schulz_iters: As for `scale_by_kron`.
        axis_name: As for `scale_by_kron`.
        key: As for `scale_by_kron`.
        preconditioner_update_interval: As for `scale_by_kron`.
        merge_small_dims: As for `scale_by_kron`.
        partition_large_dims: As for `scale_by_kron`.
        cache_preconditioner: As for `scale_by_kron`.

    Returns:
        A transformation; updates have the dtype of the gradients.

    Raises:
        ValueError: An option is out of its range, or a scanned leaf has no axis.

    Source: arXiv 2402.11858v7; psgd_torch a8616f1.
    """
    preconditioned = scale_by_kron(
        b1=b1,
        preconditioner_update_probability=preconditioner_update_probability,
        max_size_triangular=max_size_triangular,
        max_skew_triangular=max_skew_triangular,
        min_ndim_triangular=min_ndim_triangular,
        memory_save_mode=memory_save_mode,
        whiten_grad=whiten_grad,
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
    return descend(preconditioned, learning_rate, weight_decay, weight_decay_mask)
