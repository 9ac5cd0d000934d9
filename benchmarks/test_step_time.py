"""Run time of one step, compiled before."""

import pytest

from benchmarks import shapes
from benchmarks.optimizers import OPTIMIZERS, Step

ROUNDS = 15
WARMUP = 2


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("model", [*shapes.MODELS, *shapes.SINGLE_LEAVES])
def test_step_time(benchmark, describe, check, model, name):
    """Take steps of every optimizer on every set of leaves."""
    leaves = {**shapes.MODELS, **shapes.SINGLE_LEAVES}[model]
    step = Step(OPTIMIZERS[name](leaves), leaves)
    facts = step.compile()
    benchmark.group = f"step of {model}"
    benchmark.pedantic(step.take, rounds=ROUNDS, warmup_rounds=WARMUP)
    check(step)
    describe(leaves, optimizer=name, model=model, **facts)
