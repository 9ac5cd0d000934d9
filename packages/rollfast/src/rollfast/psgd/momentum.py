"""The running mean of gradients that becomes an exponential average."""

import jax
import jax.numpy as jnp

from rollfast import guards
from rollfast.psgd.options import Momentum
from rollfast.typing import Array, Number, scalar_dtype

__all__ = ["advance", "blended", "decay"]


def decay(b1: Number, count: Array) -> Array:
    """Return β = min(t / (t+1), b1), with which the mean needs no correction of its bias.

    Args:
        b1: Largest decay, in [0, 1).
        count: t, steps taken before this one.
    """
    steps = count.astype(scalar_dtype())
    return jnp.minimum(steps / (steps + 1), b1)


def blended(old: Array, new: Array, beta: Array) -> Array:
    """Return β m + (1-β) g, in the dtype of g.

    Args:
        old: m.
        new: g.
        beta: β, a scalar.
    """
    weight = beta.astype(jnp.finfo(new.dtype).dtype)
    return weight * old.astype(new.dtype) + (1 - weight) * new


def advance(
    gradients: list[Array], mu: list[Array], of: Momentum, count: Array, sound: Array | bool
) -> tuple[list[Array], list[Array], list[Array]]:
    """Return (what to precondition, momentum, momentum as it is kept).

    The first is the momentum or, with `nesterov`, that to which the same gradients would lead in a
    next step.

    Args:
        gradients: g of every leaf, in the dtype of its sums.
        mu: m of every leaf before this step, in the dtype in which it is kept.
        of: Options.
        count: Steps taken before this one.
        sound: Whether the step is taken; if not, the momentum stays.
    """
    now, then = decay(of.b1, count), decay(of.b1, count + 1)

    # Traced once for all leaves of a shape.
    @jax.jit
    def moved(m: Array, g: Array) -> tuple[Array, Array]:
        new = blended(m, g, now)
        ahead = blended(new, g, then) if of.nesterov else new
        return ahead, guards.taken(sound, new, m.astype(new.dtype))

    pairs = [moved(m, g) for m, g in zip(mu, gradients, strict=True)]
    # All that follows reads the new momentum: who reads the old one still, when the new is to take
    # its place, needs a copy of it.
    momentum = jax.lax.optimization_barrier([new for _, new in pairs])
    kept = [n.astype(m.dtype) for n, m in zip(momentum, mu, strict=True)]
    return [ahead for ahead, _ in pairs] if of.nesterov else momentum, momentum, kept
