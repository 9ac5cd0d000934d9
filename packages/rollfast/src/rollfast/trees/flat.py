"""A tree seen as one real vector, and back."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from rollfast.typing import Array, accumulator_dtype

__all__ = ["flat_dtype", "flat_size", "flatten", "unflatten"]


def flat_dtype(leaves: Sequence[Array]) -> jnp.dtype:
    """Return the real dtype in which the sums of all leaves can be kept.

    Args:
        leaves: Of any dtypes.
    """
    reals = [jnp.finfo(accumulator_dtype(leaf.dtype)).dtype for leaf in leaves]
    return jnp.result_type(jnp.float32, *reals)


def flat_size(leaves: Sequence[Array]) -> int:
    """Return how many real numbers the leaves have; a complex entry is two.

    Args:
        leaves: Of any shapes.
    """
    return sum(leaf.size * (2 if jnp.iscomplexobj(leaf) else 1) for leaf in leaves)


def flatten(leaves: Sequence[Array]) -> Array:
    """Return the entries of all leaves as one vector.

    Args:
        leaves: Of any shapes; a complex one gives its real parts, then its imaginary ones.

    Returns:
        (n,), in the dtype of `flat_dtype`.
    """
    dtype = flat_dtype(leaves)
    parts: list[Array] = []
    for leaf in leaves:
        sides = [leaf.real, leaf.imag] if jnp.iscomplexobj(leaf) else [leaf]
        parts += [side.astype(dtype).reshape(-1) for side in sides if side.size]
    if not parts:
        return jnp.zeros(0, dtype)
    if len(parts) == 1:
        return parts[0]
    # Made once: where it is fused, each of its uses puts it together again, entry by entry.
    return jax.lax.optimization_barrier(jnp.concatenate(parts))


def unflatten(vector: Array, like: Sequence[Array]) -> list[Array]:
    """Undo `flatten`.

    Args:
        vector: (n,).
        like: Leaves of the shapes and dtypes to return.

    Returns:
        One array for every leaf.
    """
    leaves = []
    start = 0

    def take(shape: tuple[int, ...]) -> Array:
        nonlocal start
        size = math.prod(shape)
        start += size
        return vector[start - size : start].reshape(shape)

    for leaf in like:
        if jnp.iscomplexobj(leaf):
            real = jnp.finfo(leaf.dtype).dtype
            parts = [take(leaf.shape).astype(real) for _ in range(2)]
            leaves.append(jax.lax.complex(*parts).astype(leaf.dtype))
        else:
            leaves.append(take(leaf.shape).astype(leaf.dtype))
    return leaves
