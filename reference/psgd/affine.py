"""PSGD Affine: Kronecker products of triangular factors, with the options of the older codes."""

from collections.abc import Callable

from reference.optimizer import Optimizer
from reference.psgd.geometry import geometry
from reference.psgd.state import MOMENTS, NORMS, Fit, Number, StepDraws, Structure, Table
from reference.psgd.step import CLIPS, Descent, Options

__all__ = ["affine", "scale_by_affine"]

# What each order of the step normalizer says of L: whether it is the running estimate, and of what.
_ORDERS = Table(
    "step_normalizer_order",
    {"tracked": (True, "2nd"), "2nd": (False, "2nd"), "1st": (False, "1st")},
)


def scale_by_affine(
    preconditioner_update_probability: Number = 1.0,
    b1: float = 0.9,
    nesterov: bool = False,
    max_size_triangular: float = 4096,
    max_skew_triangular: float = 128,
    matricize: bool = False,
    precond_lr: Number = 0.1,
    precond_init_scale: float | None = None,
    update_global_norm_clip: float | None = None,
    step_normalizer_order: str = "tracked",
    precond_init_moment: str = "4th",
    beta_lipschitz: float = 0.9,
    damping: float | None = 1e-9,
    whiten_grad: bool = True,
    update_preconditioner_first: bool = True,
    preconditioner_update_interval: int | None = None,
    grad_clip_max_amps: float | tuple[float, float] | None = None,
    raw_global_grad_clip: float | None = None,
    permissive_spike_protection: bool = True,
    draws: Callable[[int], StepDraws] | None = None,
    norm: str = "bound",
    seed: int = 0,
) -> Optimizer:
    """Return the preconditioned direction P x of every leaf; the parameters do not move.

    m_t = beta_t m_{t-1} + (1 - beta_t) g_t,  beta_t = min(t / (1 + t), b1),  t from 0;
    x_t = m_t, or with Nesterov's momentum beta_{t+1} m_t + (1 - beta_{t+1}) g_t;
    Q moves by `fitting.update_factors` in the basis EQ,  of a matrix G with the probe V
        A = Q_1 G Q_2^H,  B = Q_2^-H V^H Q_1^-1,
        Q_1 <- Q_1 - mu_1 triu(A A^H - B^H B) Q_1,  Q_2 <- Q_2 - mu_2 triu(A^H A - B B^H) Q_2;
    u_t = clip(P x_t),  of a matrix P X = Q_1^H Q_1 X Q_2^H Q_2.

    The factor that the state keeps of the second axis is conj(Q_2). A leaf has as many factors as
    axes with more than one entry.

    Args:
        preconditioner_update_probability: the probability of a fit, a number or a function of t.
        b1: the largest decay of the momentum; with 0, x_t = m_t = g_t.
        nesterov: whether x_t looks ahead.
        max_size_triangular: see `plan.dense_axes`.
        max_skew_triangular: see `plan.dense_axes`; tensors of one axis may be dense as well.
        matricize: whether leaves of three axes or more are matrices, see `plan.matrix_view`.
        precond_lr: the step of the fit, a number or a function of t.
        precond_init_scale: s of Q = s I; None takes it from the first gradient, or the first pair,
            that is not zero. The step that does is fitted in any case, unless
            `update_preconditioner` says otherwise. Until then Q stays.
        update_global_norm_clip: the largest norm of the whole direction, limited last; None is no
            limit.
        step_normalizer_order: "tracked", where L is the running estimate of the smoothness; "2nd",
            where it is that of the step alone; or "1st", where it is `factor.gradient_size`.
        precond_init_moment: "4th" for the scale of `fitting.whitening_scale` and `newton_scale`,
            or "2nd" for that of `second_moment_scale` of all leaves together.
        beta_lipschitz: the decay of L where it is tracked.
        damping: see `fitting.damped`; None adds no noise.
        whiten_grad: whether Q is fitted to g, or to m.
        update_preconditioner_first: whether the direction uses the Q of this step's fit.
        preconditioner_update_interval: fit when t is a multiple; None decides by probability.
        grad_clip_max_amps: limits (root mean square, modulus of an entry) on the direction of every
            leaf; one number r is (r, 10); None is no limit.
        raw_global_grad_clip: the largest norm of the whole gradient; None is no limit.
        permissive_spike_protection: whether a gradient over that limit is shortened instead of
            skipped.
        draws: a function of t that returns the random numbers; None draws from `seed`.
        norm: "bound" for the lower bounds of norms with the probes drawn, or "exact"; the order
            "1st" always has its own bound, without probes.
        seed: of the numbers drawn here.

    Returns:
        An optimizer; for its state and its step see `kron.scale_by_kron`.

    Raises:
        ValueError: if a mode is unknown, or a step is given a vector without product.

    Source: arXiv 1809.10232 and 1512.04202, numbers not seen; psgd_torch,
    `preconditioned_stochastic_gradient_descent.py`, `Affine`; names of psgd_jax 0.1.5.
    """
    tracks, normalizer = _ORDERS.row(step_normalizer_order)
    structure = Structure(
        max_size_triangular, max_skew_triangular, 1, None, frozenset(), None, None, matricize
    )
    fit = Fit(
        geometry("EQ"),
        precond_lr,
        beta_lipschitz,
        damping,
        tracks,
        NORMS.row(norm),
        normalizer,
        MOMENTS.row(precond_init_moment),
    )
    options = Options(
        structure=structure,
        fit=fit,
        b1=b1,
        probability=preconditioner_update_probability,
        interval=preconditioner_update_interval,
        whiten_grad=whiten_grad,
        fits_first=update_preconditioner_first,
        clip=CLIPS.row("per_tensor_rms"),
        grad_clip_max_amps=grad_clip_max_amps,
        raw_global_grad_clip=raw_global_grad_clip,
        permissive=permissive_spike_protection,
        draws=draws,
        seed=seed,
        nesterov=nesterov,
        max_norm=update_global_norm_clip,
    )
    return options.optimizer(precond_init_scale)


def affine(learning_rate: Number = 0.01, weight_decay: float = 0.0, **affine_options) -> Optimizer:
    """Step along the direction of `scale_by_affine`.

    W <- W - lr (u_t + weight_decay W).

    Args:
        learning_rate: lr, a number or a function of the step from 0.
        weight_decay: the decoupled decay of every leaf.
        **affine_options: those of `scale_by_affine`.

    Returns:
        An optimizer; for its state and its step see `kron.kron`.

    Source: psgd_torch, `preconditioned_stochastic_gradient_descent.py`, `Affine`; decay: arXiv
    1711.05101, Algorithm 2.
    """
    return Descent(learning_rate, weight_decay).along(scale_by_affine(**affine_options))
