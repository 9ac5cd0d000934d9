"""PSGD with Kronecker product preconditioners as a whole: its options and their defaults.

What the papers fix is the criterion and the step of the fit. Momentum, the probability of a fit,
the initial scale, clipping and the guard against spikes are conventions of the released codes, each
an option here.
"""

from collections.abc import Callable, Sequence

from reference.optimizer import Optimizer
from reference.psgd.geometry import geometry
from reference.psgd.probability import precond_update_prob_schedule
from reference.psgd.state import NORMS, Fit, Number, StepDraws, Structure
from reference.psgd.step import CLIPS, Descent, Options

__all__ = ["kron", "scale_by_kron"]


def scale_by_kron(
    b1: float = 0.9,
    preconditioner_update_probability: Number | None = None,
    max_size_triangular: float = 8192,
    max_skew_triangular: float = 1.0,
    min_ndim_triangular: int = 2,
    memory_save_mode: str | None = None,
    whiten_grad: bool = True,
    preconditioner_lr: Number = 0.1,
    preconditioner_init_scale: float | None = None,
    update_preconditioner_first: bool = True,
    scanned_layers: Sequence[str] | set[str] | None = None,
    preconditioner_mode: str = "Q0.5EQ1.5",
    beta_lipschitz: float = 0.9,
    track_lipschitz: bool = True,
    damping: float | None = 1e-9,
    grad_clip_max_amps: float | tuple[float, float] | None = (2.0, 10.0),
    grad_clip_mode: str = "per_tensor_rms",
    raw_global_grad_clip: float | None = None,
    permissive_spike_protection: bool = True,
    newton_schulz_iters: int = 5,
    preconditioner_update_interval: int | None = None,
    merge_small_dims: int | None = None,
    partition_large_dims: int | None = None,
    draws: Callable[[int], StepDraws] | None = None,
    norm: str = "bound",
    seed: int = 0,
) -> Optimizer:
    """Return the preconditioned direction P m of every leaf; the parameters do not move.

    m_t = beta_t m_{t-1} + (1 - beta_t) g_t,  beta_t = min(t / (1 + t), b1),  t from 0;
    Q moves by `fitting.update_factors` in the steps that are decided;  u_t = clip(P m_t).

    Args:
        b1: the largest decay of the momentum; with 0, m_t = g_t.
        preconditioner_update_probability: the probability of a fit, a number or a function of t;
            None is `probability.precond_update_prob_schedule()`.
        max_size_triangular: see `plan.dense_axes`.
        max_skew_triangular: see `plan.dense_axes`.
        min_ndim_triangular: see `plan.dense_axes`.
        memory_save_mode: see `plan.dense_axes`.
        whiten_grad: whether Q is fitted to g, or to m.
        preconditioner_lr: the step of the fit, a number or a function of t.
        preconditioner_init_scale: s of Q = s I; None takes it from the first gradient, or the
            first pair, that is not zero. The step that does is fitted in any case, unless
            `update_preconditioner` says otherwise. Until then Q stays.
        update_preconditioner_first: whether the direction uses the Q of this step's fit.
        scanned_layers: the names of the leaves whose first axis counts layers.
        preconditioner_mode: a name of `geometry.GEOMETRIES`.
        beta_lipschitz: the decay of L.
        track_lipschitz: whether L is the running estimate, or that of the step alone.
        damping: see `fitting.damped`; None adds no noise.
        grad_clip_max_amps: limits (root mean square, modulus of an entry) on the direction; one
            number r is (r, 10); None is no limit.
        grad_clip_mode: "per_tensor_rms", or "global_rms" for all leaves together.
        raw_global_grad_clip: the largest norm of the whole gradient; None is no limit.
        permissive_spike_protection: whether a gradient over that limit is shortened instead of
            skipped.
        newton_schulz_iters: not used: the reference decomposes where production iterates.
        preconditioner_update_interval: fit when t is a multiple; None decides by probability.
        merge_small_dims: see `plan.view_shape`.
        partition_large_dims: see `plan.block_slices`.
        draws: a function of t that returns the random numbers; None draws from `seed`.
        norm: "bound" for the lower bounds of norms with the probes drawn, or "exact".
        seed: of the numbers drawn here.

    Returns:
        An optimizer. Its step also takes `vector` and `Hvp`, trees like the gradients, which make
        the fit a Newton fit (a pair that is not finite is not fitted), and
        `update_preconditioner`, which overrides the decision. State: "params", "mu",
        "Qs_preconditioners" and "Ls_lipschitz" under "leaf/block/axis", "needs_scale_init",
        "count", and after a step "updates", the direction with positive sign and without learning
        rate. A step whose gradient is not finite, or is skipped, gives zero updates and changes
        nothing else.

    Raises:
        ValueError: if a mode is unknown, or a step is given a vector without product.

    Source: arXiv 2402.11858 and 1512.04202, numbers not seen; psgd_torch, `KronWhiten` and
    `KronNewton`; options of rollfast 0.1.0.
    """
    if preconditioner_update_probability is None:
        preconditioner_update_probability = precond_update_prob_schedule()
    structure = Structure(
        max_size_triangular,
        max_skew_triangular,
        min_ndim_triangular,
        memory_save_mode,
        frozenset(scanned_layers or ()),
        merge_small_dims,
        partition_large_dims,
    )
    fit = Fit(
        geometry(preconditioner_mode),
        preconditioner_lr,
        beta_lipschitz,
        damping,
        track_lipschitz,
        NORMS.row(norm),
    )
    options = Options(
        structure=structure,
        fit=fit,
        b1=b1,
        probability=preconditioner_update_probability,
        interval=preconditioner_update_interval,
        whiten_grad=whiten_grad,
        fits_first=update_preconditioner_first,
        clip=CLIPS.row(grad_clip_mode),
        grad_clip_max_amps=grad_clip_max_amps,
        raw_global_grad_clip=raw_global_grad_clip,
        permissive=permissive_spike_protection,
        draws=draws,
        seed=seed,
    )
    return options.optimizer(preconditioner_init_scale)


def kron(learning_rate: Number = 0.001, weight_decay: float = 0.0, **kron_options) -> Optimizer:
    """Step along the direction of `scale_by_kron`.

    W <- W - lr (u_t + weight_decay W).

    Args:
        learning_rate: lr, a number or a function of the step from 0.
        weight_decay: the decoupled decay of every leaf.
        **kron_options: those of `scale_by_kron`.

    Returns:
        An optimizer; for its state and its step see `scale_by_kron`. "updates" is the change of
        the parameters. A step whose gradient is not finite, or is skipped, changes nothing, and its
        updates are zero: no decay either.

    Source: psgd_torch, `KronWhiten` and `KronNewton`; decay: arXiv 1711.05101, Algorithm 2.
    """
    return Descent(learning_rate, weight_decay).along(scale_by_kron(**kron_options))
