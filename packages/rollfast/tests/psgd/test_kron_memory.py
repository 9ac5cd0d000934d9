"""What a step of Kron needs besides parameters, gradients and state."""

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
    optimizer = kron(1e-3, **options)

    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, optimizer.init(params), params)
    return lowered.compile().memory_analysis().temp_size_in_bytes / (4 * ENTRIES)


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
