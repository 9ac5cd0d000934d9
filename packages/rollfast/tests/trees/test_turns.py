"""Tensors that are worked on in turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast.trees.turns import Turns, after, chosen, map_in_place, settled

from ..helpers import normal

COUNT = jnp.ones([], jnp.int32)


def test_stacks_come_apart_in_order():
    stacks = normal(30, 3, 4), normal(31, 2, 1), normal(32, 3)

    def step(stacks, count):
        turns = Turns(count)
        return [turns.unstack(stack) for stack in stacks]

    for stack, pieces in zip(stacks, jax.jit(step)(stacks, COUNT), strict=True):
        assert len(pieces) == len(stack)
        for piece, wanted in zip(pieces, stack, strict=True):
            np.testing.assert_array_equal(piece, wanted[None])


@pytest.mark.parametrize("first", [1.0, -1.0, 0.0, jnp.inf, -jnp.inf, jnp.nan], ids=str)
@pytest.mark.parametrize("number", [0, 3])
def test_to_wait_for_something_changes_nothing(first, number):
    # Large enough to be waited for.
    earlier = jnp.zeros((2, 2**15)).at[0, 0].set(first)
    array = normal(33, 3, 4)
    np.testing.assert_array_equal(jax.jit(after)(earlier, array, jnp.asarray(number)), array)


@pytest.mark.parametrize("first", [1.0, -1.0, 0.0, jnp.inf, -jnp.inf, jnp.nan], ids=str)
def test_an_entry_is_that_of_its_place_whatever_came_before(first):
    # The last of a turn of three: large results come in turns of four at most, all alike.
    stacks = {"a": normal(31, 9, 3).at[2, 0].set(first), "b": normal(32, 9)}
    large = 10**9

    def step(stacks, count):
        turns = Turns(count)
        alone = turns.take({"c": jnp.ones([1, 2])}, lambda own, index: own["c"] + index, 2)
        own = turns.take(
            stacks, lambda own, index: jnp.append(own["a"], own["b"]) * (index + 1), large
        )
        return alone + own

    alone, *results = jax.jit(step)(stacks, COUNT)
    np.testing.assert_array_equal(alone, [1, 1])
    assert len(results) == 9
    for index, result in enumerate(results):
        wanted = np.append(stacks["a"][index], stacks["b"][index]) * (index + 1)
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize(
    ("layers", "width"),
    [
        ((5,), 1),
        ((1, 1, 1), 1),
        ((2, 1, 3), 1),
        ((6,), 3),
        ((2, 4), 2),
        ((2, 1, 3), 2),
        ((1,) * 6, 3),
    ],
    ids=str,
)
def test_a_turn_is_chosen_of_all_stacks_in_order(layers, width):
    parts = [normal(33 + number, layer, 2, 3) for number, layer in enumerate(layers)]
    pick = jax.jit(chosen, static_argnames="width")
    turns = np.concatenate(parts).reshape(-1, width, 2, 3)
    for turn, wanted in enumerate(turns):
        np.testing.assert_array_equal(pick(parts, jnp.asarray(turn), width=width), wanted)


@pytest.mark.parametrize("width", [1, 2])
def test_every_entry_is_replaced_and_nothing_else_is_made(width):
    stacks = {"a": normal(40, 12, 64, 64), "b": normal(41, 12)}

    def double(entries, turn):
        return {"a": 2 * entries["a"] @ entries["a"], "b": entries["b"] + turn}

    step = jax.jit(lambda stacks: map_in_place(double, stacks, width), donate_argnums=0)
    compiled = step.lower(stacks).compile()
    wanted = {"a": 2 * stacks["a"] @ stacks["a"], "b": stacks["b"] + jnp.arange(12) // width}
    entry = 64 * 64 * 4
    temporary = compiled.memory_analysis().temp_size_in_bytes
    results = compiled(stacks)
    np.testing.assert_allclose(results["a"], wanted["a"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(results["b"], wanted["b"])
    # Entries that are read and written, fewer than there are in the stack.
    assert temporary < 4 * width * entry


def test_every_entry_is_replaced_by_its_own_under_vmap():
    """JAX 0.6.0 would replace others than those at unsigned places."""
    stacks = normal(42, 2, 5, 3)
    factors = normal(43, 5)

    def scale(entries, turn):
        return entries * factors[turn]

    replaced = jax.jit(jax.vmap(lambda stack: map_in_place(scale, stack)))(stacks)
    np.testing.assert_array_equal(replaced, stacks * factors[:, None])


@pytest.mark.parametrize("mapped", [False, True])
def test_to_make_arrays_first_changes_nothing(mapped):
    arrays = [normal(44, 2, 256, 256), normal(45, 2, 3), normal(46, 2, 2**16)]

    def weighted(arrays):
        made = (jax.vmap if mapped else lambda function: function)(settled)(arrays)
        return sum(jnp.sum(array * weight) for weight, array in enumerate(made, 1)), made

    made = jax.jit(settled)(arrays), settled(arrays), weighted(arrays)[1]
    for each in made:
        assert all(map(np.array_equal, each, arrays))
    slopes = jax.grad(weighted, has_aux=True)(arrays)[0]
    for weight, slope in enumerate(slopes, 1):
        np.testing.assert_array_equal(slope, np.full(slope.shape, weight))
