"""The random numbers of a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import PreconditionerMode, scale_by_kron
from rollfast.psgd.draws import (
    DrawnSlice,
    draw_decision,
    draw_slice,
    draw_step,
    normalized_key,
    slice_words,
)
from rollfast.psgd.geometry import geometry

from ..helpers import assert_identical
from .steps import built, like, taken

KEY = jax.random.key(7)
ITEM = DrawnSlice((3, 4), (True, False), jnp.float32)
OTHER = DrawnSlice((2, 2), (True, True), jnp.complex64)
DEFAULT = geometry("Q0.5EQ1.5")


def draws(items, count=3, mode="Q0.5EQ1.5", **options):
    return draw_step(KEY, jnp.asarray(count), items, geometry(mode), **options).slices


def batch(item, count, mode="Q0.5EQ1.5", numbers=None):
    """Draws of many tensors of one kind."""
    kinds = [(item, range(count) if numbers is None else numbers)]
    (words,) = slice_words(KEY, jnp.asarray(3), kinds, geometry(mode), True)
    return jax.vmap(lambda own: draw_slice(own, item, geometry(mode), True))(words)


@pytest.mark.parametrize("mode", ["Q0.5EQ1.5", "EQ"])
def test_tensors_of_a_kind_draw_in_the_order_of_their_numbers(mode):
    """Whatever is between them, and wherever they stand in a stack."""
    first, second = (draws([ITEM, ITEM], mode=mode)[number] for number in (0, 1))
    assert_identical(draws([ITEM, OTHER, ITEM], mode=mode)[2], second)
    turned = batch(ITEM, 2, mode, numbers=[1, 0])
    assert_identical(jax.tree.map(lambda leaf: leaf[0], turned), second)
    assert_identical(jax.tree.map(lambda leaf: leaf[1], turned), first)


def test_layers_in_a_stack_draw_as_they_do_one_by_one():
    """Blocks of two kinds come in turn where they are unrolled, kind after kind where scanned."""
    unrolled = draws([ITEM, OTHER, ITEM, OTHER])
    scanned = draws([ITEM, ITEM, OTHER, OTHER])
    assert_identical([unrolled[place] for place in (0, 2, 1, 3)], list(scanned))


def test_no_two_draws_are_alike():
    """Of tensors, of steps, of keys, of the axes and purposes of one tensor."""
    square = DrawnSlice((8, 8), (True, True), jnp.float32)
    first, second = draws([square, square])
    (later,) = draws([square], count=4)
    found = [first, second, later]
    found += [draw_step(jax.random.key(8), jnp.asarray(3), [square], DEFAULT).slices[0]]
    arrays = [leaf for one in found for leaf in jax.tree.leaves(one)]
    assert len(arrays) == 4 * 6
    assert len({np.asarray(leaf).tobytes() for leaf in arrays}) == len(arrays)
    decisions = [float(draw_decision(KEY, jnp.asarray(count))) for count in range(4)]
    assert len(set(decisions)) == 4


@pytest.mark.parametrize("mode", PreconditionerMode)
@pytest.mark.parametrize("noisy", [True, False])
def test_what_is_drawn_for_a_geometry(mode, noisy):
    """Probes for dense factors only, and only where they are used; a vector without damping too."""
    (one,) = jax.eval_shape(lambda: draws([ITEM], mode=mode, noisy=noisy))
    assert (one.noise is None) == (not noisy and mode != "EQ")
    assert [probes is None for probes in one.norm_probes] == [False, True]
    assert one.norm_probes[0].shape[1] == 3
    rotates = mode in ("Q0.5EQ1.5", "PRO4P")
    assert [probes is None for probes in one.rotation_probes] == [not rotates, True]
    assert one.balance.shape == ()


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("mode", ["EQ", "QEQ"])
def test_noise_is_white(mode, dtype):
    """Zero mean, unit variance, no correlation of entries; nor of parts, of a complex number."""
    item = DrawnSlice((2, 5), (False, False), jnp.dtype(dtype))
    drawn = batch(item, 20000, mode)
    noise = np.asarray(drawn.noise).reshape(-1, 10)
    assert noise.dtype == dtype
    sampled = 5 / np.sqrt(len(noise))
    assert np.abs(noise.mean(0)).max() < sampled
    np.testing.assert_allclose(noise.T @ noise.conj() / len(noise), np.eye(10), atol=1.5 * sampled)
    if dtype == "complex64":
        np.testing.assert_allclose(noise.T @ noise / len(noise), 0, atol=1.5 * sampled)
    balance = np.asarray(drawn.balance)
    assert balance.min() >= 0
    assert balance.max() < 1
    assert abs(np.mean(balance < 0.01) - 0.01) < 0.004
    assert abs(np.mean(balance) - 0.5) < 0.02


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_probes_are_white(dtype):
    """Of odd sizes too, for which part of a random word is left over."""
    item = DrawnSlice((3, 5), (True, True), jnp.dtype(dtype))
    drawn = batch(item, 2000)
    for probes in (*drawn.norm_probes, *drawn.rotation_probes):
        rows = np.asarray(probes).reshape(-1, probes.shape[-1])
        assert rows.dtype == dtype
        sampled = 5 / np.sqrt(len(rows))
        assert np.abs(rows.mean(0)).max() < sampled
        second = rows.T @ rows.conj() / len(rows)
        np.testing.assert_allclose(second, np.eye(len(second)), atol=1.5 * sampled)


def test_a_decision_is_uniform():
    found = np.asarray(jax.vmap(lambda count: draw_decision(KEY, count))(jnp.arange(4000)))
    assert found.min() >= 0
    assert found.max() < 1
    for chance in (0.03, 0.5, 0.9):
        assert abs(np.mean(found < chance) - chance) < 5 * np.sqrt(chance * (1 - chance) / 4000)


PARAMS = {"w": jnp.ones((3, 4))}


def after_two_steps(key):
    gradients = [like(PARAMS, step) for step in range(2)]
    return taken(built(key=key, preconditioner_mode="EQ"), PARAMS, gradients)[0]


def test_a_seed_a_raw_and_a_typed_key_draw_the_same():
    """And another seed does not."""
    by_seed = after_two_steps(3)
    for key in (jax.random.PRNGKey(3), jax.random.key(3)):
        optimizer = scale_by_kron(key=key, preconditioner_mode="EQ")
        update, state = jax.jit(optimizer.update), optimizer.init(PARAMS)
        for step in range(2):
            updates, state = update(like(PARAMS, step), state)
        assert_identical(updates, by_seed)
        assert state.key.dtype == key.dtype
    assert bool(jnp.any(after_two_steps(4)["w"] != by_seed["w"]))


@pytest.mark.parametrize("key", [1.5, "seed", None, np.zeros(2, "uint32")], ids=repr)
def test_a_key_is_a_seed_or_an_array_of_jax(key):
    with pytest.raises(ValueError, match="key="):
        scale_by_kron(key=key).init(PARAMS)


@pytest.mark.parametrize("make", [jax.random.PRNGKey, jax.random.key])
def test_the_key_of_the_caller_is_never_given_away(make):
    """A donated state takes its own copy of the key with it."""
    key = make(3)
    state = scale_by_kron(key=key).init(PARAMS)
    jax.jit(lambda state: state, donate_argnums=0)(state)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not key.is_deleted()
    assert normalized_key(key) is not key
    # Nor is there one array in two states.
    scale_by_kron(key=key).init(PARAMS)


def test_the_key_of_a_state_stays():
    gradients = [like(PARAMS, step) for step in range(2)]
    _, state = taken(built(key=3, preconditioner_mode="EQ"), PARAMS, gradients)
    assert_identical(state.key, jax.random.PRNGKey(3))
