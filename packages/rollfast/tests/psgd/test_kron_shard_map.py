"""A step of Kron where JAX checks which values differ among devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from rollfast import scale_by_kron

# From this side on work waits for earlier work on a CPU, and what waits would differ as that does.
SIDE = 256


@pytest.mark.skipif(not hasattr(jax, "shard_map"), reason="JAX has no shard_map that checks")
@pytest.mark.parametrize("mode", ["EQ", "QUAD", "Q0.5EQ1.5"])
def test_factors_are_the_same_on_all_devices_where_gradients_are_not(mode):
    optimizer = scale_by_kron(
        b1=0.0,
        preconditioner_mode=mode,
        preconditioner_update_probability=1.0,
        axis_name="device",
    )
    state = optimizer.init({"square": jnp.zeros((SIDE, SIDE))})

    def step(state, gradients):
        return optimizer.update({"square": gradients["square"][0]}, state)[1]

    shared, own = PartitionSpec(), PartitionSpec("device")
    mapped = jax.shard_map(
        step,
        mesh=Mesh(np.array(jax.devices()[:1]), ("device",)),
        in_specs=(shared, own),
        out_specs=shared,
    )
    # That this can be traced is what is checked.
    after = jax.eval_shape(mapped, state, {"square": jnp.ones((1, SIDE, SIDE))})
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
