"""Limits on gradients and updates, and steps that are not taken."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rollfast.options import check_positive_or_none
from rollfast.trees.batching import group_by
from rollfast.typing import Array, Number, PyTree, accumulator_dtype

__all__ = [
    "clip_by_global_rms",
    "clip_by_tensor_rms",
    "global_norm",
    "limit_to_squares",
    "skip_unsound_steps",
    "spike_scale",
    "unguarded",
    "without_guard",
]


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


def clip_by_global_rms(updates: Sequence[Array], max_rms: Number, max_abs: Number) -> list[Array]:
    """Limit the root mean square over all entries of all leaves, then each entry's modulus.

    Args:
        updates: Leaves of any shapes.
        max_rms: Largest root mean square.
        max_abs: Largest modulus of an entry.

    Returns:
        The leaves, in their shapes and dtypes.
    """
    size = sum(update.size for update in updates)
    rms = global_norm(updates) / jnp.sqrt(max(size, 1))
    factor = jnp.minimum(1, max_rms / jnp.where(rms > 0, rms, 1))
    return [_limit_modulus(update, factor, max_abs) for update in updates]


def _limit_modulus(update: Array, factor: Array, max_abs: Number) -> Array:
    wide = update.astype(accumulator_dtype(update.dtype))
    scaled = wide * factor.astype(jnp.finfo(wide.dtype).dtype)
    if jnp.iscomplexobj(scaled):
        modulus = jnp.abs(scaled)
        limited = scaled * jnp.minimum(1, max_abs / jnp.where(modulus > 0, modulus, 1))
    else:
        limited = jnp.clip(scaled, -jnp.asarray(max_abs), max_abs)
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
    largest = _largest_modulus(gradients, axis_name)
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    groups = [[jnp.square(m / unit) for m in group] for group in _moduli_by_shape(gradients)]
    squares = sum((jnp.sum(sum(group)) for group in groups), start=jnp.zeros([]))
    if axis_name is not None:
        squares = jax.lax.psum(squares, axis_name)
    return unit * jnp.sqrt(squares)


def _largest_modulus(gradients: Sequence[Array], axis_name: str | None = None) -> Array:
    """Return max |g| over all entries of all leaves.

    Args:
        gradients: Leaves of any shapes.
        axis_name: Mapped axis over which the leaves are sharded, or None.

    Returns:
        A scalar, in float32 at least; not finite if an entry is not.
    """
    groups = _moduli_by_shape(gradients)
    tops = [jnp.max(functools.reduce(jnp.maximum, group), initial=0) for group in groups]
    largest = functools.reduce(jnp.maximum, tops, jnp.zeros([]))
    return largest if axis_name is None else jax.lax.pmax(largest, axis_name)


def _moduli_by_shape(gradients: Sequence[Array]) -> list[list[Array]]:
    """Return |g| of leaves of one shape together.

    They are combined entry by entry before they are reduced, in one kernel for all of them.
    """
    moduli = [jnp.abs(gradient.astype(accumulator_dtype(gradient.dtype))) for gradient in gradients]
    keys = [(modulus.shape, modulus.dtype) for modulus in moduli]
    return [[moduli[index] for index in group] for group in group_by(keys)]


def spike_scale(norm: Array, max_norm: Number | None, permissive: bool) -> Array:
    """Return the factor on all gradients of a step; zero says that the step is not taken.

    One up to `max_norm`; above, max_norm / norm if permissive, else zero. Zero if the norm is
    not finite.

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


def limit_to_squares() -> optax.GradientTransformation:
    """Limit the modulus of every entry so that its square, and a sum of a few, stay finite.

    A second moment that has once become infinite stays so, and its leaf never moves again.
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

    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree | None = None, **extra_args: object
    ) -> tuple[PyTree, PyTree]:
        """Return (updates, state), or (zeros, the state as it was)."""
        # Without a limit the largest entry says all there is to know, in half the passes.
        measure = _largest_modulus if self.max_norm is None else global_norm
        norm = measure(jax.tree.leaves(updates), self.axis_name)
        scale = spike_scale(norm, self.max_norm, self.permissive)

        def step() -> tuple[PyTree, PyTree]:
            sound = updates
            if self.max_norm is not None:
                sound = jax.tree.map(lambda g: (g * scale).astype(g.dtype), updates)
            return self.inner.update(sound, state, params, **extra_args)

        def skip() -> tuple[PyTree, PyTree]:
            return jax.tree.map(jnp.zeros_like, updates), state

        return jax.lax.cond(scale > 0, step, skip)


def skip_unsound_steps(
    inner: optax.GradientTransformation,
    *,
    max_norm: Number | None = None,
    permissive: bool = True,
    axis_name: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Keep gradients that are not finite, and spikes, out of an optimizer and its state.

    A step that is not taken returns zero updates and the state as it was, counters included.

    Args:
        inner: The optimizer to protect.
        max_norm: Largest norm over all gradients, or None for any.
        permissive: Whether a spike is clipped to `max_norm` (True) or the step skipped (False).
        axis_name: Mapped axis over which the gradients are sharded, or None.

    Returns:
        A transformation with the state of `inner`.

    Raises:
        ValueError: `max_norm` is not positive.
    """
    check_positive_or_none("max_norm (raw_global_grad_clip)", max_norm)
    protected = optax.with_extra_args_support(unguarded(inner))
    guarded = GuardedUpdate(protected, max_norm, permissive, axis_name)
    return optax.GradientTransformationExtraArgs(protected.init, guarded)


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
    guard = transformation.update
    if not isinstance(guard, GuardedUpdate):
        return transformation, {}
    limits = {
        "max_norm": guard.max_norm,
        "permissive": guard.permissive,
        "axis_name": guard.axis_name,
    }
    return guard.inner, limits
