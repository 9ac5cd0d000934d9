"""Factors whose step passes the largest number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import PreconditionerMode, scale_by_kron
from rollfast.psgd.overflow import retreated

from ..helpers import assert_identical
from .steps import built, like, taken

PARAMS = {"v": jnp.ones(5), "w": jnp.ones((4, 4))}
# Those whose Gram matrix is of a gradient that P itself multiplies.
OF_WHOLE = [mode for mode in PreconditionerMode if mode != "EQ"]
OPTIONS = {"preconditioner_update_probability": 1.0, "b1": 0.0, "grad_clip_max_amps": None}


def times(factor, tree):
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def total_size(state, name):
    """Product of the largest entries of the factors of a leaf, which balancing leaves as it is."""
    factors = state.Qs_preconditioners[name][0]
    return np.prod([np.max(np.abs(np.asarray(factor, float))) for factor in factors])


@pytest.mark.parametrize("mode", PreconditionerMode)
@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_a_spike_costs_no_more_than_a_step(mode, rate):
    """Where the square of a gradient is not finite, 1 - μ of a factor is left, half at least."""
    optimizer = built(**OPTIONS, preconditioner_mode=mode, preconditioner_lr=rate)
    _, before = optimizer.update(like(PARAMS, 0), optimizer.init(PARAMS))
    _, after = optimizer.update(times(1e25, like(PARAMS, 1)), before)
    for name, axes in (("v", 1), ("w", 2)):
        left = total_size(after, name) / total_size(before, name)
        assert left == pytest.approx(max(1 - rate, 0.5) ** axes, rel=1e-5)
    assert_identical(after.Ls_lipschitz, before.Ls_lipschitz)


@pytest.mark.parametrize("mode", OF_WHOLE)
def test_factors_that_are_far_too_large_come_back(mode):
    """After a first gradient that is all but zero; they would stay where they are for ever."""
    options = {**OPTIONS, "preconditioner_mode": mode, "preconditioner_lr": 0.5, "damping": None}
    optimizer = built(**options)
    gradients = [times(1e-20, like(PARAMS, 0)), *(like(PARAMS, step) for step in range(1, 60))]
    _, soon = taken(optimizer, PARAMS, gradients[:30])
    updates, late = taken(optimizer, PARAMS, gradients)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(updates))
    assert all(float(jnp.min(estimate)) > 0 for estimate in jax.tree.leaves(late.Ls_lipschitz))
    # From here on steps are those of any factor that is too large.
    for name in PARAMS:
        first, last = (total_size(state, name) for state in (soon, late))
        assert last < 0.7 * first


@pytest.mark.parametrize("size", [1e-5, 1e-7])
@pytest.mark.parametrize("mode", ["Q0.5EQ1.5", "QUAD4P", "PRO4P", "EQ"])
def test_what_float16_does_not_hold_is_not_stored(mode, size):
    """P of small gradients is beyond 65504, in the factors or beside them."""
    optimizer = scale_by_kron(
        preconditioner_mode=mode,
        precond_dtype="float16",
        cache_preconditioner=True,
        preconditioner_update_probability=1.0,
        max_skew_triangular=10.0,
        min_ndim_triangular=1,
    )
    update, state = jax.jit(optimizer.update), optimizer.init(PARAMS)
    for step in range(10):
        updates, state = update(times(size, like(PARAMS, step)), state)
    kept = state.Qs_preconditioners, state.Ps_preconditioners
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype("float16")}
    for leaf in jax.tree.leaves((updates, kept)):
        assert bool(jnp.all(jnp.isfinite(leaf)))


def test_a_scale_that_float16_does_not_hold_is_refused():
    optimizer = scale_by_kron(precond_dtype="float16", preconditioner_init_scale=1e5)
    with pytest.raises(ValueError, match=r"preconditioner_init_scale=100000.0 .* float16"):
        optimizer.init(PARAMS)


@pytest.mark.parametrize("mode", ["QUAD4P", "PRO4P"])
def test_a_factor_of_p_where_no_gradient_is_stays_finite(mode):
    """As of a unit that is dead: there the factor grows for ever."""
    options = {**OPTIONS, "preconditioner_lr": 0.9, "damping": None, "preconditioner_mode": mode}
    dead = {"w": jnp.ones((3, 3)).at[1].set(0)}
    gradients = [jax.tree.map(lambda g, m: g * m, like(dead, step), dead) for step in range(500)]
    _, state = taken(built(**options), dead, gradients)
    factors = jax.tree.leaves(state.Qs_preconditioners)
    assert all(bool(jnp.all(jnp.isfinite(factor))) for factor in factors)


@pytest.mark.parametrize("lost", [jnp.inf, jnp.nan])
def test_a_factor_is_smaller_only_where_it_is_the_first_matrix_that_overflows(lost):
    factor, sound = jnp.eye(3), jnp.ones((3, 3))
    bad = sound.at[1, 1].set(lost)
    assert_identical(retreated(factor, sound, bad, jnp.asarray(0.1)), factor)
    np.testing.assert_allclose(retreated(factor, bad, sound, jnp.asarray(0.1)), 0.9 * factor)
    np.testing.assert_allclose(retreated(factor, bad, jnp.ones([]), jnp.asarray(0.1)), 0.9 * factor)


@pytest.mark.parametrize("mode", OF_WHOLE)
def test_gram_matrices_that_are_no_numbers_leave_factors_that_are(mode):
    """P g itself overflows here, and a difference of two infinite numbers is none."""
    optimizer = built(**OPTIONS, preconditioner_mode=mode, preconditioner_init_scale=1e15)
    gradients = [times(1e24, like(PARAMS, step)) for step in range(3)]
    _, state = taken(optimizer, PARAMS, gradients)
    for leaf in jax.tree.leaves(state.Qs_preconditioners):
        assert bool(jnp.all(jnp.isfinite(leaf)))
