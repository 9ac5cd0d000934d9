"""What a step of Kron needs besides parameters, gradients and state."""

import math

import jax
import jax.numpy as jnp
import optax
import pytest

from rollfast import kron

SHAPES = ((64, 4096), (4096, 64))
ENTRIES = 64 * 4096


def _temporary_leaves(blocks, **options):
    """Return how many leaves the temporary memory of a step would hold."""
    params = {str(number): jnp.zeros(shape) for number, shape in enumerate(SHAPES * blocks)}
    return _temporary_bytes(params, **options) / (4 * ENTRIES)


def _temporary_bytes(params, **options):
    optimizer = kron(1e-3, **options)

    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, optimizer.init(params), params)
    return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(
    "options", [{}, {"preconditioner_mode": "EQ", "max_skew_triangular": 0}], ids=str
)
def test_temporary_memory_does_not_grow_with_depth(options):
    # A momentum that is not preconditioned where it lies, or gradients of one shape in one stack,
    # would add a leaf for every leaf.
    shallow, deep = _temporary_leaves(16, **options), _temporary_leaves(32, **options)
    assert deep < shallow + 2


def test_many_layers_take_one_stack():
    # Momentum of forty blocks, which directions replace where they lie.
    assert _temporary_leaves(40) < len(SHAPES) * 40 + _temporary_leaves(16)


@pytest.mark.parametrize("count", [2, 8, 32])
def test_to_take_layers_some_at_a_time_needs_no_more_memory(count):
    params = {"layers": jnp.zeros((32, 128, 128))}
    options = {"scanned_layers": True, "preconditioner_update_probability": 1.0}
    anyhow = _temporary_bytes(params, **options)
    asked = _temporary_bytes(
        params, **options, lax_map_scanned_layers=True, lax_map_batch_size=count
    )
    assert asked <= anyhow


EQ = {"preconditioner_mode": "EQ", "max_skew_triangular": math.inf}


@pytest.mark.parametrize(("options", "most"), [({}, 1.1), (EQ, 1.25)], ids=str)
def test_axes_and_kinds_of_tensors_take_the_memory_of_one(options, most):
    # Two dense factors in turn need six matrices of their size or fewer, at once more than nine. A
    # smaller tensor adds a twentieth after them, a fifth beside them; twice that, where both copy
    # blocks of factors.
    for side in (512, 640):
        alone = _temporary_bytes({"square": jnp.zeros((side, side))}, **options)
        assert alone <= 6.5 * 4 * side**2
        params = {"square": jnp.zeros((side, side)), "wide": jnp.zeros((384, side))}
        assert _temporary_bytes(params, **options) <= most * alone


def test_factors_of_many_tensors_are_replaced_where_they_are():
    # A factor that is made once more of what it replaces would copy all of a stack, those that a
    # turn of directions chooses as many as tensors of their own size.
    few, many = (
        _temporary_bytes({str(number): jnp.zeros((128, 512)) for number in range(count)}, **EQ)
        for count in (2, 24)
    )
    assert many < few + 2 * 4 * 512**2
