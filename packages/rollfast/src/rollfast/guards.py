"""Limits on gradients and updates, and steps that are not taken."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rollfast.options import check_flag, check_positive_or_none
from rollfast.trees.batching import by_shape
from rollfast.trees.precision import as_arrays
from rollfast.trees.sharding import equally_varying, on_automatic_axes
from rollfast.typing import Array, Number, PyTree, accumulator_dtype

__all__ = [
    "MaxAmplitudes",
    "Measured",
    "amplitudes",
    "clip_by_global_norm",
    "clip_by_global_rms",
    "clip_by_tensor_rms",
    "global_norm",
    "largest_modulus",
    "limit_to_squares",
    "skip_unsound_steps",
    "spike_scale",
    "taken",
    "unguarded",
    "without_guard",
    "zero_unless",
]

# Entries from which on a branch costs less than a second pass over them (two cores).
_LARGE = 2**17

MaxAmplitudes = Number | Sequence[Number] | None


def amplitudes(given: MaxAmplitudes) -> tuple[Number, Number] | None:
    """Return (largest root mean square, largest modulus), or None for no limit.

    Args:
        given: A pair, either of which may be infinite, the first of it alone (the second is then
            10), or None.

    Raises:
        ValueError: There are more than two, or one is not positive.
    """
    if given is None:
        return None
    pair = tuple(given) if isinstance(given, list | tuple) else (given, 10.0)
    if len(pair) != 2 or any(amplitude is None for amplitude in pair):
        pairs = "a pair (largest root mean square, largest modulus), the first alone"
        raise ValueError(
            f"grad_clip_max_amps={given!r} is not allowed; it must be {pairs}, or None for off."
        )
    for amplitude in pair:
        check_positive_or_none("grad_clip_max_amps", amplitude, infinite=True)
    return pair[0], pair[1]


def clip_by_tensor_rms(update: Array, max_rms: Number, max_abs: Number) -> Array:
    """Limit the root mean square of a tensor, then the modulus of each of its entries.

    u ← u · min(1, max_rms / rms(u)), then |uᵢ| ≤ max_abs.

    Args:
        update: Any shape, real or complex.
        max_rms: Largest root mean square.
        max_abs: Largest modulus of an entry.

    Returns:
        An array of the shape and dtype of the update.

    Source: psgd_torch (X.-L. Li), clipping of the preconditioned gradient.
    """
    return clip_by_global_rms([update], max_rms, max_abs)[0]


def clip_by_global_rms(
    updates: Sequence[Array], max_rms: Number, max_abs: Number, axis_name: str | None = None
) -> list[Array]:
    """Limit the root mean square over all entries of all leaves, then each entry's modulus.

    Where an entry is not finite, or the root mean square is not, all become zero.

    Args:
        updates: Leaves of any shapes.
        max_rms: Largest root mean square.
        max_abs: Largest modulus of an entry.
        axis_name: Mapped axis over which the leaves are sharded, or None.

    Returns:
        The leaves, in their shapes and dtypes.
    """
    size: Number = max(sum(update.size for update in updates), 1)
    if axis_name is not None:
        size = size * jax.lax.psum(1, axis_name)
    rms = global_norm(updates, axis_name) / jnp.sqrt(size)
    factor = 1 / jnp.maximum(rms / max_rms, 1)
    return [_limit_modulus(update, factor, max_abs) for update in updates]


def clip_by_global_norm(updates: Sequence[Array], max_norm: Number) -> list[Array]:
    """Limit the norm over all entries of all leaves, u ← u · min(1, max_norm / ‖u‖).

    Args:
        updates: Leaves of any shapes.
        max_norm: Largest norm.

    Returns:
        The leaves, in their shapes and dtypes.
    """
    factor = 1 / jnp.maximum(global_norm(updates) / max_norm, 1)
    return [
        (update * factor.astype(jnp.finfo(update.dtype).dtype)).astype(update.dtype)
        for update in updates
    ]


def _limit_modulus(update: Array, factor: Array, max_abs: Number) -> Array:
    wide = update.astype(accumulator_dtype(update.dtype))
    scaled = jnp.where(factor > 0, wide * factor.astype(jnp.finfo(wide.dtype).dtype), 0)
    if jnp.iscomplexobj(scaled):
        modulus = jnp.abs(scaled)
        limited = scaled * jnp.minimum(1, max_abs / jnp.where(modulus > 0, modulus, 1))
    else:
        least, most = (jnp.asarray(limit, scaled.dtype) for limit in (-max_abs, max_abs))
        limited = jax.lax.clamp(least, scaled, most)
    return limited.astype(update.dtype)


def global_norm(gradients: Sequence[Array], axis_name: str | None = None) -> Array:
    """Return √Σ|g|² over all entries of all leaves, without overflow or underflow.

    Args:
        gradients: Leaves of any shapes.
        axis_name: Mapped axis over which the leaves are sharded, or None.

    Returns:
        A scalar, in float32 at least; not finite if an entry is not, or if the norm itself lies
        beyond the largest number.
    """
    if axis_name is None and len(gradients) == 1 and gradients[0].size >= _LARGE:
        return jax.lax.platform_dependent(
            gradients[0],
            cpu=_norm_in_one_pass,
            default=lambda gradient: _norm_in_two_passes([gradient]),  # A GPU would wait to branch.
        )
    return _norm_in_two_passes(gradients, axis_name)


def _norm_in_one_pass(gradient: Array) -> Array:
    """Return the norm from squares as they are; in two passes if they are out of range."""
    wide = gradient.astype(accumulator_dtype(gradient.dtype))
    square = jnp.real(jnp.vdot(wide, wide))
    limits = jnp.finfo(square.dtype)
    # What underflows is then less than the sum's own rounding.
    least = gradient.size * limits.smallest_normal / limits.eps
    return jax.lax.cond(
        jnp.isfinite(square) & (square > least),
        lambda: jnp.zeros([]) + jnp.sqrt(square),
        lambda: _norm_in_two_passes([gradient]),
    )


def _norm_in_two_passes(gradients: Sequence[Array], axis_name: str | None = None) -> Array:
    largest = largest_modulus(gradients, axis_name)
    limits = jnp.finfo(largest.dtype)
    # Neither zero nor infinite.
    unit = jax.lax.clamp(limits.smallest_normal, largest, limits.max)
    squares = _all_of([_sum_of_squares(group, unit) for group in by_shape(gradients)], jnp.sum)
    if axis_name is not None:
        squares = jax.lax.psum(squares, axis_name)
    return unit * jnp.sqrt(squares)


def largest_modulus(gradients: Sequence[Array], axis_name: str | None = None) -> Array:
    """Return max |g| over all entries of all leaves.

    Args:
        gradients: Leaves of any shapes.
        axis_name: Mapped axis over which the leaves are sharded, or None.

    Returns:
        A scalar, in float32 at least; not finite if an entry is not.
    """
    groups = [group for group in by_shape(gradients) if group[0].size]
    largest = _all_of([_largest(group) for group in groups], jnp.max)
    return largest if axis_name is None else jax.lax.pmax(largest, axis_name)


def _all_of(numbers: Sequence[Array], reduction: Callable[[Array], Array]) -> Array:
    """Return what a reduction makes of some numbers, none of them negative; zero of none.

    The CPU compiler would combine plain numbers anew in every kernel that uses the result. Their
    modulus keeps it from taking the reduction apart.
    """
    return reduction(jnp.abs(jnp.stack(numbers))) if numbers else jnp.zeros([])


# Traced once for all groups of a shape.
@jax.jit
def _largest(group: Sequence[Array]) -> Array:
    return jnp.max(functools.reduce(jnp.maximum, map(_modulus, group)))


@jax.jit
def _sum_of_squares(group: Sequence[Array], unit: Array) -> Array:
    squares = [jnp.square(_modulus(gradient) / unit) for gradient in group]
    return jnp.sum(functools.reduce(jnp.add, squares))


def _modulus(gradient: Array) -> Array:
    return jnp.abs(gradient.astype(accumulator_dtype(gradient.dtype)))


def spike_scale(norm: Array, max_norm: Number | None, permissive: bool) -> Array:
    """Return the factor on all gradients of a step; zero says that the step is not taken.

    One up to `max_norm`; above, max_norm / norm if permissive, else zero; zero if not finite.

    Args:
        norm: Norm of all gradients.
        max_norm: Largest norm that passes, or None for any.
        permissive: Whether a spike is clipped (True) or skipped (False).

    Returns:
        A scalar in the dtype of the norm.
    """
    scale = jnp.ones_like(norm)
    if max_norm is not None:
        clipped = max_norm / jnp.where(norm > 0, norm, 1) if permissive else 0.0
        scale = jnp.where(norm > max_norm, clipped, scale)
    return jnp.where(jnp.isfinite(norm), scale, 0.0).astype(norm.dtype)


class Measured(NamedTuple):
    """What the guard of an optimizer says of the gradients of a step.

    Attributes:
        sound: Whether the step is taken; Python's True where nothing asks.
        largest: Largest modulus of the gradients; None if it is not known.
    """

    sound: Array | bool = True
    largest: Array | None = None


def taken(sound: Array | bool, after: PyTree, before: PyTree) -> PyTree:
    """Return a tree as it is after a step, or as it was where the step is not taken.

    Args:
        sound: Whether it is; Python's True where nothing asks.
        after: Any tree of arrays.
        before: The same.
    """
    if sound is True:
        return after
    # Unlike jnp.where it is no function of its own to trace and to call for every leaf.
    return jax.tree.map(functools.partial(jax.lax.select, jnp.asarray(sound)), after, before)


def zero_unless(sound: Array | bool, updates: PyTree) -> PyTree:
    """Return updates, or zeros where the step is not taken.

    Args:
        sound: Whether it is; Python's True where nothing asks.
        updates: Any tree of arrays.
    """
    return taken(sound, updates, jax.tree.map(jnp.zeros_like, updates))


def limit_to_squares() -> optax.GradientTransformation:
    """Limit the modulus of every entry so that its square, and a sum of a few, stay finite.

    A second moment that is infinite once stays so, and its leaf never moves again.
    """

    def limit(gradient: Array) -> Array:
        largest = jnp.sqrt(jnp.finfo(gradient.dtype).max) / 2
        return _limit_modulus(gradient, jnp.ones_like(largest), largest)

    return optax.stateless(lambda updates, params: jax.tree.map(limit, updates))


@dataclass(frozen=True, eq=False)
class GuardedUpdate:
    """The update function of `skip_unsound_steps`, which knows what it protects."""

    inner: optax.GradientTransformationExtraArgs
    max_norm: Number | None
    permissive: bool
    axis_name: str | None
    inner_skips: bool = False

    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree | None = None, **extra_args: object
    ) -> tuple[PyTree, PyTree]:
        """Return (updates, state), or (zeros, the state as it was)."""
        updates, params = as_arrays((updates, params))
        arguments = self.alike((updates, state, params, extra_args))
        return on_automatic_axes(self._updated, arguments, like=(updates, state))

    def alike(self, trees: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        """Return trees that vary alike; over a named axis devices decide and keep the same."""
        return trees if self.axis_name is not None else equally_varying(trees)

    def _updated(
        self, updates: PyTree, state: PyTree, params: PyTree | None, extra_args: dict[str, object]
    ) -> tuple[PyTree, PyTree]:
        leaves = jax.tree.leaves(updates)
        scale: Number = 1
        if self.max_norm is None:
            # The largest entry says all there is to know, in half the passes.
            largest = largest_modulus(leaves, self.axis_name)
            measured = Measured(jnp.isfinite(largest), largest)
        else:
            norm = global_norm(leaves, self.axis_name)
            scale = spike_scale(norm, self.max_norm, self.permissive)
            measured = Measured(scale > 0)

        def step(**known: Measured) -> tuple[PyTree, PyTree]:
            limited = updates
            if self.max_norm is not None:
                limited = jax.tree.map(lambda g: (g * scale).astype(g.dtype), updates)
            after = self.inner.update(limited, state, params, **known, **extra_args)
            return self.alike((after, updates))[0]

        if self.inner_skips:
            return step(measured=measured)
        zeros = jax.tree.map(jnp.zeros_like, updates)
        return jax.lax.cond(measured.sound, step, lambda: (zeros, state))


def skip_unsound_steps(
    inner: optax.GradientTransformation,
    *,
    max_norm: Number | None = None,
    permissive: bool = True,
    axis_name: str | None = None,
    inner_skips: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Keep gradients that are not finite, and spikes, out of an optimizer and its state.

    A step that is not taken returns zero updates and the state as it was, counters included.

    Args:
        inner: The optimizer to protect.
        max_norm: Largest norm over all gradients, or None for any.
        permissive: Whether a spike is clipped to `max_norm` (True) or the step skipped (False).
        axis_name: Mapped axis over which the gradients are sharded, or None.
        inner_skips: Whether `inner` takes the argument `measured` and skips by itself, since a
            branch around a state with a branch of its own would copy it.

    Returns:
        A transformation with the state of `inner`.

    Raises:
        ValueError: `max_norm` is not positive, or `permissive` no boolean.
    """
    check_positive_or_none("raw_global_grad_clip", max_norm, infinite=True)
    check_flag("permissive_spike_protection", permissive)
    protected = optax.with_extra_args_support(unguarded(inner))
    guarded = GuardedUpdate(protected, max_norm, permissive, axis_name, inner_skips)

    def init(params: PyTree) -> PyTree:
        params = as_arrays(params)
        return guarded.alike((protected.init(params), params))[0]

    return optax.GradientTransformationExtraArgs(init, guarded)


def unguarded(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return what a guard without a limit protects, for use under another guard.

    Args:
        transformation: Any; one that is not guarded, or has a limit of its own, is returned.
    """
    inner, limits = without_guard(transformation)
    return transformation if limits.get("max_norm") is not None else inner


def without_guard(
    transformation: optax.GradientTransformation,
) -> tuple[optax.GradientTransformation, dict[str, Any]]:
    """Return what a guard protects, and the options with which to guard something around it.

    Args:
        transformation: Any; one that is not guarded is returned, with no options.
    """
    # One that is built again in each step (`rollfast.injected`) knows what it was at first.
    guard = getattr(transformation.update, "built_first", transformation.update)
    if not isinstance(guard, GuardedUpdate):
        return transformation, {}
    limits = ("max_norm", "permissive", "axis_name", "inner_skips")
    return guard.inner, {name: getattr(guard, name) for name in limits}
