"""What becomes of factors whose step passes the largest number of a dtype."""

import jax
import jax.numpy as jnp

from rollfast.typing import Array, DTypeLike, PyTree

__all__ = ["has_range", "held", "retreated"]


def retreated(factor: Array, first: Array, second: Array, learning_rate: Array) -> Array:
    """Return the factor to go on with where the Gram matrices of its step are not finite.

    Where T₁ is the one that is not, P is too large by far, and would stay so. A step tends to
    Q - μ T₁ Q / ‖T₁‖ as T₁ grows, of which this is the same for every direction: (1 - μ) Q, but no
    less than half. Otherwise nothing says where to go.

    Args:
        factor: Q, (n, n) or (n,).
        first: T₁, like Q.
        second: T₂, like Q, or a scalar.
        learning_rate: μ.
    """
    least = jnp.maximum(1 - learning_rate, 0.5)
    return jnp.where(_largest(first) < _largest(second), factor, factor * least)


def _largest(gram: Array) -> Array:
    """Return the largest entry of a diagonal, which no other entry exceeds; infinite with a NaN."""
    sizes = jnp.real(jnp.diagonal(gram)) if gram.ndim == 2 else gram
    return jnp.max(jnp.where(jnp.isnan(sizes), jnp.inf, sizes))


def has_range(arrays: PyTree, computed: DTypeLike) -> bool:
    """Say whether arrays hold whatever is finite in the dtype that a step is computed in.

    Float16 does not hold all of float32.

    Args:
        arrays: Any tree.
        computed: Dtype of the step.
    """
    most = jnp.finfo(computed).maxexp
    return all(jnp.finfo(array.dtype).maxexp >= most for array in jax.tree.leaves(arrays))


def held(after: PyTree, before: PyTree) -> PyTree:
    """Return what is kept of a factor after a step; as before if not all of it is finite.

    An infinite entry would stay for ever.

    Args:
        after: Arrays, in the dtypes in which they are kept.
        before: The same, before the step.
    """
    arrays = jax.tree.leaves(after)
    fits = jnp.all(jnp.stack([jnp.all(jnp.isfinite(array)) for array in arrays]))
    return jax.tree.map(lambda new, old: jnp.where(fits, new, old), after, before)
