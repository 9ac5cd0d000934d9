"""Properties of the guards."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rollfast import guards

from .helpers import assert_close, assert_identical, gradients, normal, parameters


def rms(*leaves):
    flat = jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])
    return float(jnp.sqrt(jnp.mean(jnp.abs(flat) ** 2)))


@pytest.mark.parametrize("dtype", ["float32", "complex64", "bfloat16"])
def test_limits_of_one_tensor(dtype):
    update = 5 * normal(0, 4, 5, dtype=dtype)
    clipped = guards.clip_by_tensor_rms(update, 2.0, 3.0)
    assert clipped.dtype == dtype
    slack = 1 + 4 * float(jnp.finfo(dtype).eps)
    assert rms(clipped.astype(jnp.promote_types(dtype, "float32"))) <= 2.0 * slack
    assert float(jnp.max(jnp.abs(clipped))) <= 3.0 * slack
    assert_identical(guards.clip_by_tensor_rms(0.1 * update, 2.0, 3.0), 0.1 * update)


def test_direction_of_complex_entries_is_kept():
    update = normal(1, 6, dtype="complex64")
    clipped = guards.clip_by_tensor_rms(update, 100.0, 0.1)
    np.testing.assert_allclose(jnp.angle(clipped), jnp.angle(update), rtol=1e-5)


def test_global_limit_is_over_all_leaves():
    """A small leaf is scaled by as much as a large one."""
    small, large = normal(2, 4), 100 * normal(3, 4)
    clipped = guards.clip_by_global_rms([small, large], 1.0, 1e6)
    assert rms(*clipped) == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(clipped[0] / small, clipped[1] / large, rtol=1e-5)
    assert guards.clip_by_global_rms([], 1.0, 1.0) == []


def test_zero_and_empty_updates():
    for update in (jnp.zeros(3), jnp.zeros((0, 3))):
        assert_identical(guards.clip_by_tensor_rms(update, 2.0, 10.0), update)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_an_update_that_is_not_finite_is_left_out(bad, dtype):
    update = normal(6, 3, 4, dtype=dtype).at[1, 2].set(bad)
    assert_identical(guards.clip_by_tensor_rms(update, 2.0, 10.0), jnp.zeros_like(update))


@pytest.mark.parametrize("exponent", [-120, -80, 0, 80, 120])
def test_norm_at_any_scale(exponent):
    """Powers of two change no bit, though squares would overflow or vanish."""
    leaves = [normal(4, 3, 4), normal(5, 2, dtype="complex64"), jnp.zeros(0)]
    norm = guards.global_norm([leaf * 2.0**exponent for leaf in leaves])
    want = np.sqrt(sum(np.sum(np.abs(np.asarray(leaf)) ** 2) for leaf in leaves))
    np.testing.assert_allclose(float(norm) * 2.0**-exponent, want, rtol=1e-5)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_norm_of_what_is_not_finite(bad):
    assert not np.isfinite(guards.global_norm([jnp.asarray([1.0, bad]), jnp.ones(2)]))
    imaginary = jnp.asarray([1.0, complex(0.0, bad)])
    assert not np.isfinite(guards.global_norm([imaginary]))


@pytest.mark.parametrize("shape", [(4, 3), (2, 2**17)], ids=str)
def test_norm_over_a_mapped_axis(shape):
    """Shards of one gradient have its norm together, on each of them, however long they are."""
    whole = normal(6, *shape)
    norms = jax.vmap(lambda shard: guards.global_norm([shard], "shards"), axis_name="shards")(whole)
    np.testing.assert_allclose(norms, np.linalg.norm(whole), rtol=1e-6)


@pytest.mark.parametrize(
    ("norm", "limit", "permissive", "want"),
    [
        (2.0, None, True, 1.0),
        (2.0, 2.0, True, 1.0),
        (2.0, 2.0, False, 1.0),
        (4.0, 2.0, True, 0.5),
        (4.0, 2.0, False, 0.0),
        (0.0, 2.0, True, 1.0),
        (np.inf, None, True, 0.0),
        (np.nan, 2.0, True, 0.0),
    ],
)
def test_factor_of_a_step(norm, limit, permissive, want):
    assert float(guards.spike_scale(jnp.asarray(norm), limit, permissive)) == want


def test_any_optimizer_can_be_guarded():
    """A step that is not taken leaves state and counters; others are those of the optimizer."""
    inner = optax.adam(0.1)
    guarded = guards.skip_unsound_steps(inner, max_norm=1e3, permissive=False)
    params = parameters()
    state = guarded.init(params)
    assert_identical(state, inner.init(params))
    sound = guarded.update(gradients(0), state, params)
    assert_close(sound, inner.update(gradients(0), state, params), 8)
    for factor in (jnp.nan, 1e6):
        bad = jax.tree.map(lambda leaf, factor=factor: leaf * factor, gradients(0))
        updates, after = guarded.update(bad, state, params)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(updates))
        assert_identical(after, state)


def test_extra_arguments_reach_the_guarded_optimizer():
    def update(updates, state, params=None, *, factor):
        return jax.tree.map(lambda leaf: factor * leaf, updates), state

    inner = optax.GradientTransformationExtraArgs(lambda params: (), update)
    updates, _ = guards.skip_unsound_steps(inner).update(jnp.ones(2), (), factor=3.0)
    np.testing.assert_array_equal(updates, 3.0)


def test_guard_without_a_limit_is_lifted_inside_another():
    inner = optax.with_extra_args_support(optax.sgd(0.1))
    plain, limited = (
        guards.skip_unsound_steps(inner),
        guards.skip_unsound_steps(inner, max_norm=1.0),
    )
    assert guards.unguarded(plain).update is inner.update
    assert guards.unguarded(limited) is limited
    assert guards.unguarded(inner) is inner
