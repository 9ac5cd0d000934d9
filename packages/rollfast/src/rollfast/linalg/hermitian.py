"""Products that are known to be Hermitian, of which a quarter need not be multiplied."""

import jax.numpy as jnp

from rollfast.typing import Array

__all__ = ["hermitian_flops", "hermitian_product"]

# Below this side what is saved is lost to the smaller products and their joining (two cores, CPU).
_LEAST_SIDE = 256


def _is_split(side: int) -> bool:
    return side >= _LEAST_SIDE and side % 2 == 0


def hermitian_product(left: Array, right: Array) -> Array:
    """Return left @ right, given that it is Hermitian.

    Args:
        left: (n, k).
        right: (k, n), such that the product is Hermitian.

    Returns:
        (n, n).
    """
    side = left.shape[0]
    if not _is_split(side):
        return left @ right
    half = side // 2
    upper = left[:half] @ right
    corner = left[half:] @ right[:, half:]
    lower = jnp.concatenate([upper[:, half:].conj().T, corner], axis=1)
    return jnp.concatenate([upper, lower])


def hermitian_flops(side: int, inner: int) -> float:
    """Count the flops of `hermitian_product` of (side, inner) and (inner, side)."""
    return 2.0 * side**2 * inner * (0.75 if _is_split(side) else 1.0)
