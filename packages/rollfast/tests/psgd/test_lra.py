"""LRA: what it keeps, the products that it carries on, and what it whitens."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import scale_by_lra
from rollfast.psgd import lra
from rollfast.psgd.flat import StepRule

from ..helpers import kinds, normal
from .families import ORDERS, whitening_errors

EPS = float(jnp.finfo(jnp.float32).eps)


def gram_error(state):
    """The Gram matrix that is kept against that of the rows, in float64, over its norm."""
    rows = np.asarray(state.rows, np.float64)
    want = rows @ rows.T
    return np.linalg.norm(np.asarray(state.gram, np.float64) - want) / np.linalg.norm(want)


@pytest.mark.parametrize("b1", [0.9, 0.0])
@pytest.mark.parametrize("rank", [0, 3])
def test_memory(b1, rank):
    """(2r + 2) n numbers, n less without momentum, and 4r² and a handful besides."""
    params = {"w": jax.ShapeDtypeStruct((100, 30), "float32")}
    init = scale_by_lra(b1=b1, uvd_rank_of_approximation=rank).init
    state = jax.eval_shape(init, params)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert numbers - (2 * rank + (2 if b1 else 1)) * 3000 <= 4 * rank**2 + 7
    assert state.mu is None if not b1 else kinds(state.mu) == kinds(params)
    assert jax.eval_shape(lambda p: init(p).U, params).shape == (3000, rank)
    assert jax.eval_shape(lambda p: init(p).V, params).shape == (3000, rank)


def test_columns_as_the_ancestor_names_them():
    """Q = (I + U Vᵀ) diag(d), from the properties of the state, is the P that is applied."""
    optimizer = scale_by_lra(b1=0.0, uvd_rank_of_approximation=2)
    update = jax.jit(optimizer.update)
    state = optimizer.init(jnp.ones(7))
    assert np.linalg.norm(state.U) == pytest.approx(0.1**0.5, rel=1e-5)
    assert np.linalg.norm(state.V) == pytest.approx(0.1**0.5, rel=1e-5)
    assert not np.any(np.asarray(state.U == state.V))
    for step in range(10):
        gradient = normal(step, 7)
        updates, state = update(gradient, state)
    u, v, d = (np.asarray(part, float) for part in (state.U, state.V, state.d))
    q = (np.eye(7) + u @ v.T) * d
    np.testing.assert_allclose(updates, q.T @ q @ np.asarray(gradient), rtol=1e-4, atol=1e-5)


@functools.cache
def trained(order, probability, dtype=None, rate=0.5):
    """The state after 300 steps on gradients that grow, and all states on the way."""
    optimizer = scale_by_lra(
        uvd_rank_of_approximation=3,
        step_normalizer_order=order,
        preconditioner_update_probability=probability,
        precond_dtype=dtype,
        precond_lr=rate,
    )
    gradients = normal(0, 300, 40) * jnp.geomspace(1, 30, 300)[:, None]

    def run(state):
        return jax.lax.scan(lambda s, g: (optimizer.update(g, s)[1],) * 2, state, gradients)

    return jax.jit(run)(optimizer.init(jnp.ones(40)))


@pytest.mark.parametrize(
    ("order", "probability"), [*((order, 1.0) for order in ORDERS), ("tracked", 0.1)]
)
def test_products_stay_those_of_the_rows(order, probability):
    """Carried on by arithmetic for some hundred updates; a rounding or two in each."""
    last, states = trained(order, probability)
    pairs = zip(states.rows, states.gram, strict=True)
    errors = [gram_error(last._replace(rows=rows, gram=gram)) for rows, gram in pairs]
    assert max(errors) < 300 * EPS, max(errors) / EPS
    moved = np.any(np.diff(np.asarray(states.rows), axis=0), axis=(1, 2))
    assert moved.all() if probability == 1 else 10 < moved.sum() < 60


def test_products_of_rows_that_are_rounded():
    """Rows kept in bfloat16 have products of their own, to within their rounding.

    Small steps are lost in it, and would go on in products that are only carried on.
    """
    last, states = trained("tracked", 1.0, "bfloat16", 0.01)
    assert last.rows.dtype == "bfloat16"
    assert last.gram.dtype == "float32"
    pairs = zip(states.rows, states.gram, strict=True)
    errors = [gram_error(last._replace(rows=rows, gram=gram)) for rows, gram in pairs]
    assert max(errors) < 0.5 * float(jnp.finfo(jnp.bfloat16).eps), max(errors)


def test_one_side_moves_at_a_time():
    """And the tracked order balances the other, which changes no entry of U Vᵀ but by roundings."""
    _, states = trained("2nd", 1.0)
    u, v = np.split(np.asarray(states.rows), 2, axis=1)
    moved = np.stack([np.any(np.diff(side, axis=0), axis=(1, 2)) for side in (u, v)])
    # Both, where they are balanced, in a step of a hundred.
    assert (moved.sum(0) == 1).mean() > 0.95
    assert 0.4 < moved[0].mean() < 0.6


@pytest.mark.parametrize("extra", [0, 5])
def test_more_entries_than_are_taken_at_once(extra):
    """Long rows go by some thousand columns at a time, of which the last may be fewer."""
    size, rank = 2 * 16384 + extra, 2
    rows = normal(0, 2 * rank, size) * (0.3 / size**0.5)
    u, v = rows[:rank].T, rows[rank:].T
    diagonal = 1 + 0.5 * jnp.abs(normal(1, size))
    factor = lra.low_rank(u, v, diagonal)
    h, vector = normal(2, size), normal(3, size)
    q = [np.asarray(part, np.float64) for part in (u, v, diagonal)]

    def normal_product(x):
        x = q[2] * x
        x = x + q[0] @ (q[1].T @ x)
        return q[2] * (x + q[1] @ (q[0].T @ x))

    def close(got, want):
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        assert np.linalg.norm(got - want) < 50 * EPS * np.linalg.norm(want)

    close(lra.apply_normal(factor, vector), normal_product(np.asarray(vector, np.float64)))
    draws = lra.LowRankDraws(jnp.asarray(0.2), jnp.asarray(0.5))
    rule = StepRule(jnp.asarray(0.3, "float32"), jnp.asarray(0.9, "float32"), "2nd")

    def step(factor, lipschitz):
        return lra.update_factor(factor, lipschitz, h, vector, draws, rule)

    moved, _ = jax.jit(step)(factor, jnp.zeros(3))
    # The formulas, in float64.
    a = q[2] * np.asarray(h, float)
    a = a + q[0] @ (q[1].T @ a)
    kernel = np.eye(rank) + q[1].T @ q[0]
    b = np.asarray(vector, float) / q[2]
    b = b - q[1] @ np.linalg.solve(kernel.T, q[0].T @ b)
    inverse = (b - q[0] @ np.linalg.solve(kernel, q[1].T @ b)) / q[2]
    h_, v_ = np.asarray(h, float), np.asarray(vector, float)
    product = normal_product(h_)
    size_d = np.max(np.hypot(product, v_) * np.hypot(h_, inverse))
    close(moved.diagonal, q[2] - 0.3 / size_d * (product * h_ - v_ * inverse) * q[2])
    of_a, of_b = q[1] @ (q[1].T @ a), q[1] @ (q[1].T @ b)
    size_u = np.linalg.norm(a) * np.linalg.norm(of_a) + np.linalg.norm(b) * np.linalg.norm(of_b)
    change = (np.outer(a, a @ q[1]) - np.outer(b, b @ q[1])) @ kernel
    close(moved.rows[:rank].T, q[0] - 0.3 / size_u * change)
    close(moved.rows[rank:], q[1].T)
    got = np.asarray(moved.rows, np.float64)
    close(moved.gram, got @ got.T)


def within_reach(seed, size, rank):
    """R with R Rᵀ = P⁻², P = QᵀQ of that rank, so that Q whitens it."""
    u, v = np.asarray(normal(seed, 2, size, rank), float) * (0.9 / size**0.5)
    q = (np.eye(size) + u @ v.T) * np.geomspace(1, 1.5, size)
    return np.linalg.inv(q.T @ q)


@pytest.mark.parametrize("rank", [2, 0])
def test_gradients_are_whitened(rank):
    """At three scales; a diagonal alone is far from it, so that the rows must be what does it."""
    root = within_reach(4, 12, 2)
    like = {"a": jnp.ones((2, 4)), "b": jnp.ones(4)}
    options = {"uvd_rank_of_approximation": rank}
    errors = whitening_errors("lra", root, like, 8000, (1e-2, 1.0, 1e2), **options)
    assert max(errors) < 0.5 if rank else min(errors) > 2, errors


def test_products_of_rounded_rows_are_made_anew():
    """In every fit, whatever a state says that they are; an exact one carries them on."""
    params = {"w": jnp.ones((3, 4))}
    gradient = {"w": normal(3, 3, 4)}

    def differs(**options):
        optimizer = scale_by_lra(uvd_rank_of_approximation=2, precond_init_scale=1.0, **options)
        state = optimizer.init(params)
        wrong = state._replace(gram=jnp.zeros_like(state.gram))
        rows = [optimizer.update(gradient, given)[1].rows for given in (state, wrong)]
        return bool(jnp.any(rows[0] != rows[1]))

    assert not differs(precond_dtype="bfloat16")
    assert differs()
