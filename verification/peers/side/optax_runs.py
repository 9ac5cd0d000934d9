"""Runs of transformations of the Optax kind."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from verification.peers.side.run import Record, Run, one_line, wide
from verification.peers.side.values import decoded, named

__all__ = ["Optimizers", "record"]


class Optimizers:
    """Optimizers that were built, with their compiled steps: runs of one kind share both."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._built: dict[str, tuple[Any, Any]] = {}

    def get(self, run: Run) -> tuple[Any, Any]:
        """Return an optimizer and its step."""
        key = repr((run.factory, run.arguments, run.options, run.wide, run.donate))
        if key not in self._built:
            optimizer = named(run.factory)(*decoded(run.arguments), **decoded(run.options))

            def step(parameters, state, gradients, extra):
                updates, state = optimizer.update(gradients, state, parameters, **extra)
                return optax.apply_updates(parameters, updates), state, updates

            donated = (0, 1) if run.donate else ()
            self._built[key] = optimizer, jax.jit(step, donate_argnums=donated)
        return self._built[key]


def described(state: Any) -> dict[str, str]:
    """Place in a state -> dtype and shape."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {
        jax.tree_util.keystr(path): f"{getattr(leaf, 'dtype', type(leaf).__name__)}"
        f"{list(np.shape(leaf))}"
        for path, leaf in leaves
    }


def tree(run: Run, arrays: Any) -> Any:
    """Return arrays as the peer is given them, each in its dtype."""
    found = {leaf: jnp.asarray(array).astype(run.dtypes[leaf]) for leaf, array in arrays.items()}
    return next(iter(found.values())) if run.bare else found


def flat(run: Run, found: Any) -> dict[str, Any]:
    """Return a tree of the peer as a dict of its leaves."""
    return {next(iter(run.parameters)): found} if run.bare else dict(found)


def fed(run: Run, arrays: Any) -> list[Any]:
    """Return what is fed at each step: trees, or the entries of a tuple."""
    if isinstance(arrays, tuple):
        return [jnp.asarray(entry) for entry in arrays]
    # NumPy's slices reach a compiled step faster than JAX's.
    cast = {leaf: np.asarray(jnp.asarray(a).astype(run.dtypes[leaf])) for leaf, a in arrays.items()}
    steps = [{leaf: array[index] for leaf, array in cast.items()} for index in range(run.steps)]
    return [next(iter(step.values())) for step in steps] if run.bare else steps


def kept(run: Run, found: Any) -> dict[str, Any]:
    """Return the leaves of a tree, copied if the next step may take them away."""
    leaves = flat(run, found)
    return {leaf: wide(value) for leaf, value in leaves.items()} if run.donate else leaves


def stacked(points: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return leaf -> values, the steps as first axis."""
    return {leaf: np.stack([wide(point[leaf]) for point in points]) for leaf in points[0]}


def record(run: Run, optimizers: Optimizers) -> Record:
    """Take the steps of a run, up to where something is raised."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", run.wide)
    found = Record()
    try:
        _take(run, optimizers, found)
    except Exception as error:
        found.raised = one_line(error)
    finally:
        jax.config.update("jax_enable_x64", before)
    return found


def _take(run: Run, optimizers: Optimizers, found: Record) -> None:
    found.stage = "import"
    named(run.factory)
    evaluation = named(run.evaluation)
    found.stage = "build"
    optimizer, step = optimizers.get(run)
    found.stage = "init"
    parameters = tree(run, run.parameters)
    state = optimizer.init(parameters)
    first = described(state)
    points = [kept(run, parameters)]
    updates: list[dict[str, Any]] = []
    evaluated: list[dict[str, Any]] = []
    gradients = fed(run, run.gradients)
    extra = {name: fed(run, arrays) for name, arrays in run.extra.items()}
    try:
        for index in range(run.steps):
            found.stage = f"step {index + 1}"
            more = {name: entries[index] for name, entries in extra.items()}
            parameters, state, last = step(parameters, state, gradients[index], more)
            points.append(kept(run, parameters))
            updates.append(kept(run, last))
            if evaluation and (run.evaluate == "all" or index + 1 == run.steps):
                found.stage = "evaluation"
                evaluated.append(kept(run, evaluation(state, parameters)))
        found.stage = ""
    finally:
        found.parameters = stacked(points)
        if updates:
            found.updates = stacked(updates)
            found.update_dtypes = {leaf: str(v.dtype) for leaf, v in flat(run, last).items()}
        if evaluated:
            found.evaluation = stacked(evaluated)
        then = described(state)
        found.state = {
            place: (first.get(place, "absent"), then.get(place, "absent"))
            for place in sorted(first.keys() | then.keys())
        }
