"""The Optax contract: training, and gradients that are not sound."""

import jax
import jax.numpy as jnp
import optax
import pytest

import rollfast

from .helpers import (
    COMPILATIONS,
    LEARNING_RATE,
    assert_close,
    assert_finite,
    assert_identical,
    assert_zero,
    gradients,
    normal,
    parameters,
    warmed,
)


def test_bfloat16_parameters_train(optimizer):
    """The loss of a small regression falls to a quarter, parameters and gradients in bfloat16."""
    inputs = normal(0, 32, 4, dtype=jnp.bfloat16)
    wanted = inputs @ normal(1, 4, 3, dtype=jnp.bfloat16) + 1
    params = {"matrix": jnp.zeros((4, 3), jnp.bfloat16), "vector": jnp.zeros(3, jnp.bfloat16)}
    transformation = optimizer.transformation

    def loss(params):
        error = inputs @ params["matrix"] + params["vector"] - wanted
        return jnp.mean(jnp.square(error.astype(jnp.float32)))

    def body(carry, _):
        params, state = carry
        updates, state = transformation.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def trained(params):
        carry = params, transformation.init(params)
        return jax.lax.scan(body, carry, length=60)[0][0]

    final = trained(params)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(final))
    assert float(loss(final)) < 0.25 * float(loss(params))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf], ids=str)
def test_gradient_that_is_not_finite_changes_nothing(optimizer, bad):
    """One bad entry of one leaf: zero updates, and every leaf of the state as it was."""
    params, state = warmed(optimizer)
    for name in params:
        grads = gradients(5)
        grads[name] = grads[name].at[(0,) * grads[name].ndim].set(bad)
        updates, after = optimizer.update(grads, state, params)
        assert_zero(updates)
        assert_identical(after, state)
    updates, _ = optimizer.update(gradients(5), state, params)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(updates))


@pytest.mark.parametrize("exponent", [-30, -20, -10, 0, 10, 20])
def test_gradients_of_any_scale(optimizer, exponent):
    """Updates and state stay finite, two steps of that scale and then one of the usual."""
    params = parameters()
    state = optimizer.transformation.init(params)
    for count, scale in enumerate((10.0**exponent, 10.0**exponent, 1.0)):
        grads = jax.tree.map(lambda leaf, scale=scale: leaf * scale, gradients(count))
        updates, state = optimizer.update(grads, state, params)
        assert_finite(updates)
        # What Adam of Optax keeps is its own affair.
        assert_finite(state._replace(base_state=()) if "(adam)" in optimizer.name else state)


GUARDED = {
    "prism": lambda **limit: rollfast.prism(LEARNING_RATE, **limit),
    "scale_by_prism": lambda **limit: rollfast.scale_by_prism(**limit),
    "schedule_free_prism": lambda **limit: rollfast.schedule_free_prism(LEARNING_RATE, 50, **limit),
    "kron": lambda **limit: rollfast.kron(LEARNING_RATE, **limit),
    "scale_by_kron": lambda **limit: rollfast.scale_by_kron(**limit),
    "schedule_free_kron": lambda **limit: rollfast.schedule_free_kron(LEARNING_RATE, 50, **limit),
    "xmat": lambda **limit: rollfast.xmat(LEARNING_RATE, **limit),
    "low_rank_approximation": lambda **limit: rollfast.low_rank_approximation(
        LEARNING_RATE, uvd_rank_of_approximation=2, **limit
    ),
    "dense_newton": lambda **limit: rollfast.dense_newton(LEARNING_RATE, **limit),
    "scale_by_affine": lambda **limit: rollfast.scale_by_affine(**limit),
}


@pytest.mark.parametrize("name", GUARDED)
def test_spikes_are_clipped_or_skipped(name):
    """Above the limit on the norm over all leaves, not of one branch or leaf."""
    params, grads = parameters(), gradients(0)
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
    limit = 0.99 * norm
    assert all(jnp.linalg.norm(leaf) < limit for leaf in jax.tree.leaves(grads))

    clipping = GUARDED[name](raw_global_grad_clip=limit)
    state = clipping.init(params)
    clip = jax.jit(clipping.update)
    scaled = jax.tree.map(lambda leaf: leaf * (limit / norm), grads)
    below = jax.tree.map(lambda leaf: 0.5 * leaf, grads)

    def moved(step, grads):
        updates, after = step(grads, state, params)
        return optax.apply_updates(params, updates), after

    assert_close(moved(clip, grads), moved(clip, scaled), COMPILATIONS)

    skipping = GUARDED[name](raw_global_grad_clip=limit, permissive_spike_protection=False)
    skip = jax.jit(skipping.update)
    updates, after = skip(grads, state, params)
    assert_zero(updates)
    assert_identical(after, state)
    assert_close(moved(skip, below), moved(clip, below), COMPILATIONS)
    unlimited = GUARDED[name]()
    assert_close(moved(clip, below), moved(jax.jit(unlimited.update), below), COMPILATIONS)
