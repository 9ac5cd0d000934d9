"""Tensors of one shape, of which a CPU fits a few at once."""

import jax
import numpy as np
import optax
import pytest

from rollfast import kron

from ..helpers import normal


def _changes(gradients, **options):
    """Return what three steps, each with an update, change in all."""
    optimizer = kron(1.0, preconditioner_update_probability=1.0, key=3, **options)
    params = jax.tree.map(lambda leaf: leaf[0] * 0, gradients)
    state = optimizer.init(params)
    step = jax.jit(optimizer.update)
    for number in range(3):
        now = {name: leaf[number] for name, leaf in gradients.items()}
        updates, state = step(now, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("leaves", [24, 11], ids="{} leaves".format)
def test_tensors_move_as_they_do_one_by_one(leaves):
    # 24 are three turns of eight; eleven have no divisor. The damping shows whose noise it is.
    gradients = {str(number): normal(60 + number, 3, 6, 4) for number in range(leaves)}
    together = _changes(gradients, damping=0.5)
    alone = _changes(gradients, damping=0.5, lax_map_batch_size=1)
    for number, change in together.items():
        # Some eighty epsilons of float32 at one: the same sums in another order, over three steps.
        np.testing.assert_allclose(change, alone[number], rtol=1e-5, atol=1e-5)
