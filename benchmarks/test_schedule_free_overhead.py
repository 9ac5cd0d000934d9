"""What the Schedule-Free wrapper adds to a step of its base optimizer.

Both sides of a pair are in one group of the record, beside a copy of all parameters: one read and
one write, which is what the wrapper may cost.
"""

import jax
import jax.numpy as jnp
import optax
import pytest

import rollfast
from benchmarks import shapes
from benchmarks.optimizers import LEARNING_RATE, Step

ROUNDS = 30
WARMUP = 3
BASES = {
    "optax.sgd": lambda: optax.sgd(LEARNING_RATE),
    "optax.adamw": lambda: optax.adamw(LEARNING_RATE, b1=0.0),
    "prism.prism.prism": lambda: rollfast.prism(LEARNING_RATE, nesterov=False),
}
WRAPPER = "schedule_free.wrapper.schedule_free"


@pytest.mark.parametrize("model", ["W1", "W2"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["base", WRAPPER])
@pytest.mark.parametrize("base", BASES)
def test_step(benchmark, describe, check, base, wrapped, model):
    """Take steps of a base optimizer, alone and wrapped."""
    leaves = shapes.MODELS[model]
    optimizer = BASES[base]()
    if wrapped:
        optimizer = rollfast.schedule_free(optimizer, LEARNING_RATE)
    step = Step(optimizer, leaves)
    facts = step.compile()
    benchmark.group = f"{base} on {model}"
    benchmark.pedantic(step.take, rounds=ROUNDS, warmup_rounds=WARMUP)
    check(step)
    describe(leaves, optimizer=WRAPPER if wrapped else base, model=model, **facts)


@pytest.mark.parametrize("model", ["W1", "W2"])
def test_copy_of_the_parameters(benchmark, describe, model):
    """Read and write all parameters once."""
    leaves = shapes.MODELS[model]
    params = jax.device_put(shapes.arrays(leaves, 0))
    copy = jax.jit(lambda tree: jax.tree.map(jnp.negative, tree), donate_argnums=0)

    def take():
        nonlocal params
        params = jax.block_until_ready(copy(params))

    benchmark.group = f"copy of {model}"
    benchmark.pedantic(take, rounds=ROUNDS, warmup_rounds=WARMUP)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in params.values())
    describe(leaves, optimizer="copy", model=model)
