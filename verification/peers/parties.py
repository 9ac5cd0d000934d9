"""Production and reference as optimizers under way."""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rollfast
from reference.optimizer import Optimizer
from reference.schedule_free import methods
from verification.peers.trajectories import Leaves, Sequences, Start


@contextmanager
def float64():
    """Let JAX compute in float64 inside, and as before outside."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


class OptaxRunner:
    """A Schedule-Free transformation of the Optax kind, in float64.

    Args:
        build: () -> transformation, whose state has a field `z`.
        evaluation_parameters: (state, y) -> x.
        parameters: Initial parameters.
    """

    def __init__(
        self,
        build: Callable[[], optax.GradientTransformation],
        evaluation_parameters: Callable[[Any, Any], Any],
        parameters: Leaves,
    ):
        self._evaluation_parameters = evaluation_parameters
        with float64():
            transformation = build()
            self._y = jax.tree.map(jnp.asarray, dict(parameters))
            self._state = transformation.init(self._y)

        def step(gradients, state, y):
            updates, state = transformation.update(gradients, state, y)
            return optax.apply_updates(y, updates), state

        self._step = jax.jit(step)

    def step(self, gradients: Leaves) -> None:
        """Take one step with gradients at y."""
        with float64():
            self._y, self._state = self._step(dict(gradients), self._state, self._y)

    def sequences(self) -> Sequences:
        """Copies of where the optimizer is."""
        with float64():
            x = self._evaluation_parameters(self._state, self._y)
        y, z, x = (jax.tree.map(np.array, tree) for tree in (self._y, self._state.z, x))
        return Sequences(y, z, x)


class ReferenceRunner:
    """A Schedule-Free optimizer of the reference, in the dtype of the parameters.

    Args:
        optimizer: A reference optimizer with the sequences in its state.
        parameters: Initial parameters.
    """

    def __init__(self, optimizer: Optimizer, parameters: Leaves):
        self._optimizer = optimizer
        self._state = optimizer.init(dict(parameters))

    def step(self, gradients: Leaves) -> None:
        """Take one step with gradients at y."""
        self._state = self._optimizer.step(self._state, dict(gradients))

    def sequences(self) -> Sequences:
        """Where the optimizer is; reference states are never changed in place."""
        return Sequences(self._state["params"], self._state["z"], self._state["x"])


def production(method: str, options: dict[str, Any]) -> Start:
    """A Schedule-Free method of rollfast under way, by name."""
    return production_of(lambda: getattr(rollfast, method)(**options))


def production_of(build: Callable[[], optax.GradientTransformation]) -> Start:
    """Any transformation made by rollfast's `schedule_free` under way."""
    return lambda parameters: OptaxRunner(build, rollfast.schedule_free_eval_params, parameters)


def reference(method: str, options: dict[str, Any]) -> Start:
    """The method of the same name in the NumPy reference under way."""
    return lambda parameters: ReferenceRunner(getattr(methods, method)(**options), parameters)


def both(method: str, options: dict[str, Any]) -> dict[str, Start]:
    """Production and reference of one method with the same options."""
    return {"production": production(method, options), "reference": reference(method, options)}
