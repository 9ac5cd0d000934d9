"""The public optimizers as a table, the trees they are tried on, and how results are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rollfast

LEARNING_RATE = 0.1
TOTAL_STEPS = 100

# Two compilations of one formula differ by the order of sums and by fused products. Five
# Newton–Schulz iterations, each of slope 3.4445 at zero, enlarge by 485 at most what either side
# rounds.
COMPILATIONS = 1000

# What a state keeps of all parameters together, seen as one vector.
OF_ALL_PARAMETERS = (".a", ".b", ".d", ".rows", ".gram", ".Q", ".L")


@dataclass(frozen=True)
class Optimizer:
    """One row of the contract: a public optimizer, built from nothing but its learning rate."""

    name: str
    factory: Callable[..., optax.GradientTransformationExtraArgs]
    needs_params: bool = True
    takes_schedule: bool = True

    @cached_property
    def transformation(self) -> optax.GradientTransformationExtraArgs:
        return self.factory(learning_rate=LEARNING_RATE)

    @cached_property
    def traced(self) -> list[str]:
        """Structure, shapes and dtypes of the arguments of every trace of `update`."""
        return []

    @cached_property
    def update(self) -> Callable[..., tuple[Any, Any]]:
        """The update, jitted once for all tests: those that use equal trees share its code."""

        def update(*arguments: Any) -> tuple[Any, Any]:
            self.traced.append(str(kinds(arguments)))
            return self.transformation.update(*arguments)

        return jax.jit(update)


def kron(learning_rate: Any) -> optax.GradientTransformationExtraArgs:
    return rollfast.kron(learning_rate)


def scale_by_kron(learning_rate: float) -> optax.GradientTransformationExtraArgs:
    return optax.chain(rollfast.scale_by_kron(), optax.scale_by_learning_rate(learning_rate))


def schedule_free_kron(learning_rate: float) -> optax.GradientTransformationExtraArgs:
    return rollfast.schedule_free_kron(learning_rate, TOTAL_STEPS)


def low_rank_approximation(learning_rate: Any) -> optax.GradientTransformationExtraArgs:
    return rollfast.low_rank_approximation(learning_rate, uvd_rank_of_approximation=2)


def affine(learning_rate: Any) -> optax.GradientTransformationExtraArgs:
    return rollfast.affine(learning_rate)


def scale_by_prism(learning_rate: float) -> optax.GradientTransformationExtraArgs:
    return optax.chain(rollfast.scale_by_prism(), optax.scale_by_learning_rate(learning_rate))


def schedule_free_around_sgd(learning_rate: float) -> optax.GradientTransformationExtraArgs:
    return rollfast.schedule_free(optax.sgd(learning_rate), learning_rate)


def schedule_free_around_adam(learning_rate: float) -> optax.GradientTransformationExtraArgs:
    return rollfast.schedule_free(optax.adam(learning_rate, b1=0.0), learning_rate)


def schedule_free_prism(learning_rate: float) -> optax.GradientTransformationExtraArgs:
    return rollfast.schedule_free_prism(learning_rate, TOTAL_STEPS)


OPTIMIZERS = (
    Optimizer("prism", rollfast.prism),
    Optimizer("scale_by_prism", scale_by_prism, needs_params=False),
    Optimizer("schedule_free(sgd)", schedule_free_around_sgd),
    Optimizer("schedule_free(adam)", schedule_free_around_adam),
    Optimizer("schedule_free_sgd", rollfast.schedule_free_sgd, takes_schedule=False),
    Optimizer("schedule_free_adamw", rollfast.schedule_free_adamw, takes_schedule=False),
    Optimizer("schedule_free_prism", schedule_free_prism, takes_schedule=False),
    Optimizer("kron", kron, needs_params=False),
    Optimizer("scale_by_kron", scale_by_kron, needs_params=False),
    Optimizer("schedule_free_kron", schedule_free_kron, takes_schedule=False),
    Optimizer("xmat", rollfast.xmat, needs_params=False),
    Optimizer("low_rank_approximation", low_rank_approximation, needs_params=False),
    Optimizer("dense_newton", rollfast.dense_newton, needs_params=False),
    Optimizer("affine", affine, needs_params=False),
)


def normal(seed: int, *shape: int, dtype: Any = jnp.float32) -> jax.Array:
    """Standard normal numbers, complex ones in a complex dtype."""
    generator = np.random.default_rng(seed)
    numbers = generator.standard_normal(shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        numbers = numbers + 1j * generator.standard_normal(shape)
    return jnp.asarray(numbers, dtype)


def parameters(dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    """A matrix and a vector, the smallest tree with both branches of `prism`."""
    return {"matrix": normal(0, 3, 4, dtype=dtype), "vector": normal(1, 4, dtype=dtype)}


def gradients(step: int, like: Any = None) -> Any:
    """A tree of gradients, another one at each step."""
    leaves, structure = jax.tree.flatten(parameters() if like is None else like)
    return structure.unflatten(
        normal(100 * step + 10 + index, *leaf.shape, dtype=leaf.dtype)
        for index, leaf in enumerate(leaves)
    )


def train(
    update: Callable[..., tuple[Any, Any]], params: Any, state: Any, steps: range
) -> tuple[Any, Any]:
    """Take several steps, in a Python loop."""
    for step in steps:
        updates, state = update(gradients(step, params), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def warmed(optimizer: Optimizer, steps: int = 2) -> tuple[Any, Any]:
    """Return (parameters, state) after a few steps, so that no sum is zero any more."""
    params = parameters()
    return train(optimizer.update, params, optimizer.transformation.init(params), range(steps))


def kinds(tree: Any) -> Any:
    """The shape and dtype of every leaf."""
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), tree)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves with their paths."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def assert_identical(got: Any, want: Any) -> None:
    """Two trees agree in structure, dtypes and every bit."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (name, left), right in zip(named_leaves(got), jax.tree.leaves(want), strict=True):
        assert jnp.asarray(left).dtype == jnp.asarray(right).dtype, name
        np.testing.assert_array_equal(np.asarray(left), np.asarray(right), err_msg=name)


def assert_close(got: Any, want: Any, multiple: float) -> None:
    """Every leaf agrees to a multiple of the machine epsilon of its dtype, in the largest norm."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (name, left), right in zip(named_leaves(got), jax.tree.leaves(want), strict=True):
        left, right = jnp.asarray(left), jnp.asarray(right)
        assert left.dtype == right.dtype, name
        if not jnp.issubdtype(left.dtype, jnp.inexact):
            np.testing.assert_array_equal(left, right, err_msg=name)
            continue
        if left.size == 0:
            continue
        error = jnp.max(jnp.abs(left - right))
        size = jnp.max(jnp.abs(right))
        bound = multiple * float(jnp.finfo(left.dtype).eps) * float(size)
        assert float(error) <= bound, f"{name}: error {error}, allowed {bound}"


def assert_finite(tree: Any) -> None:
    """No leaf has an entry that is not finite."""
    for name, leaf in named_leaves(tree):
        assert bool(jnp.all(jnp.isfinite(leaf))), f"{name} is not finite: {leaf}"


def assert_zero(tree: Any) -> None:
    """All entries of all leaves are zero."""
    for name, leaf in named_leaves(tree):
        assert not np.any(np.asarray(leaf)), f"{name} is not zero: {leaf}"
