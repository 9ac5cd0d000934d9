"""XMat: what it keeps, and what it whitens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import scale_by_xmat
from rollfast.psgd import xmat

from ..helpers import kinds, normal
from .families import FAMILIES, ORDERS, SIZE, as_rows, newton_steps, whitening_errors


def matrix(factor):
    """Q as a matrix, of its definition."""
    return np.diag(np.asarray(factor.diagonal)) + np.fliplr(
        np.diag(np.asarray(factor.antidiagonal))
    )


def example(seed, size):
    """A factor whose mirrored rows are far from dependent."""
    across = 0.5 * jnp.tanh(normal(seed, size))
    if size % 2:
        across = across.at[size // 2].set(0)
    return xmat.XMatrix(1 + 0.5 * jnp.abs(normal(seed + 1, size)), across)


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_arithmetic_is_that_of_matrices(size):
    left, right, vector = example(0, size), example(2, size), normal(4, size)
    close = dict(rtol=1e-5, atol=1e-6)
    dense = matrix(left)
    np.testing.assert_allclose(matrix(xmat.product(left, right)), dense @ matrix(right), **close)
    np.testing.assert_allclose(matrix(xmat.inverse(left)), np.linalg.inv(dense), **close)
    np.testing.assert_allclose(xmat.apply(left, vector), dense @ vector, **close)
    np.testing.assert_allclose(xmat.apply_adjoint(left, vector), dense.T @ vector, **close)
    np.testing.assert_allclose(xmat.apply_normal(left, vector), dense.T @ dense @ vector, **close)


@pytest.mark.parametrize("b1", [0.9, 0.0])
def test_memory(b1):
    """Three numbers for every parameter, two without momentum, and a handful besides."""
    params = {"w": jax.ShapeDtypeStruct((100, 30), "float32")}
    state = jax.eval_shape(scale_by_xmat(b1=b1).init, params)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert numbers - (3 if b1 else 2) * 3000 <= 5
    assert state.a.shape == state.b.shape == (3000,)
    assert state.mu is None if not b1 else kinds(state.mu) == kinds(params)


def crossed(size, condition):
    """A positive X with eigenvalues from 1 down to 1 / condition: rotations of mirrored pairs."""
    root = np.diag(np.geomspace(1, 1 / condition, size))
    rotation = np.eye(size)
    for low in range(size // 2):
        high, angle = size - 1 - low, 0.4 + low
        rotation[low, low] = rotation[high, high] = np.cos(angle)
        rotation[low, high], rotation[high, low] = np.sin(angle), -np.sin(angle)
    return rotation @ root @ rotation.T


@pytest.mark.parametrize("size", [7, 12])
def test_gradients_are_whitened(size):
    """At three scales; an odd number of parameters has a row that is its own mirror image."""
    root = crossed(size, 10)
    assert np.linalg.norm(root - np.diag(np.diag(root)), 2) > 0.3
    like = {"a": jnp.ones((2, 2)), "b": jnp.ones(size - 4)}
    errors = whitening_errors("xmat", root, like, 2400, (1e-2, 1.0, 1e2))
    assert max(errors) < 0.3, errors


@pytest.mark.parametrize("order", ORDERS)
def test_the_middle_of_an_odd_number_of_rows(order):
    """It has one entry, which both the diagonal and the antidiagonal name; one of them is zero."""
    optimizer = FAMILIES["xmat"](step_normalizer_order=order)
    start = optimizer.init(jnp.ones(5))
    gradients = normal(0, 20, 5)

    def last(state):
        return jax.lax.scan(lambda s, g: (optimizer.update(g, s)[1], None), state, gradients)[0]

    state = jax.jit(last)(start)
    assert float(state.b[2]) == 0
    assert all(float(state.b[i]) != 0 for i in (0, 1, 3, 4))


def test_inverse_of_a_hessian_in_its_class():
    """P H v = v, with eigenvalues of either sign and mirrored pairs that are mixed."""
    hessian = crossed(SIZE, 4)
    axes = np.linalg.eigh(hessian)[1]
    signed = hessian @ (axes * np.where(np.arange(SIZE) % 2, 1, -1)) @ axes.T
    directions, _, sound = newton_steps("xmat", 1500)(jnp.asarray(signed, jnp.float32))
    assert bool(sound)
    assert np.linalg.norm(as_rows(directions) @ hessian - np.eye(SIZE), 2) < 0.4
