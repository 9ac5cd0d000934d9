"""XMat, LRA, Affine and the dense factor as a table, and steps of them, compiled once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rollfast import scale_by_affine, scale_by_dense_newton, scale_by_lra, scale_by_xmat

from ..helpers import normal
from .steps import Compiled

FAMILIES: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {
    "xmat": scale_by_xmat,
    "lra": functools.partial(scale_by_lra, uvd_rank_of_approximation=2),
    "dense": scale_by_dense_newton,
    "affine": scale_by_affine,
}
ORDERS = ("tracked", "2nd", "1st")
# Those that see all leaves as one vector.
FLAT = ("xmat", "lra", "dense")
RATES = (0.1, 0.02, 0.004)
# One matrix, one vector: 16 numbers.
PARAMS = {"v": jnp.ones(4), "w": jnp.ones((3, 4))}
SIZE = 16
NOT_FITTED = {"count", "mu", "needs_scale_init", "key"}


@functools.cache
def built(name: str, **options: Any) -> Compiled:
    optimizer = FAMILIES[name](**options)
    return Compiled(optimizer.init, jax.jit(optimizer.update))


def fitted(state: Any) -> dict[str, Any]:
    """What a state keeps of the preconditioner and of how far it moves."""
    return {name: value for name, value in state._asdict().items() if name not in NOT_FITTED}


def differs(one: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves(fitted(one)), jax.tree.leaves(fitted(other)), strict=True)
    return any(bool(jnp.any(left != right)) for left, right in pairs)


def as_tree(vectors: Any, like: Any) -> Any:
    """Rows of numbers as trees of real leaves, all at once."""
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = np.split(np.asarray(vectors), ends, axis=1)
    return structure.unflatten(
        jnp.asarray(part.reshape(-1, *leaf.shape), leaf.dtype)
        for part, leaf in zip(parts, leaves, strict=True)
    )


def as_rows(trees: Any) -> np.ndarray:
    """Undo `as_tree`."""
    leaves = jax.tree.leaves(trees)
    return np.concatenate([np.asarray(leaf, float).reshape(len(leaf), -1) for leaf in leaves], 1)


def annealed(steps: int) -> Callable[[jax.Array], jax.Array]:
    """Rates of Q that fall, each for an equal part of the steps."""

    def rate(count: jax.Array) -> jax.Array:
        return jnp.asarray(RATES)[jnp.minimum(len(RATES) * count // steps, len(RATES) - 1)]

    return rate


def covariances(
    name: str, root: np.ndarray, like: Any, steps: int, scales: tuple[float, ...], **options: Any
) -> list[np.ndarray]:
    """cov(P g) / scale² for every scale, after many steps, of gradients of covariance R Rᵀ.

    Measured from outside: after the fit the columns of R go in, and P times them comes out.
    """
    size = len(root)
    optimizer = FAMILIES[name](b1=0.0, precond_lr=annealed(steps), **options)
    rows = np.concatenate([np.asarray(normal(7, steps, size)), np.eye(size)]) @ root.T
    given = as_tree(rows, like)

    def run(scale: jax.Array) -> Any:
        def body(state, gradient_and_whether_to_fit):
            gradient, fit = gradient_and_whether_to_fit
            gradient = jax.tree.map(lambda leaf: scale * leaf, gradient)
            direction, state = optimizer.update(gradient, state, update_preconditioner=fit)
            return state, direction

        fits = np.arange(steps + size) < steps
        _, directions = jax.lax.scan(body, optimizer.init(like), (given, fits))
        return jax.tree.map(lambda leaf: leaf[steps:], directions)

    every = jax.jit(lambda numbers: jax.lax.map(run, numbers))
    trees = every(jnp.asarray(scales))
    images = [as_rows(jax.tree.map(lambda leaf, i=i: leaf[i], trees)) for i in range(len(scales))]
    return [image.T @ image for image in images]


def whitening_errors(*arguments: Any, **options: Any) -> list[float]:
    """‖cov(P g) - I‖₂ for every scale of the gradients."""
    found = covariances(*arguments, **options)
    return [float(np.linalg.norm(one - np.eye(len(one)), 2)) for one in found]


def newton_steps(name: str, steps: int, like: Any = PARAMS, **options: Any) -> Callable[..., Any]:
    """A jitted function of H that fits to H v and returns (P in rows, state, all finite)."""
    leaves = jax.tree.leaves(like)
    size = sum(leaf.size for leaf in leaves)
    optimizer = FAMILIES[name](b1=0.0, precond_lr=annealed(steps), **options)
    vectors = np.asarray(normal(3, steps + size, size))
    gradients = np.concatenate([np.asarray(normal(4, steps, size)), np.eye(size)])

    def run(hessian: jax.Array) -> Any:
        flat = jnp.asarray(vectors) @ hessian.T
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1].tolist()
        products = jax.tree.structure(like).unflatten(
            part.reshape(-1, *leaf.shape)
            for part, leaf in zip(jnp.split(flat, ends, axis=1), leaves, strict=True)
        )

        def body(carry, given):
            state, sound = carry
            gradient, product, vector, fit = given
            direction, state = optimizer.update(
                gradient, state, Hvp=product, vector=vector, update_preconditioner=fit
            )
            numbers = jax.tree.leaves((direction, fitted(state)))
            sound = sound & jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in numbers]))
            return (state, sound), direction

        fits = np.arange(steps + size) < steps
        (state, sound), directions = jax.lax.scan(
            body,
            (optimizer.init(like), jnp.asarray(True)),
            (as_tree(gradients, like), products, as_tree(vectors, like), fits),
        )
        return jax.tree.map(lambda leaf: leaf[steps:], directions), state, sound

    return jax.jit(run)
