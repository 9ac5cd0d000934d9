"""Fitting to Hessian-vector products: P becomes the inverse of the Hessian's modulus."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import kron, scale_by_kron, schedule_free_kron

from ..helpers import assert_close, assert_finite, assert_identical, normal
from .steps import built, like, moved, taken, zeros

SHAPE = (3, 4)
SIZE = 12
STEPS = 900
# Rows that make Gram matrices of another thing each; what they do with them is the same here as
# for whitening.
OF_EVERY_BASIS = ("EQ", "QEP", "Q0.5EQ1.5", "QUAD4P")


def symmetric(seed, eigenvalues):
    axes, _ = np.linalg.qr(np.asarray(normal(seed, len(eigenvalues), len(eigenvalues))))
    return (axes * eigenvalues) @ axes.T


# Of Kronecker structure, X -> A X B, one positive and one with eigenvalues of either sign.
RIGHT = symmetric(1, [3.0, 2.0, 1.0, 0.5])
POSITIVE = symmetric(0, [1.0, 0.5, 0.2])
INDEFINITE = symmetric(0, [1.0, -0.5, 0.2])


def annealed(count):
    return jnp.asarray([0.1, 0.02, 0.004])[jnp.minimum(3 * count // STEPS, 2)]


@functools.cache
def fitting(mode):
    """A function of A that returns P in columns, after many random vectors, jitted.

    The gradients are of no use to it.
    """
    optimizer = scale_by_kron(
        b1=0.0,
        preconditioner_mode=mode,
        preconditioner_update_probability=1.0,
        preconditioner_lr=annealed,
        max_skew_triangular=1e9,
        grad_clip_max_amps=None,
    )
    units = np.eye(SIZE, dtype="float32").reshape(SIZE, *SHAPE)
    gradients = jnp.concatenate([1e3 * normal(2, STEPS, *SHAPE), units])
    vectors = normal(3, STEPS + SIZE, *SHAPE)

    def run(left):
        def body(state, given):
            gradient, vector, fit = given
            direction, state = optimizer.update(
                gradient,
                state,
                vector=vector,
                Hvp=left @ vector @ RIGHT,
                update_preconditioner=fit,
            )
            return state, direction

        fits = np.arange(STEPS + SIZE) < STEPS
        start = optimizer.init(jnp.zeros(SHAPE))
        return jax.lax.scan(body, start, (gradients, vectors, fits))[1][STEPS:]

    return jax.jit(run)


def inverse_error(mode, left):
    """‖P |H| - I‖."""
    columns = fitting(mode)(jnp.asarray(left, jnp.float32))
    preconditioner = np.asarray(columns, float).reshape(SIZE, SIZE).T
    eigenvalues, axes = np.linalg.eigh(np.kron(left, RIGHT))
    modulus = (axes * abs(eigenvalues)) @ axes.T
    return np.linalg.norm(preconditioner @ modulus - np.eye(SIZE), 2)


@pytest.mark.parametrize("mode", OF_EVERY_BASIS)
def test_inverse_of_a_positive_hessian(mode):
    """There P H v = v, which leaves no noise in P."""
    assert inverse_error(mode, POSITIVE) < 0.05


@pytest.mark.parametrize("mode", OF_EVERY_BASIS)
def test_inverse_of_the_modulus_of_an_indefinite_hessian(mode):
    assert inverse_error(mode, INDEFINITE) < 0.3


PARAMS = {"w": jnp.ones(SHAPE), "v": jnp.ones(4)}


def pair(step):
    return {"vector": like(PARAMS, 100 + step), "Hvp": like(PARAMS, 200 + step)}


def started():
    """An optimizer and its state after a step with a pair."""
    optimizer = built()
    _, state = taken(optimizer, PARAMS, [like(PARAMS, 0)], **pair(0))
    return optimizer, state


def test_the_pair_and_not_the_gradient_is_fitted_to():
    optimizer, state = started()
    _, one = optimizer.update(like(PARAMS, 1), state, **pair(1))
    _, other = optimizer.update(zeros(PARAMS), state, **pair(1))
    assert_identical(one.Qs_preconditioners, other.Qs_preconditioners)
    assert moved(state, one)
    for name in ("vector", "Hvp"):
        changed = pair(1) | {name: like(PARAMS, 300)}
        assert moved(one, optimizer.update(like(PARAMS, 1), state, **changed)[1]), name


@pytest.mark.parametrize("name", ["vector", "Hvp"])
def test_half_a_pair_is_refused(name):
    optimizer = scale_by_kron()
    with pytest.raises(ValueError, match=f"{name} is given without"):
        optimizer.update(PARAMS, optimizer.init(PARAMS), **{name: PARAMS})


@pytest.mark.parametrize("name", ["vector", "Hvp"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_pair_that_is_not_finite_moves_no_factor(name, bad):
    """The step is taken all the same, with the preconditioner as it is."""
    optimizer, state = started()
    given = pair(1)
    given[name]["v"] = given[name]["v"].at[2].set(bad)
    updates, after = optimizer.update(like(PARAMS, 1), state, **given)
    kept = ("Qs_preconditioners", "Ls_lipschitz", "Ps_preconditioners")
    for field in kept:
        assert_identical(getattr(after, field), getattr(state, field))
    assert int(after.count) == int(state.count) + 1
    assert bool(jnp.any(after.mu["w"] != state.mu["w"]))
    assert_finite(updates)
    assert bool(jnp.any(updates["w"] != 0))


@pytest.mark.parametrize("name", ["vector", "Hvp"])
def test_a_pair_of_zeros_leaves_the_scale_pending(name):
    optimizer = built()
    given = pair(0) | {name: zeros(PARAMS)}
    start = optimizer.init(PARAMS)
    _, state = optimizer.update(like(PARAMS, 0), start, **given)
    assert bool(state.needs_scale_init)
    assert not moved(start, state)
    _, state = optimizer.update(like(PARAMS, 1), state, **pair(1))
    assert not bool(state.needs_scale_init)


def test_a_bad_gradient_skips_the_pair_as_well():
    optimizer, state = started()
    gradient = like(PARAMS, 1)
    gradient["w"] = gradient["w"].at[0, 0].set(np.nan)
    updates, after = optimizer.update(gradient, state, **pair(1))
    assert_identical(after, state)
    assert_identical(updates, zeros(PARAMS))


def test_the_caller_says_when():
    optimizer, state = started()
    for answer in (False, True):
        decided = {"update_preconditioner": jnp.asarray(answer)}
        _, after = optimizer.update(like(PARAMS, 1), state, **pair(1), **decided)
        assert moved(state, after) == answer


@pytest.mark.parametrize(
    "outer", [kron(0.1, b1=0.0), schedule_free_kron(0.1, 10)], ids=["kron", "schedule_free_kron"]
)
def test_pairs_reach_the_preconditioner_inside(outer):
    """With arguments that none of the layers knows."""
    inner = built(b1=0.0)
    _, want = taken(inner, PARAMS, [like(PARAMS, 0)], **pair(0))
    update = jax.jit(outer.update)
    _, state = update(like(PARAMS, 0), outer.init(PARAMS), PARAMS, **pair(0), of_no_use=1.0)
    state = getattr(state, "base_state", state)
    got = state[0].Qs_preconditioners
    assert_close(got, want.Qs_preconditioners, 200)
