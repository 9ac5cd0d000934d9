"""Steps of every optimizer on eight devices and on one; prints what differs, as JSON.

A program of its own, because the number of devices is fixed when JAX starts. Its argument is a row
of `WAYS`. On axes that are explicit, shardings are part of the types of arrays, and no type may
change either.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers import OPTIMIZERS, Optimizer, gradients, named_leaves, normal  # noqa: E402


class Way(NamedTuple):
    """Kind of the axes, how steps are compiled, and the optimizers, all if None."""

    kind: AxisType
    compiled: Callable = jax.jit
    names: tuple[str, ...] | None = None


WAYS = {
    "auto": Way(AxisType.Auto),
    "explicit": Way(AxisType.Explicit),
    "eager": Way(AxisType.Explicit, lambda update: update, ("kron", "xmat", "schedule_free_adamw")),
}

LAYOUT = {
    "rows": PartitionSpec("device", None),
    "columns": PartitionSpec(None, "device"),
    "vector": PartitionSpec("device"),
}


def parameters() -> dict[str, jax.Array]:
    return {"rows": normal(0, 8, 4), "columns": normal(2, 4, 8), "vector": normal(1, 8)}


def steps(optimizer: Optimizer, compiled: Callable, place: Callable) -> tuple:
    """Take three steps; return what they gave, which leaves changed their sharding, which have one.

    What `init` leaves to JAX to place (a counter, the factors of a preconditioner) has a sharding
    only after the first step, and keeps it from then on.
    """
    params = place(parameters())
    state = optimizer.transformation.init(params)
    carry = params, state
    placed = {name for name, leaf in named_leaves(carry) if leaf.ndim and leaf.committed}
    update = compiled(optimizer.transformation.update)
    changed = set()
    for count in range(3):
        updates, state = update(place(gradients(count, parameters())), state, params)
        params = optax.apply_updates(params, updates)
        pairs = zip(named_leaves(carry), jax.tree.leaves((params, state)), strict=True)
        for (name, before), after in pairs:
            if not before.committed and not count:
                continue
            if before.ndim and not after.sharding.is_equivalent_to(before.sharding, before.ndim):
                changed.add(f"{name} was {before.sharding} and is {after.sharding}")
            if jax.typeof(after) != jax.typeof(before):
                changed.add(f"{name} was {jax.typeof(before)} and is {jax.typeof(after)}")
        if not count:
            carry = params, state
    return (params, state), sorted(changed), placed


def main(way: Way) -> None:
    devices = jax.devices()
    assert len(devices) == 8, devices
    mesh = Mesh(np.array(devices), ("device",), axis_types=(way.kind,))
    shardings = {name: NamedSharding(mesh, spec) for name, spec in LAYOUT.items()}
    found = {}
    for optimizer in OPTIMIZERS:
        if way.names is not None and optimizer.name not in way.names:
            continue
        sharded, changed, placed = steps(
            optimizer, way.compiled, lambda tree: jax.device_put(tree, shardings)
        )
        changed += [
            f"{name} is whole on every device"
            for name, leaf in named_leaves(sharded)
            if name in placed and leaf.sharding.is_fully_replicated
        ]
        single, _, _ = steps(optimizer, jax.jit, lambda tree: jax.device_put(tree, devices[0]))
        errors = [
            np.max(np.abs(np.asarray(left, float) - np.asarray(right, float)))
            / max(np.max(np.abs(np.asarray(right, float))), np.finfo(np.float32).tiny)
            for left, right in zip(jax.tree.leaves(sharded), jax.tree.leaves(single), strict=True)
        ]
        error = max(errors) / np.finfo(np.float32).eps
        found[optimizer.name] = {"resharded": changed, "error_in_eps": float(error)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(WAYS[sys.argv[1]])
