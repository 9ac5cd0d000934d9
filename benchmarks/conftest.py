"""What every benchmark writes down beside its times."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import record, shapes
from benchmarks.optimizers import Step


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Keep of the record what bears on the times, and how to repeat them."""
    kept = record.trim(output_json, list(config.invocation_params.args), config.rootpath)
    output_json.clear()
    output_json.update(kept)


@pytest.fixture
def describe(benchmark: Any) -> Callable[..., None]:
    """Return a function that writes what was timed into the record."""

    def write(leaves: shapes.Model, /, **facts: Any) -> None:
        sizes = [int(np.prod(shape)) for shape in leaves.leaves.values()]
        benchmark.extra_info.update(
            device=jax.devices()[0].device_kind,
            dtype="float32",
            leaf_count=len(sizes),
            parameter_count=sum(sizes),
            **facts,
        )

    return write


@pytest.fixture
def check() -> Callable[[Step], None]:
    """Return a function that looks at a step's results, after the timing."""

    def look(step: Step) -> None:
        start = step.count
        before = {name: np.array(leaf) for name, leaf in step.params.items()}
        step.take()
        assert step.count == start + 1
        for name, leaf in step.params.items():
            assert bool(jnp.all(jnp.isfinite(leaf))), name
            assert np.any(np.asarray(leaf) != before[name]), name

    return look
