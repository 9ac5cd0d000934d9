"""The optimizers that are timed, by dotted name, and one step of each."""

from collections.abc import Callable
from typing import Any

import jax
import optax

import rollfast
from benchmarks import shapes

__all__ = ["OPTIMIZERS", "Step"]

LEARNING_RATE = 1e-3
TOTAL_STEPS = 1000
Factory = Callable[[shapes.Model], optax.GradientTransformation]


def _dimension_numbers(model: shapes.Model, kind: Callable[..., Any]) -> dict[str, Any]:
    """Return `kind(reduction axes, output axes)` for every matrix, and None for other leaves."""
    matrices = {name: ((0,), (1,)) for name, shape in model.leaves.items() if len(shape) == 2}
    return {
        name: kind(*axes) if (axes := {**matrices, **model.axes}.get(name)) else None
        for name in model.leaves
    }


def _prism(model: shapes.Model, **options: Any) -> optax.GradientTransformation:
    numbers = _dimension_numbers(model, rollfast.PrismDimensionNumbers)
    return rollfast.prism(LEARNING_RATE, prism_weight_dimension_numbers=numbers, **options)


def _schedule_free_prism(model: shapes.Model) -> optax.GradientTransformation:
    numbers = _dimension_numbers(model, rollfast.PrismDimensionNumbers)
    return rollfast.schedule_free_prism(
        LEARNING_RATE, TOTAL_STEPS, prism_weight_dimension_numbers=numbers
    )


def _muon(model: shapes.Model) -> optax.GradientTransformation:
    numbers = _dimension_numbers(model, optax.contrib.MuonDimensionNumbers)
    return optax.contrib.muon(LEARNING_RATE, muon_weight_dimension_numbers=numbers)


OPTIMIZERS: dict[str, Factory] = {
    "prism.prism.prism": _prism,
    "prism.prism.prism:gamma=0": lambda model: _prism(model, gamma=0.0),
    "schedule_free.methods.schedule_free_adamw": lambda model: rollfast.schedule_free_adamw(
        LEARNING_RATE
    ),
    "schedule_free.methods.schedule_free_prism": _schedule_free_prism,
    # Its first 500 steps, which all update the preconditioner, and a step that does not. A
    # probability of zero would let the compiler drop the update.
    "psgd.kron.kron": lambda model: rollfast.kron(LEARNING_RATE),
    "psgd.kron.kron:no update": lambda model: rollfast.kron(
        LEARNING_RATE, preconditioner_update_probability=1e-9
    ),
    "psgd.xmat.xmat": lambda model: rollfast.xmat(LEARNING_RATE),
    "psgd.lra.low_rank_approximation": lambda model: rollfast.low_rank_approximation(LEARNING_RATE),
    "optax.adamw": lambda model: optax.adamw(LEARNING_RATE),
    "optax.contrib.muon": _muon,
}


class Step:
    """One compiled step, parameters and state donated, and where it has got to."""

    def __init__(self, optimizer: optax.GradientTransformation, model: shapes.Model):
        """Lower the step; nothing is compiled yet."""
        self.optimizer = optimizer
        # Two gradients in turn: the innovation of a constant one would fade.
        self.gradients = [jax.device_put(shapes.arrays(model, seed)) for seed in (1, 2)]
        self.params = jax.device_put(shapes.arrays(model, 0, 0.02))
        self.state = jax.jit(optimizer.init)(self.params)
        self.count = 0
        self.lowered = self.lower()
        self.compiled: Callable[..., Any] | None = None

    def lower(self) -> Any:
        """Trace and lower the step anew."""

        def update(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
            updates, state = self.optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        return jax.jit(update, donate_argnums=(0, 1)).lower(
            self.params, self.state, self.gradients[0]
        )

    def compile(self) -> dict[str, Any]:
        """Compile the step, and return what the compiler says of it."""
        self.compiled = compiled = self.lowered.compile()
        memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
        found = {"temp_bytes": getattr(memory, "temp_size_in_bytes", None)}
        return {**found, "flops_of_one_pass": cost.get("flops")}

    def take(self) -> None:
        """Take a step and wait for all of it."""
        assert self.compiled is not None
        gradients = self.gradients[self.count % len(self.gradients)]
        self.params, self.state = self.compiled(self.params, self.state, gradients)
        jax.block_until_ready((self.params, self.state))
        self.count += 1
