"""The dense factor: what it keeps, its geometries, and what it whitens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import PreconditionerMode, scale_by_dense_newton

from ..helpers import kinds, normal
from .families import SIZE, as_rows, newton_steps, whitening_errors


@pytest.mark.parametrize("b1", [0.9, 0.0])
def test_memory(b1):
    """n² numbers, and n for the momentum."""
    params = {"w": jax.ShapeDtypeStruct((10, 30), "float32")}
    state = jax.eval_shape(scale_by_dense_newton(b1=b1).init, params)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert numbers - 300**2 - (300 if b1 else 0) <= 5
    assert state.Q.shape == (300, 300)
    assert state.mu is None if not b1 else kinds(state.mu) == kinds(params)


def positive(seed, eigenvalues):
    axes, _ = np.linalg.qr(np.asarray(normal(seed, len(eigenvalues), len(eigenvalues)), float))
    return (axes * eigenvalues) @ axes.T


@pytest.mark.parametrize("mode", PreconditionerMode)
def test_gradients_are_whitened(mode):
    """Every geometry leads to the same P, at any scale of the gradients."""
    root = positive(0, np.geomspace(1, 0.1, 6))
    like = {"a": jnp.ones((2, 2)), "b": jnp.ones(2)}
    scales = (1e-2, 1.0, 1e2) if mode in ("EQ", "Q0.5EQ1.5", "QUAD4P") else (1e2,)
    errors = whitening_errors("dense", root, like, 1800, scales, preconditioner_mode=mode)
    assert max(errors) < 0.3, errors


def test_inverse_of_the_modulus_of_an_indefinite_hessian():
    modulus = np.geomspace(0.5, 2.0, SIZE)
    axes, _ = np.linalg.qr(np.asarray(normal(1, SIZE, SIZE), float))
    hessian = (axes * modulus * np.where(np.arange(SIZE) % 3, 1, -1)) @ axes.T
    directions, _, sound = newton_steps("dense", 1500)(jnp.asarray(hessian, jnp.float32))
    assert bool(sound)
    product = as_rows(directions) @ ((axes * modulus) @ axes.T)
    assert np.linalg.norm(product - np.eye(SIZE), 2) < 0.4


def test_newtons_step_on_a_quadratic():
    """One step with the P of many pairs ends at the minimum, whatever the curvatures."""
    hessian = jnp.asarray(positive(2, np.geomspace(0.1, 1, 5)), jnp.float32)
    optimizer = scale_by_dense_newton(b1=0.0, precond_lr=0.5)
    start = normal(3, 5)

    def body(state, vector):
        given = {"Hvp": hessian @ vector, "vector": vector}
        direction, state = optimizer.update(hessian @ start, state, **given)
        return state, direction

    def last(vectors):
        return jax.lax.scan(body, optimizer.init(start), vectors)[1][-1]

    direction = jax.jit(last)(normal(4, 400, 5))
    assert np.linalg.norm(start - direction) < 1e-4 * np.linalg.norm(start)
