"""One side of `benchmarks.peers`: compiles a step, and times it when asked to.

Requests come one a line on the standard input, answers go one a line to the standard output, both
as JSON. It runs in the environment of the package that it measures, so it imports of this
repository only `benchmarks.shapes`.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

import rollfast
from benchmarks import shapes

LEARNING_RATE = 1e-3


class Case:
    """A compiled step of one optimizer on the leaves of one model."""

    def __init__(self, model: shapes.Model, options: dict[str, Any]):
        """Build the optimizer; `options` go to it."""
        self.optimizer = rollfast.prism(LEARNING_RATE, **options)
        self.model = model
        # Two gradients in turn: the innovation of a constant one would fade.
        self.gradients = [jax.device_put(shapes.arrays(model, seed)) for seed in (1, 2)]
        self.steps = 0
        self.step: Callable[..., Any] | None = None

    def start(self) -> tuple[Any, Any]:
        """Return (parameters, state) before the first step."""
        params = jax.device_put(shapes.arrays(self.model, 0, 0.02))
        return params, jax.jit(self.optimizer.init)(params)

    def compile(self) -> dict[str, float]:
        """Trace, lower and compile the step anew."""
        params, state = self.start()

        def update(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
            updates, state = self.optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        jax.clear_caches()
        began = time.perf_counter()
        self.step = (
            jax.jit(update, donate_argnums=(0, 1)).lower(params, state, self.gradients[0]).compile()
        )
        seconds = time.perf_counter() - began
        memory = self.step.memory_analysis()
        return {"compile_seconds": seconds, "temp_bytes": memory.temp_size_in_bytes}

    def reset(self) -> dict[str, float]:
        """Go back to the first step and take two, which warm up."""
        self.steps = 0
        self.params, self.state = self.start()
        self.time(2)
        return {}

    def time(self, count: int) -> dict[str, list[float]]:
        """Take steps, and return the seconds of each, by the clock and of all cores."""
        assert self.step is not None
        seconds, processor = [], []
        for _ in range(count):
            gradients = self.gradients[self.steps % 2]
            jax.block_until_ready((self.params, self.state))
            began, busy = time.perf_counter(), time.process_time()
            self.params, self.state = self.step(self.params, self.state, gradients)
            jax.block_until_ready((self.params, self.state))
            seconds.append(time.perf_counter() - began)
            processor.append(time.process_time() - busy)
            self.steps += 1
        return {"seconds": seconds, "processor_seconds": processor}

    def save(self, path: str) -> dict[str, float]:
        """Write the change of the parameters over one step from the start."""
        assert self.step is not None
        params, state = self.start()
        before = {name: np.array(leaf) for name, leaf in params.items()}
        after, _ = self.step(params, state, self.gradients[0])
        np.savez(path, **{name: np.asarray(after[name]) - before[name] for name in before})
        return {}


def serve() -> None:
    """Answer requests until the input ends."""
    case: Case | None = None
    for line in sys.stdin:
        request = json.loads(line)
        action = request.pop("action")
        if action == "versions":
            answer: dict[str, Any] = {
                module.__name__: module.__version__ for module in (rollfast, jax, optax, np)
            }
        elif action == "build":
            case = None
            gc.collect()
            model = {**shapes.MODELS, **shapes.SINGLE_LEAVES}[request["model"]]
            case = Case(model, request["options"])
            answer = case.compile()
        else:
            answer = getattr(case, action)(**request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
