"""One step of PSGD with Kronecker factors: what `init` and `update` of its optimizers do."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rollfast import guards
from rollfast.linalg.precision import matmul_precision
from rollfast.options import (
    check_count,
    check_dtype,
    check_flag,
    check_interval,
    check_positive_or_none,
    check_precision,
)
from rollfast.psgd.directions import Way, directed
from rollfast.psgd.draws import check_key, normalized_key
from rollfast.psgd.fitting import Rule
from rollfast.psgd.geometry import Geometry
from rollfast.psgd.kept import hung, taken_down
from rollfast.psgd.layout import LeafLayout, layout_of, scanned_flags
from rollfast.psgd.momentum import advance
from rollfast.psgd.options import (
    KeyOrSeed,
    Limits,
    Mapping,
    Momentum,
    Precision,
    Structure,
    Timing,
    check_step_of_q,
)
from rollfast.psgd.pair import Decision, Pair, paired
from rollfast.psgd.preconditioner import (
    Preconditioner,
    Step,
    fit,
    initial,
    starting_scale,
)
from rollfast.trees.precision import copied, to_accumulators
from rollfast.trees.shapes import check_shapes
from rollfast.typing import Array, DTypeLike, Number, PyTree, ScalarOrSchedule, scalar_dtype

__all__ = ["Fitting", "Method", "ScaleByKronState"]


class ScaleByKronState(NamedTuple):
    """State of `scale_by_kron`.

    Attributes:
        count: Steps taken, int32.
        mu: Momentum in the structure of the parameters; None where `b1` is 0.
        Qs_preconditioners: Q of tensors of a kind (shape, factors and dtype) is a stack, (T, n, n)
            or (T, n) for every axis. The stacks lie in the structure of the parameters, at the
            leaf that has the first tensor of the kind, in a list over kinds of lists over axes.
        Ls_lipschitz: L of every factor in the same structure; None where it is not tracked.
        Ps_preconditioners: QᴴQ of the factors beside which it is kept, else None.
        needs_scale_init: Whether the scale of Q waits for a first fit.
        key: Key of all random numbers, never changed: a step folds its own number in.
    """

    count: Array  # type: ignore[assignment]
    mu: PyTree | None
    Qs_preconditioners: PyTree
    Ls_lipschitz: PyTree | None
    Ps_preconditioners: PyTree
    needs_scale_init: Array
    key: Array


@dataclass(frozen=True)
class Fitting:
    """How the preconditioner is fitted."""

    geometry: Geometry
    learning_rate: ScalarOrSchedule
    beta: Number
    tracks: bool
    damping: Number | None
    least_iterations: int
    init_scale: Number | None
    whiten_grad: bool
    update_first: bool
    keeps_normals: bool | None
    normalizer: str = "2nd"
    moment: str = "4th"

    def __post_init__(self) -> None:
        """Check the options."""
        check_step_of_q("preconditioner_lr", self.learning_rate, self.geometry.name)
        check_interval("beta_lipschitz", self.beta, 0, 1, open_high=True)
        check_interval("damping", self.damping, 0, float("inf"), none=True)
        check_count("newton_schulz_iters", self.least_iterations)
        check_positive_or_none("preconditioner_init_scale", self.init_scale)
        check_flag("track_lipschitz", self.tracks)
        check_flag("whiten_grad", self.whiten_grad)
        check_flag("update_preconditioner_first", self.update_first)
        check_flag("cache_preconditioner", self.keeps_normals, none=True)

    @property
    def power(self) -> int:
        """How often Q is a factor of what is kept: once, or twice where that is P."""
        return 2 if self.geometry.basis == "direct" else 1


@dataclass(frozen=True)
class Method:
    """All options of `scale_by_kron`, and its two functions."""

    momentum: Momentum
    mu_dtype: DTypeLike | None
    fitting: Fitting
    structure: Structure
    timing: Timing
    limits: Limits
    mapping: Mapping
    precision: Precision
    scanned_layers: PyTree | None
    key: KeyOrSeed

    def __post_init__(self) -> None:
        """Check the options."""
        check_key(self.key)
        check_dtype("mu_dtype", self.mu_dtype)
        check_precision("precond_update_precision", self.precision.of_update)
        check_precision("precond_grads_precision", self.precision.of_direction)
        if not self.fitting.whiten_grad and not self.momentum.is_kept:
            raise ValueError(
                f"whiten_grad=False is not allowed with b1={self.momentum.b1!r}; there is no "
                "momentum to whiten."
            )

    def layouts(self, tree: PyTree) -> list[LeafLayout]:
        """Return the layout of every leaf of parameters or gradients."""
        flags = scanned_flags(self.scanned_layers, tree)
        return layout_of(jax.tree.leaves(tree), flags, self.structure)

    def keeps_normal(self, size: int, shape: tuple[int, ...]) -> bool:
        """Say whether QᴴQ of an axis is kept between updates.

        It saves a product with the gradient at every step and costs one of Q with itself at
        every update.
        """
        if self.fitting.geometry.basis == "direct":
            return False
        if self.fitting.keeps_normals is not None:
            return self.fitting.keeps_normals
        often = self.timing.frequency
        return often * size < (1 + often) * math.prod(shape) / size

    def init(self, params: PyTree) -> ScaleByKronState:
        """Return the state before the first step."""
        mu = None
        if self.momentum.is_kept:
            mu = jax.tree.map(jnp.zeros_like, copied(params, self.mu_dtype))
        scale = self.fitting.init_scale
        layouts = self.layouts(params)
        state = initial(
            layouts,
            1.0 if scale is None else scale,
            self.fitting.power,
            self.precision.of_factors,
            self.keeps_normal,
            self.fitting.tracks,
        )
        return ScaleByKronState(
            count=jnp.zeros([], jnp.int32),
            mu=mu,
            **hung(params, layouts, state),
            needs_scale_init=jnp.asarray(scale is None),
            key=normalized_key(self.key),
        )

    def update(
        self,
        updates: PyTree,
        state: ScaleByKronState,
        params: PyTree | None = None,
        *,
        Hvp: PyTree | None = None,  # noqa: N803
        vector: PyTree | None = None,
        update_preconditioner: Array | bool | None = None,
        measured: guards.Measured = guards.Measured(),  # noqa: B008
        **extra: Any,
    ) -> tuple[PyTree, ScaleByKronState]:
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
        layouts = self.layouts(updates)
        wide = to_accumulators(gradients)
        ahead, averaged, mu = wide, wide, state.mu
        if mu is not None:
            check_shapes("updates", updates, mu)
            kept = structure.flatten_up_to(mu)
            ahead, averaged, kept = advance(wide, kept, self.momentum, state.count, sound)
            mu = structure.unflatten(kept)
        fitted = wide if self.fitting.whiten_grad else averaged
        known = measured.largest if fitted is wide else None
        pair = paired(updates, fitted, Hvp, vector)
        before = taken_down(updates, layouts, state)
        after, correction, pending = self._fitted(
            before, pair, layouts, state, Decision(update_preconditioner, sound, known)
        )
        first = self.fitting.update_first
        used = _Used(after, None) if first else _Used(before, correction)
        count = optax.safe_increment(state.count)
        directions = self._directions(used, ahead, layouts, count, sound)
        directions = [d.astype(g.dtype) for d, g in zip(directions, gradients, strict=True)]
        return structure.unflatten(directions), ScaleByKronState(
            count=guards.taken(sound, count, state.count),
            mu=mu,
            **hung(updates, layouts, after),
            needs_scale_init=pending,
            key=state.key,
        )

    def _fitted(
        self,
        before: Preconditioner,
        pair: Pair,
        layouts: list[LeafLayout],
        state: ScaleByKronState,
        decision: Decision,
    ) -> tuple[Preconditioner, Array, Array]:
        """Return (preconditioner, what P was multiplied by for a first scale, is it pending)."""
        fitting, axis_name = self.fitting, self.limits.axis_name
        pending = state.needs_scale_init
        moves = decision.moves(self.timing, pair, state, axis_name)
        # Like what is pending, of which it depends whether there is another.
        one = jnp.ones_like(pending, dtype=scalar_dtype())
        rate = fitting.learning_rate
        rule = Rule(
            fitting.geometry,
            jnp.asarray(rate(state.count) if callable(rate) else rate, scalar_dtype()),
            fitting.beta,
            fitting.damping,
            fitting.tracks,
            pair.probes is not None,
            fitting.least_iterations,
            axis_name,
            fitting.normalizer,
        )

        def move() -> tuple[Preconditioner, Array]:
            scale = one
            if fitting.init_scale is None:
                scale = jax.lax.cond(
                    pending,
                    lambda: starting_scale(
                        pair, layouts, fitting.damping, axis_name, fitting.moment
                    ).astype(scalar_dtype()),
                    lambda: one,
                )
            step = Step(state.key, state.count, scale)
            with matmul_precision(self.precision.of_update):
                moved = fit(before, pair, layouts, rule, step, self.mapping)
            return moved, jnp.square(scale)

        def keep() -> tuple[Preconditioner, Array]:
            return before, one

        after, correction = jax.lax.cond(moves, move, keep)
        return after, correction, pending & ~moves

    def _directions(
        self,
        used: "_Used",
        leaves: list[Array],
        layouts: list[LeafLayout],
        count: Array,
        sound: Array | bool,
    ) -> list[Array]:
        """Return P m of every leaf, within the limits; zeros where the step is not taken."""
        limit, basis = self.limits.of_tensor, self.fitting.geometry.basis

        # Traced once for all leaves of a shape.
        @jax.jit
        def finish(direction: Array) -> Array:
            return guards.zero_unless(sound, direction if limit is None else limit(direction))

        way = Way(basis, used.missing, finish, count)
        with matmul_precision(self.precision.of_direction):
            made = directed(used.preconditioner, leaves, layouts, way)
        return self.limits.together(made)


class _Used(NamedTuple):
    """The preconditioner of a direction, and the factor of P that is not in it yet, if any."""

    preconditioner: Preconditioner
    missing: Array | None
