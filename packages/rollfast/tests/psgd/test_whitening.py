"""What the preconditioner is for, measured from outside: cov(P g) = I."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import PreconditionerMode, scale_by_kron

from ..helpers import normal

RATES = (0.1, 0.02, 0.004)
# The last rate leaves 0.2 of noise in P; a P that is off by a factor in one direction, or lacks
# an axis of one tensor, is off by 0.75 at least.
TOLERANCE = 0.3


class Gradients(NamedTuple):
    """A tree of random gradients, and how to tell what became of their covariance.

    Attributes:
        random: Many gradients, then the columns of the root of their covariance.
        steps: How many are random.
        scanned: Which leaves are stacks of layers.
    """

    random: dict[str, np.ndarray]
    steps: int
    scanned: dict[str, bool]


def positive(seed: int, size: int, condition: float, dtype: str) -> np.ndarray:
    """A positive matrix with eigenvalues from 1 down to 1 / condition."""
    axes, _ = np.linalg.qr(np.asarray(normal(seed, size, size, dtype=dtype)))
    return ((axes * np.geomspace(1, 1 / condition, size)) @ axes.conj().T).astype(dtype)


def colored(
    seed: int, shape: Sequence[int], conditions: tuple[float, float], steps: int, dtype: str
) -> np.ndarray:
    """Gradients A N B of any layers, N white; then A e B for every unit e."""
    *layers, rows, columns = shape
    count = math.prod(layers)

    def root(seed: int, size: int, condition: float) -> np.ndarray:
        stack = [positive(100 * layer + seed, size, condition, dtype) for layer in range(count)]
        return np.stack(stack).reshape(*layers, size, size)

    noise = np.asarray(normal(seed, steps, *shape, dtype=dtype))
    if np.iscomplexobj(noise):
        noise = noise / np.sqrt(2).astype("float32")
    size = rows * columns
    units = np.eye(size, dtype=dtype).reshape(size, *(1 for _ in layers), rows, columns)
    white = np.concatenate([noise, np.broadcast_to(units, (size, *shape))])
    left, right = root(seed + 1, rows, conditions[0]), root(seed + 2, columns, conditions[1])
    return left @ white @ right


def images(mode: str, given: Gradients, scales: Sequence[float]) -> dict[str, jax.Array]:
    """P times the columns of the root of the covariance, after the steps, for every scale."""
    total = len(next(iter(given.random.values())))

    def annealed(count: jax.Array) -> jax.Array:
        return jnp.asarray(RATES)[jnp.minimum(len(RATES) * count // given.steps, len(RATES) - 1)]

    optimizer = scale_by_kron(
        b1=0.0,
        preconditioner_mode=mode,
        preconditioner_update_probability=1.0,
        preconditioner_lr=annealed,
        max_skew_triangular=1e9,
        grad_clip_max_amps=None,
        scanned_layers=given.scanned,
        lax_map_scanned_layers=True,
    )
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), given.random)

    def run(scale: jax.Array) -> dict[str, jax.Array]:
        def body(state, gradient_and_whether_to_fit):
            gradient, fit = gradient_and_whether_to_fit
            gradient = jax.tree.map(lambda leaf: scale * leaf, gradient)
            direction, state = optimizer.update(gradient, state, update_preconditioner=fit)
            return state, direction

        fits = np.arange(total) < given.steps
        _, directions = jax.lax.scan(body, optimizer.init(params), (given.random, fits))
        return jax.tree.map(lambda leaf: leaf[given.steps :], directions)

    # Batched triangular solves can stop for ever, so the row that has them runs in turn.
    every = jax.lax.map if mode == "EQ" else lambda one, numbers: jax.vmap(one)(numbers)
    compiled = jax.jit(lambda numbers: every(run, numbers))
    return compiled(jnp.asarray(scales))


def covariances(columns: jax.Array) -> np.ndarray:
    """P C P of every tensor, from P times the columns of a root of C."""
    size = len(columns)
    rows = np.asarray(columns, np.complex128).reshape(size, -1, size)
    return np.stack([one.T @ one.conj() for one in np.moveaxis(rows, 1, 0)])


@functools.cache
def small(steps: int) -> Gradients:
    random = {
        "complex": colored(50, (4, 12), (10, 10), steps, "complex64"),
        "layers": colored(0, (5, 4, 12), (10, 10), steps, "float32"),
    }
    return Gradients(random, steps, {"complex": False, "layers": True})


@pytest.mark.parametrize("mode", PreconditionerMode)
def test_gradients_are_whitened(mode):
    """All axes dense; five layers and a complex leaf, at three scales of the gradients."""
    scales = (1e-2, 1.0, 1e2)
    # Its probe is random, where the others have it integrated out, and makes more noise in P.
    steps = 3600 if mode == "EQ" else 1800
    for name, leaf in images(mode, small(steps), scales).items():
        for scale, columns in zip(scales, leaf, strict=True):
            errors = np.linalg.norm(covariances(columns) - np.eye(len(columns)), 2, (1, 2))
            assert errors.max() < TOLERANCE, f"{name} at scale {scale}: {errors}"


def test_the_hermitian_factor_keeps_every_direction():
    """A fixed number of iterations gives up the directions in which Q is smallest, for ever."""
    steps = 6000
    wide = colored(0, (4, 64), (1, 1e3), steps, "float32")
    (columns,) = images("NS", Gradients({"wide": wide}, steps, {"wide": False}), (1.0,))["wide"]
    (covariance,) = covariances(columns)
    eigenvalues = np.linalg.eigvalsh(covariance)
    assert eigenvalues[0] > 0.5
    assert eigenvalues[-1] < 2
