"""PSGD with a diagonal and a low rank: the optimizer around `low_rank`."""

import operator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from rollfast.guards import MaxAmplitudes, amplitudes
from rollfast.injected import rebuilt_on_automatic_axes
from rollfast.options import check_static
from rollfast.psgd.descent import descend
from rollfast.psgd.draws import FlatDraws
from rollfast.psgd.flat import StepRule
from rollfast.psgd.flat_method import FlatMethod, FlatOptions, Start, guarded
from rollfast.psgd.flat_options import FlatFitting, FlatLimits
from rollfast.psgd.low_rank import (
    LowRank,
    LowRankDraws,
    apply_normal,
    gram_of,
    low_rank,
    refreshed,
    update_factor,
)
from rollfast.psgd.options import KeyOrSeed, Momentum, Precision, Timing
from rollfast.typing import Array, DTypeLike, Number, PyTree, ScalarOrSchedule

__all__ = [
    "LowRank",
    "LowRankDraws",
    "ScaleByLraState",
    "apply_normal",
    "low_rank",
    "low_rank_approximation",
    "scale_by_lra",
    "update_factor",
]

# The norm of U and of V at the start, squared.
_START = 0.1
# Number of the draw at the start, which no step has.
_START_NUMBER = 2**32 - 1
# The products of the rows are carried on by arithmetic, of which each step adds a rounding, and
# made anew from the rows in this share of the updates: some hundred roundings between two. Rows
# that are rounded to be kept have other products each time.
_REFRESH_PROBABILITY = 1 / 128


class ScaleByLraState(NamedTuple):
    """State of `scale_by_lra`.

    Attributes:
        count: Steps taken, int32.
        mu: Momentum in the structure of the parameters; None where `b1` is 0.
        rows: The columns of U, then those of V, (2r, n).
        d: Diagonal of Q, (n,).
        gram: Products of all pairs of rows, (2r, 2r).
        L: Lipschitz estimates of U, V and d, (3,).
        needs_scale_init: Whether the scale of Q waits for a first gradient.
        key: Key of all random numbers, never changed: a step folds its own number in.
    """

    count: Array  # type: ignore[assignment]
    mu: PyTree | None
    rows: Array
    d: Array
    gram: Array
    L: Array
    needs_scale_init: Array
    key: Array

    @property
    def U(self) -> Array:  # noqa: N802
        """U, (n, r)."""
        return self.rows[: self.rows.shape[0] // 2].T

    @property
    def V(self) -> Array:  # noqa: N802
        """V, (n, r)."""
        return self.rows[self.rows.shape[0] // 2 :].T


class _Fitted(NamedTuple):
    rows: Array
    d: Array
    gram: Array
    L: Array

    @property
    def factor(self) -> LowRank:
        return LowRank(self.rows, self.d, self.gram)


def _checked_rank(rank: int) -> int:
    check_static("uvd_rank_of_approximation", rank)
    try:
        checked = operator.index(rank)
    except TypeError:
        checked = -1
    if checked < 0:
        raise ValueError(
            f"uvd_rank_of_approximation={rank!r} is not allowed; it must be a whole number from 0."
        )
    return checked


@dataclass(frozen=True)
class _Family:
    """What sets the low-rank approximation apart, see `flat_method.Family`."""

    rank: int
    refresh_probability: float

    state = ScaleByLraState
    fitted = _Fitted
    stored = ("rows", "d")
    rotates = False
    has_probe = True

    def start(self, start: Start) -> _Fitted:
        if start.size and self.rank >= start.size:
            raise ValueError(
                f"uvd_rank_of_approximation={self.rank!r} is not allowed with {start.size} "
                f"parameters; it must be less, from 0 to {start.size - 1}."
            )
        rank = self.rank if start.size else 0
        own = jax.random.fold_in(start.key, _START_NUMBER)
        sides = jax.random.normal(own, (2, rank, start.size), start.dtype)
        norms = jnp.sqrt(jnp.sum(sides * sides, (1, 2), keepdims=True))
        sides = sides * (_START**0.5 / jnp.where(norms > 0, norms, 1))
        rows = sides.reshape(2 * rank, start.size)
        diagonal = jnp.ones(start.size, start.dtype)
        return _Fitted(rows, diagonal, gram_of(rows), jnp.zeros(3, start.dtype))

    def scaled(self, fitted: _Fitted, scale: Array) -> _Fitted:
        return fitted._replace(d=scale.astype(fitted.d.dtype) * fitted.d)

    def fit(
        self, fitted: _Fitted, h: Array, v: Array | None, draws: FlatDraws, rule: StepRule
    ) -> _Fitted:
        assert v is not None
        own = LowRankDraws(draws.side, draws.balance)
        factor = refreshed(fitted.factor, draws.balance < self.refresh_probability)
        factor, divisors = update_factor(factor, fitted.L, h, v, own, rule)
        return _Fitted(*factor, divisors)

    def apply(self, fitted: _Fitted, vector: Array) -> Array:
        return apply_normal(fitted.factor, vector)


@rebuilt_on_automatic_axes
def scale_by_lra(
    *,
    preconditioner_update_probability: ScalarOrSchedule = 1.0,
    b1: Number = 0.9,
    nesterov: bool = False,
    uvd_rank_of_approximation: int = 10,
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
    """Precondition gradients by P = QᵀQ, Q = (I + U Vᵀ) diag(d), U and V of r columns.

    P is fitted to min E[gᵀPg + vᵀP⁻¹v]. With v white noise that is independent of the gradients
    it whitens them, P = E[ggᵀ]^(-½) as nearly as such a Q can. With Hessian-vector products in
    place of gradients, `update(grads, state, params, Hvp=Hv, vector=v)`, it is Newton's P = |H|⁻¹.
    All leaves are one vector; a complex entry is two real numbers. The update is P times the
    momentum, not scaled by a learning rate.

    Args:
        preconditioner_update_probability: As for `scale_by_xmat`.
        b1: As for `scale_by_xmat`.
        nesterov: As for `scale_by_xmat`.
        uvd_rank_of_approximation: r, columns of U and of V, from 0 to less than the number n of
            parameters; 0 leaves the diagonal alone.
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
        A transformation with `ScaleByLraState`. `update` also takes `Hvp` and `vector`, trees
        like the gradients, and `update_preconditioner`, a boolean in place of the probability. A
        step with a gradient that is not finite returns zero updates and the state as it was.

    Raises:
        ValueError: An option is out of its range.

    Source: psgd_torch a8616f1, classes `LRAWhiten` and `LRANewton`; arXiv 2402.04553, 2211.04422.
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
    refresh = _REFRESH_PROBABILITY if precond_dtype is None else 1.0
    method = FlatMethod(_Family(_checked_rank(uvd_rank_of_approximation), refresh), options)
    return guarded(method, raw_global_grad_clip, permissive_spike_protection)


@rebuilt_on_automatic_axes
def low_rank_approximation(
    learning_rate: ScalarOrSchedule = 0.01,
    *,
    weight_decay: Number = 0.0,
    mask: PyTree | None = None,
    preconditioner_update_probability: ScalarOrSchedule = 1.0,
    b1: Number = 0.9,
    nesterov: bool = False,
    uvd_rank_of_approximation: int = 10,
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
    """Step along the preconditioned momentum of `scale_by_lra`, with decoupled decay.

    W ← W - η (P m + λ W).

    Args:
        learning_rate: η, a number or a schedule.
        weight_decay: λ, multiplied by the learning rate.
        mask: Tree of booleans, or function of the parameters that returns one: which leaves decay.
            All if None.
        preconditioner_update_probability: As for `scale_by_lra`.
        b1: As for `scale_by_lra`.
        nesterov: As for `scale_by_lra`.
        uvd_rank_of_approximation: As for `scale_by_lra`.
        precond_lr: As for `scale_by_lra`.
        precond_init_scale: As for `scale_by_lra`.
        update_global_norm_clip: As for `scale_by_lra`.
        step_normalizer_order: As for `scale_by_lra`.
        seed: As for `scale_by_lra`.
        mu_dtype: As for `scale_by_lra`.
        precision: As for `scale_by_lra`.
        precond_init_moment: As for `scale_by_lra`.
        beta_lipschitz: As for `scale_by_lra`.
        damping: As for `scale_by_lra`.
        whiten_grad: As for `scale_by_lra`.
        update_preconditioner_first: As for `scale_by_lra`.
        preconditioner_update_interval: As for `scale_by_lra`.
        grad_clip_max_amps: As for `scale_by_lra`.
        raw_global_grad_clip: As for `scale_by_lra`.
        permissive_spike_protection: As for `scale_by_lra`.
        precond_dtype: As for `scale_by_lra`.

    Returns:
        A transformation; updates have the dtype of the gradients.

    Raises:
        ValueError: An option is out of its range.

    Source: psgd_torch a8616f1, classes `LRAWhiten` and `LRANewton`; arXiv 2402.04553, 2211.04422.
    """
    preconditioned = scale_by_lra(
        preconditioner_update_probability=preconditioner_update_probability,
        b1=b1,
        nesterov=nesterov,
        uvd_rank_of_approximation=uvd_rank_of_approximation,
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
