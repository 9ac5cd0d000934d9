"""Optimizers that keep their sums in float32 or better, whatever the parameters are kept in."""

from typing import get_args

import jax
import jax.numpy as jnp
import optax

from rollfast.typing import ArrayLike, DTypeLike, PyTree, accumulator_dtype

__all__ = [
    "as_arrays",
    "cast_like",
    "copied",
    "in_accumulator_dtype",
    "storage_dtype",
    "to_accumulators",
]


def to_accumulators(tree: PyTree) -> PyTree:
    """Cast every leaf to the dtype in which its sums are kept."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(accumulator_dtype(leaf.dtype)), tree)


def as_arrays(tree: PyTree) -> PyTree:
    """Return a tree whose numbers and arrays of NumPy are arrays, in the dtype that JAX has.

    Other leaves stay, such as the functions of a module.
    """

    def made(leaf: object) -> object:
        if isinstance(leaf, jax.Array) or not isinstance(leaf, get_args(ArrayLike)):
            return leaf
        return jnp.asarray(leaf, jnp.result_type(leaf))

    return jax.tree.map(made, tree)


def cast_like(tree: PyTree, like: PyTree) -> PyTree:
    """Cast every leaf to the dtype of the same leaf of `like`."""
    return jax.tree.map(lambda leaf, other: leaf.astype(other.dtype), tree, like)


def copied(tree: PyTree, dtype: DTypeLike | None) -> PyTree:
    """Copy every leaf to `dtype`, or to the dtype of its sums.

    A copy is a buffer of its own, so that parameters and state can both be donated.
    A complex leaf stays complex under a real `dtype`, in the precision nearest to it.
    """

    def copy(leaf: jax.Array) -> jax.Array:
        kept = accumulator_dtype(leaf.dtype) if dtype is None else storage_dtype(leaf.dtype, dtype)
        return jnp.array(leaf, dtype=kept, copy=True)

    return jax.tree.map(copy, tree)


def storage_dtype(leaf_dtype: DTypeLike, dtype: DTypeLike) -> jnp.dtype:
    """Return the dtype asked for, made complex where the leaf is complex."""
    if jnp.issubdtype(leaf_dtype, jnp.complexfloating) and not jnp.issubdtype(
        dtype, jnp.complexfloating
    ):
        return jnp.promote_types(dtype, jnp.complex64)
    return jnp.dtype(dtype)


def in_accumulator_dtype(
    inner: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Run an optimizer on gradients and parameters cast up; its updates are cast back.

    Args:
        inner: Any transformation; its state is made from the parameters cast up.

    Returns:
        A transformation with the same state, whose updates have the dtype of the gradients.
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: PyTree) -> PyTree:
        return inner.init(to_accumulators(params))

    def update(
        updates: PyTree, state: PyTree, params: PyTree | None = None, **extra_args: object
    ) -> tuple[PyTree, PyTree]:
        raised = None if params is None else to_accumulators(params)
        result, state = inner.update(to_accumulators(updates), state, raised, **extra_args)
        return cast_like(result, updates), state

    return optax.GradientTransformationExtraArgs(init, update)
