"""Time to trace, lower and compile a step, by the number of equal layers."""

import jax
import pytest

from benchmarks import shapes
from benchmarks.optimizers import OPTIMIZERS, Step

ROUNDS = 3


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("scanned", [False, True], ids=["unrolled", "scanned"])
@pytest.mark.parametrize("layers", [1, 24, 96])
def test_compile_time(benchmark, describe, check, layers, scanned, name):
    """Compile, forgetting every time what was compiled before."""
    leaves = shapes.blocks(layers, shapes.NARROW_BLOCK, scanned=scanned)
    step = Step(OPTIMIZERS[name](leaves), leaves)
    facts = {}

    def compile_anew():
        step.lowered = step.lower()
        facts.update(step.compile())

    benchmark.group = "compilation"
    benchmark.pedantic(compile_anew, setup=jax.clear_caches, rounds=ROUNDS)
    check(step)
    describe(leaves, optimizer=name, layers=layers, scanned=scanned, **facts)
