"""One step of PSGD with a preconditioner of the whole tree as one vector."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from rollfast import guards
from rollfast.linalg.precision import matmul_precision
from rollfast.options import check_dtype, check_precision
from rollfast.psgd.draws import FlatDraws, check_key, draw_flat_step, normalized_key
from rollfast.psgd.fitting import damped
from rollfast.psgd.flat import StepRule
from rollfast.psgd.flat_options import DEFAULT_SEED, FlatFitting, FlatLimits
from rollfast.psgd.momentum import advance
from rollfast.psgd.options import KeyOrSeed, Momentum, Precision, Timing
from rollfast.psgd.pair import Decision, Pair, paired
from rollfast.trees.flat import flat_dtype, flat_size, flatten, unflatten
from rollfast.trees.precision import copied, to_accumulators
from rollfast.trees.shapes import check_shapes
from rollfast.typing import Array, DTypeLike, Number, PyTree, scalar_dtype

__all__ = ["Family", "FlatMethod", "FlatOptions", "Start", "guarded"]


class Start(NamedTuple):
    """What a preconditioner is made for.

    Attributes:
        size: n, length of the vector.
        dtype: Dtype in which sums are kept.
        key: Of what is random in it.
    """

    size: int
    dtype: DTypeLike
    key: Array


class Family(Protocol):
    """One kind of preconditioner. What is fitted is a tuple of arrays with names."""

    @property
    def state(self) -> Any:
        """Class of the optimizer's state: count, mu, what is fitted, needs_scale_init, key."""

    @property
    def fitted(self) -> Any:
        """Class of what is fitted."""

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of the arrays that are kept in the dtype asked for."""

    @property
    def rotates(self) -> bool:
        """Whether a fit needs probes of the length of the vector for a rotation."""

    @property
    def has_probe(self) -> bool:
        """Whether v is drawn for whitening, or integrated out."""

    def start(self, start: Start) -> Any:
        """Return what is fitted, before any step, for Q of scale one."""

    def scaled(self, fitted: Any, scale: Array) -> Any:
        """Return it for s Q."""

    def fit(self, fitted: Any, h: Array, v: Array | None, draws: FlatDraws, rule: StepRule) -> Any:
        """Return it after one step."""

    def apply(self, fitted: Any, vector: Array) -> Array:
        """Return P x."""


@dataclass(frozen=True)
class FlatOptions:
    """All options but those of the family."""

    momentum: Momentum
    mu_dtype: DTypeLike | None
    fitting: FlatFitting
    timing: Timing
    limits: FlatLimits
    precision: Precision
    seed: KeyOrSeed | None

    def __post_init__(self) -> None:
        """Check the options."""
        if self.seed is not None:
            check_key(self.seed)
        check_dtype("mu_dtype", self.mu_dtype)
        check_precision("precision", self.precision.of_update)
        if not self.fitting.whiten_grad and not self.momentum.is_kept:
            raise ValueError(
                f"whiten_grad=False is not allowed with b1={self.momentum.b1!r}; there is no "
                "momentum to whiten."
            )


@dataclass(frozen=True)
class FlatMethod:
    """An optimizer: its family, its options and its two functions."""

    family: Family
    options: FlatOptions

    def init(self, params: PyTree) -> Any:
        """Return the state before the first step."""
        leaves = jax.tree.leaves(params)
        mu = None
        if self.options.momentum.is_kept:
            mu = jax.tree.map(jnp.zeros_like, copied(params, self.options.mu_dtype))
        seed = self.options.seed
        key = normalized_key(DEFAULT_SEED if seed is None else seed)
        start = Start(flat_size(leaves), flat_dtype(leaves), key)
        fitted = self.family.start(start)
        scale = self.options.fitting.init_scale
        if scale is not None:
            fitted = self.family.scaled(fitted, jnp.asarray(scale, start.dtype))
        return self.family.state(
            count=jnp.zeros([], jnp.int32),
            mu=mu,
            **self._stored(fitted, self._kept_like(fitted))._asdict(),
            needs_scale_init=jnp.asarray(scale is None),
            key=key,
        )

    def update(
        self,
        updates: PyTree,
        state: Any,
        params: PyTree | None = None,
        *,
        Hvp: PyTree | None = None,  # noqa: N803
        vector: PyTree | None = None,
        update_preconditioner: Array | bool | None = None,
        measured: guards.Measured = guards.Measured(),  # noqa: B008
        **extra: Any,
    ) -> tuple[PyTree, Any]:
        """Return (directions, state).

        Args:
            updates: Gradients.
            state: Of this optimizer.
            params: Not used.
            Hvp: Product of the Hessian with `vector`; with it P is fitted to the inverse of the
                Hessian's modulus, without to the whitening of the gradients.
            vector: What the Hessian was multiplied with, white noise.
            update_preconditioner: Whether to update it in this step, instead of the probability.
            measured: What the guard says of the gradients; if the step is not taken, the state
                stays and the directions are zero.
            **extra: Ignored.
        """
        del params, extra
        sound = measured.sound
        gradients, structure = jax.tree.flatten(updates)
        wide = to_accumulators(gradients)
        ahead, momentum, mu = wide, wide, state.mu
        if mu is not None:
            check_shapes("updates", updates, mu)
            kept = structure.flatten_up_to(mu)
            of = self.options.momentum
            ahead, momentum, kept = advance(wide, kept, of, state.count, sound)
            mu = structure.unflatten(kept)
        fitted = wide if self.options.fitting.whiten_grad else momentum
        known = measured.largest if fitted is wide else None
        pair = paired(updates, fitted, Hvp, vector)
        before = self.family.fitted(*(getattr(state, name) for name in self.family.fitted._fields))
        after, used, pending = self._fitted(
            before, pair, state, Decision(update_preconditioner, sound, known)
        )
        directions = gradients
        if flat_size(gradients):
            with matmul_precision(self.options.precision.of_direction):
                direction = self.family.apply(self._wide(used, wide), flatten(ahead))
            direction = self.options.limits.limited(direction)
            direction = guards.zero_unless(sound, direction)
            directions = unflatten(direction, gradients)
        return structure.unflatten(directions), self.family.state(
            count=guards.taken(sound, optax.safe_increment(state.count), state.count),
            mu=mu,
            **after._asdict(),
            needs_scale_init=pending,
            key=state.key,
        )

    def _fitted(
        self, before: Any, pair: Pair, state: Any, decision: Decision
    ) -> tuple[Any, Any, Array]:
        """Return (what is fitted after the step, that of the direction, is the scale pending)."""
        fitting = self.options.fitting
        pending = state.needs_scale_init
        if not flat_size(pair.gradients):
            return before, before, pending
        moves = decision.moves(self.options.timing, pair, state)
        rule = fitting.rule(state.count)
        # Like what is pending, of which it depends whether there is another.
        one = jnp.ones_like(pending, dtype=scalar_dtype())

        def move(carry: tuple[Array, Any, Array]) -> tuple[Array, Any, Array]:
            _, before, _ = carry
            flat = _flat_pair(pair)
            scale = one
            if fitting.init_scale is None:
                scale = jax.lax.cond(pending, lambda: fitting.starting_scale(flat), lambda: one)
            scaled = self.family.scaled(self._wide(before, pair.gradients), scale)
            with matmul_precision(self.options.precision.of_update):
                moved = self._moved(scaled, flat, state, rule)
            return jnp.zeros_like(moves), self._stored(moved, before), scale

        # One turn or none. A branch would copy what has its place in the state where it stays.
        _, after, scale = jax.lax.while_loop(lambda carry: carry[0], move, (moves, before, one))
        used = after
        if not fitting.update_first:
            used = self._stored(
                self.family.scaled(self._wide(before, pair.gradients), scale), before
            )
        return after, used, pending & ~moves

    def _moved(self, fitted: Any, pair: Pair, state: Any, rule: StepRule) -> Any:
        """Return what is fitted after one step."""
        (h,) = pair.gradients
        vector = None if pair.probes is None else pair.probes[0]
        draws = draw_flat_step(state.key, state.count, h.shape[0], h.dtype, self.family.rotates)
        noise = draws.noise
        if vector is None and self.family.has_probe:
            # One and the same, so that what damps the gradient is the pair's own.
            vector = noise = draws.probe
        damping = self.options.fitting.damping
        if damping is not None:
            h = damped(h, noise, jnp.asarray(damping, h.dtype))
        # Made once, not where each of their entries is read.
        h, vector = jax.lax.optimization_barrier((h, vector))
        return self.family.fit(fitted, h, vector, draws, rule.in_dtype(h.dtype))

    def _wide(self, fitted: Any, leaves: Any) -> Any:
        """Return what is fitted in the dtype of the sums."""
        dtype = flat_dtype(leaves)
        return jax.tree.map(lambda array: array.astype(dtype), fitted)

    def _kept_like(self, fitted: Any) -> Any:
        """Return shapes and dtypes of what is kept; scalars and small sums stay as they are."""
        kept = self.options.precision.of_factors
        return self.family.fitted(
            *(
                array.astype(kept) if kept is not None and name in self.family.stored else array
                for name, array in fitted._asdict().items()
            )
        )

    def _stored(self, fitted: Any, like: Any) -> Any:
        """Return what is fitted in the dtypes in which it is kept."""
        return jax.tree.map(lambda array, old: array.astype(old.dtype), fitted, like)


def guarded(
    method: FlatMethod, max_norm: Number | None, permissive: bool
) -> optax.GradientTransformationExtraArgs:
    """Return the transformation of a method, which skips unsound steps.

    Args:
        method: The method.
        max_norm: Largest norm over all gradients, or None for any.
        permissive: Whether a spike is clipped (True) or the step skipped (False).
    """
    return guards.skip_unsound_steps(
        optax.GradientTransformationExtraArgs(method.init, method.update),
        max_norm=max_norm,
        permissive=permissive,
        inner_skips=True,
    )


def _flat_pair(pair: Pair) -> Pair:
    """Return the pair with one vector on each side."""
    probes = None if pair.probes is None else [flatten(pair.probes)]
    return Pair([flatten(pair.gradients)], probes)
