"""Names for the types that options and states are made of."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike

Array = jax.Array
PyTree = Any
# A scalar that may be a hyperparameter under tracing.
Number = float | jax.Array
ScalarOrSchedule = float | jax.Array | Callable[[jax.Array], ArrayLike]

__all__ = [
    "Array",
    "ArrayLike",
    "DTypeLike",
    "Number",
    "PyTree",
    "ScalarOrSchedule",
    "accumulator_dtype",
    "is_absent",
    "scalar_dtype",
]


def accumulator_dtype(dtype: DTypeLike) -> jnp.dtype:
    """Return the dtype in which a sum over steps of values of `dtype` is kept.

    Float32 at least: an accumulator in bfloat16 stops growing after 256 equal terms.

    Args:
        dtype: Dtype of a parameter or gradient; float64 and complex dtypes are kept.
    """
    return jnp.promote_types(dtype, jnp.float32)


def scalar_dtype() -> jnp.dtype:
    """Return the dtype of scalar accumulators: float32, or float64 under x64."""
    return jnp.zeros([]).dtype


def is_absent(node: object) -> bool:
    """Say whether a node of a tree stands for a leaf that is not there (None or masked out)."""
    return node is None or isinstance(node, optax.MaskedNode)
