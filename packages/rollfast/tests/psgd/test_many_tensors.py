"""More tensors of one shape than are multiplied one by one: a loop does to each what it does alone.

Draws depend on the number of a tensor, and the scale at the start is given: the first of many
tensors move as they do without the others.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import kron, scale_by_kron

from ..helpers import normal

MANY = 40


def _directions(gradients, **options):
    """Return the directions of the last of three steps; the limits hold in all of them."""
    options = {"damping": 0.5, **options}
    optimizer = scale_by_kron(
        preconditioner_update_probability=1.0, preconditioner_init_scale=1.0, key=3, **options
    )
    state = optimizer.init(gradients)
    step = jax.jit(optimizer.update)
    for number in range(3):
        now = jax.tree.map(lambda leaf, number=number: (1 + number) * jnp.sin(leaf), gradients)
        directions, state = step(now, state)
    return directions


def _assert_equal_firsts(few, many):
    for name, wanted in few.items():
        assert np.any(np.asarray(wanted))
        # Some eighty epsilons of float32 at one: the same sums in another order, over three steps.
        np.testing.assert_allclose(
            many[name][: wanted.shape[0]], wanted, rtol=1e-5, atol=1e-5, err_msg=name
        )


def _leaves(count, *shape):
    """Return leaves of different sizes, so that a limit over several of them would show."""
    return {f"{number:02}": (1 + number % 5) * normal(number, *shape) for number in range(count)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"grad_clip_max_amps": (0.5, 0.8)},
        {"grad_clip_max_amps": None},
        {"update_preconditioner_first": False, "grad_clip_max_amps": (0.5, 0.8)},
        {"preconditioner_mode": "PRO4P"},
        {"cache_preconditioner": False},
    ],
    ids=str,
)
def test_leaves(options):
    few, many = (
        _directions(_leaves(3, 6, 4), **options),
        _directions(_leaves(MANY, 6, 4), **options),
    )
    _assert_equal_firsts(few, many)


def test_leaves_without_a_divisor_go_one_at_a_time():
    # Thirty-seven is prime.
    few, many = _directions(_leaves(3, 6, 4)), _directions(_leaves(37, 6, 4))
    _assert_equal_firsts(few, many)


def test_scanned_layers():
    stack = jnp.stack(list(_leaves(MANY, 6, 4).values()))
    options = {"scanned_layers": True, "grad_clip_max_amps": (0.5, 0.8)}
    few, many = _directions({"w": stack[:3]}, **options), _directions({"w": stack}, **options)
    _assert_equal_firsts(few, many)


def test_blocks_are_limited_with_their_leaf():
    # Forty blocks of 4 by 4: every leaf is limited as a whole, whether it has one or two.
    options = {"partition_large_dims": 4, "grad_clip_max_amps": (0.5, 0.8)}
    leaves = {
        f"{number:02}": (1 + number % 5) * normal(number, 4 + 4 * (number % 2), 4)
        for number in range(26)
    }
    few = _directions(dict(list(leaves.items())[:3]), **options)
    _assert_equal_firsts(few, _directions(leaves, **options))


def test_a_pending_scale_is_in_the_direction():
    gradients = _leaves(MANY, 6, 4)
    optimizer = kron(1.0, update_preconditioner_first=False, b1=0.0, grad_clip_max_amps=None, key=3)
    updates, state = jax.jit(optimizer.update)(gradients, optimizer.init(gradients))
    # Before its first update Q is the identity but for the scale that it was found to lack.
    ratios = [np.asarray(updates[name] / leaf) for name, leaf in gradients.items()]
    np.testing.assert_allclose(ratios, ratios[0][0, 0], rtol=1e-5)
    assert not np.isclose(ratios[0][0, 0], -1, rtol=1e-2)


def test_shards():
    # What is summed over shards is summed inside the loop.
    options = {
        "axis_name": "shards",
        "preconditioner_init_scale": 1.0,
        "grad_clip_max_amps": (0.5, 0.8),
    }
    optimizer = scale_by_kron(key=3, **options)

    def first(gradients):
        return optimizer.update(gradients, optimizer.init(gradients))[0]

    few, many = (
        jax.jit(jax.vmap(first, axis_name="shards"))(_leaves(count, 2, 6, 4)) for count in (3, MANY)
    )
    _assert_equal_firsts(few, many)
    # Shards of unlike sizes, limited together, keep their ratio.
    roots = {name: jnp.sqrt(jnp.mean(both**2, axis=(1, 2))) for name, both in many.items()}
    assert any(abs(first - second) > 0.1 for first, second in roots.values())


def _lines(count):
    optimizer = kron(1e-3)
    params = _leaves(count, 4, 4)
    step = jax.jit(optimizer.update)
    return step.lower(params, optimizer.init(params), params).as_text().count("\n")


def test_a_leaf_more_adds_little_to_compile():
    # Twelve lines on JAX 0.10, fourteen on 0.7: its momentum, its part of the largest modulus, its
    # way into two stacks and out of one, and the step. The arithmetic of momentum written out for
    # every leaf would add seven.
    assert _lines(2 * MANY) - _lines(MANY) <= 16 * MANY
