"""Hessian-vector products from gradients alone."""

from collections.abc import Callable

import numpy as np

from reference.optimizer import Leaves, keeps_dtype, map_leaves

__all__ = ["finite_difference_product"]


def finite_difference_product(
    gradient_function: Callable[[Leaves], Leaves], params: Leaves, vector: Leaves
) -> tuple[Leaves, Leaves]:
    """Return the product of the Hessian and a vector from two gradients.

    theta' = theta + e v,  e = sqrt(eps);  v' = (theta' - theta) / e;
    H v' = (g(theta') - g(theta)) / e,  exact for a quadratic but for rounding, which e divides.

    v' is what rounding has left of v: the pair (v', H v') belongs together, (v, H v') does not.
    One e serves all leaves, that of the coarsest dtype, for every product has all of v in it.

    Args:
        gradient_function: g, from a tree of arrays to the tree of gradients.
        params: theta, leaf -> array, real or complex.
        vector: v, of the same shapes and dtypes.

    Returns:
        (H v', v'), trees like `params`.

    Source: psgd_torch, `preconditioned_stochastic_gradient_descent.py`, `Affine.step` without
    `exact_hessian_vector_product`, which does not divide by e and takes v for v'; no paper.
    """
    length = float(np.sqrt(max((_eps(leaf) for leaf in params.values()), default=0.0)))
    moved = map_leaves(lambda theta, v: _moved(theta, v, length), params, vector)
    used = map_leaves(lambda there, here: _slope(there, here, length), moved, params)
    there, here = gradient_function(moved), gradient_function(params)
    return map_leaves(lambda far, near: _slope(far, near, length), there, here), used


def _eps(array: np.ndarray) -> float:
    # NumPy knows no limits of bfloat16, but the distance of its numbers.
    return float(np.spacing(np.ones((), np.abs(array).dtype)))


@keeps_dtype
def _moved(params: np.ndarray, vector: np.ndarray, length: float) -> np.ndarray:
    return params + length * vector


@keeps_dtype
def _slope(there: np.ndarray, here: np.ndarray, length: float) -> np.ndarray:
    return (there - here) / length
