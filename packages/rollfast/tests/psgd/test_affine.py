"""Affine: which factors there are, and what they whiten."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import scale_by_affine, scale_by_kron

from ..helpers import COMPILATIONS, assert_close, kinds, normal
from .families import built, newton_steps, whitening_errors
from .steps import like, taken


def factors(shape, **options):
    """Shapes of the factors of one tensor, without the axis over tensors of one kind."""
    params = jax.ShapeDtypeStruct(shape, "float32")
    state = jax.eval_shape(scale_by_affine(**options).init, params)
    found = [leaf.shape for leaf in jax.tree.leaves(state.Qs_preconditioners)]
    assert all(shape[0] == 1 for shape in found), found
    return [shape[1:] for shape in found]


@pytest.mark.parametrize(
    ("shape", "options", "want"),
    [
        # The three examples of the ancestor's documentation.
        ((1024, 16, 64), {"max_size_triangular": 512}, [(1024,), (16, 16), (64, 64)]),
        ((1024, 3), {"max_skew_triangular": 32}, [(1024,), (3, 3)]),
        (
            (1024, 16, 64),
            {"max_size_triangular": 0, "max_skew_triangular": 0},
            [(1024,), (16,), (64,)],
        ),
        ((1024, 3), {"max_skew_triangular": 1000}, [(1024, 1024), (3, 3)]),
        ((1024, 16, 64), {}, [(1024, 1024), (16, 16), (64, 64)]),
        ((5000, 4), {}, [(5000,), (4, 4)]),
        ((7,), {}, [(7, 7)]),
        ((), {}, [(1,)]),
        # One view with the smallest two factors in place of a factor for every axis.
        ((16, 8, 4, 2), {"matricize": True}, [(32, 32), (32, 32)]),
        ((3, 3, 4, 10), {"matricize": True}, [(12, 12), (30, 30)]),
        ((6, 4), {"matricize": True}, [(6, 6), (4, 4)]),
        ((6, 1, 4), {"matricize": True}, [(6, 6), (4, 4)]),
    ],
    ids=str,
)
def test_factors(shape, options, want):
    found = factors(shape, **options)
    assert sorted(found) == sorted(want) if options.get("matricize") else found == want


def test_diagonals_take_less_memory_than_adam():
    """Momentum and all else, with sizes of zero."""
    params = {"w": jax.ShapeDtypeStruct((1024, 16, 64), "float32")}
    optimizer = scale_by_affine(max_size_triangular=0, max_skew_triangular=0)
    state = jax.eval_shape(optimizer.init, params)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert numbers - 1024 * 16 * 64 <= 1024 + 16 + 64 + 10
    assert kinds(state.mu) == kinds(params)


@pytest.mark.parametrize("matricize", [False, True])
def test_gradients_are_whitened(matricize):
    """At three scales; as a matrix the tensor may have any covariance of two factors."""

    def positive(seed, size):
        axes, _ = np.linalg.qr(np.asarray(normal(seed, size, size), float))
        return (axes * np.geomspace(1, 0.3, size)) @ axes.T

    if matricize:
        # (2, 2, 3) is a matrix of 4 by 3; of all splits the most nearly square one.
        root, shape = np.kron(positive(0, 4), positive(1, 3)), (2, 2, 3)
    else:
        root, shape = np.kron(positive(0, 3), positive(1, 4)), (3, 4)
    errors = whitening_errors(
        "affine", root, jnp.ones(shape), 2400, (1e-2, 1.0, 1e2), matricize=matricize
    )
    assert max(errors) < 0.35, errors


def test_it_is_kron_of_geometry_eq():
    """With the same factors, draws and numbers, step by step; complex leaves too."""
    params = {"c": jnp.ones((2, 3), "complex64"), "v": jnp.ones(4), "w": jnp.ones((3, 4))}
    kron = scale_by_kron(
        preconditioner_mode="EQ",
        preconditioner_update_probability=1.0,
        min_ndim_triangular=1,
        max_size_triangular=4096,
        max_skew_triangular=128,
        grad_clip_max_amps=None,
        key=36,
    )
    ours = built("affine")
    state, other = ours.init(params), kron.init(params)
    update = jax.jit(kron.update)
    for step in range(3):
        got, state = ours.update(like(params, step), state)
        want, other = update(like(params, step), other)
    assert_close(got, want, COMPILATIONS)
    assert_close(state.Qs_preconditioners, other.Qs_preconditioners, COMPILATIONS)


def test_limits_are_of_every_leaf():
    params = {"large": jnp.ones((3, 4)), "small": jnp.ones(4)}
    options = {"precond_lr": 0.0, "precond_init_scale": 1.0, "b1": 0.0}
    limited = built("affine", grad_clip_max_amps=(0.5, 0.6), **options)
    gradient = like(params, 0) | {"small": 0.01 * normal(1, 4)}
    updates, _ = taken(limited, params, [gradient])
    free, _ = taken(built("affine", **options), params, [gradient])
    assert_close(free, gradient, COMPILATIONS)
    assert_close(updates["small"], gradient["small"], COMPILATIONS)
    assert float(jnp.sqrt(jnp.mean(updates["large"] ** 2))) <= 0.5 * (1 + 1e-5)
    assert float(jnp.max(jnp.abs(updates["large"]))) <= 0.6 * (1 + 1e-5)


def test_inverse_of_the_modulus_of_a_hessian_of_two_factors():
    """As a matrix A X B, with curvatures of either sign."""
    rows, columns = np.diag([1.0, -0.5, 0.4]), np.diag([2.0, 1.0, 1.5, 0.8])
    fit = newton_steps("affine", 1500, like=jnp.ones((3, 4)))
    directions, _, sound = fit(jnp.asarray(np.kron(rows, columns), jnp.float32))
    assert bool(sound)
    product = np.asarray(directions).reshape(12, 12) @ np.abs(np.kron(rows, columns))
    assert np.linalg.norm(product - np.eye(12), 2) < 0.4
