"""The random numbers that our own PSGD draws, repeated for the reference."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from verification import registry
from verification.conformance.optax_runs import float64
from verification.conformance.recording import Leaves
from verification.conformance.targets import Target
from verification.flat_preconditioners import AffinePreconditioned, VectorDraws
from verification.preconditioners import SEED, Preconditioned

__all__ = ["key_option", "ours"]


def key_option(row: Target) -> dict[str, int]:
    """Return the option with which our transformation draws the numbers that `ours` repeats."""
    return {"key" if row.name.endswith("kron") else "seed": SEED}


def ours(row: Target, options: Mapping[str, Any], parameters: Leaves) -> dict[str, Any]:
    """Return the options with which the reference takes the numbers that our method draws.

    Args:
        row: The reference.
        options: Its other options.
        parameters: Those before the first step.

    Raises:
        ValueError: The method draws nothing.
    """
    if not row.seeded:
        raise ValueError(f"draws='ours' is given, but {row.name} draws nothing")
    with float64():
        if row.name.endswith("kron"):
            return _of_factors(Preconditioned, options, parameters)
        if row.name.endswith("affine"):
            return _of_factors(AffinePreconditioned, options, parameters)
        return _of_a_vector(row, options, parameters)


def _of_factors(
    kind: type[Preconditioned], options: Mapping[str, Any], parameters: Leaves
) -> dict[str, Any]:
    chosen = kind(parameters, **options)
    return {"draws": _wide(chosen.build(lambda **given: given["draws"], False))}


def _of_a_vector(row: Target, options: Mapping[str, Any], parameters: Leaves) -> dict[str, Any]:
    size = sum(np.size(leaf) * (1 + np.iscomplexobj(leaf)) for leaf in parameters.values())
    geometry = registry.production("psgd.geometry.geometry")
    dense = row.name.startswith("psgd.dense.")
    rotates = dense and geometry(options.get("preconditioner_mode", "Q0.5EQ1.5")).rotates
    found: dict[str, Any] = {"draws": _wide(VectorDraws(size, bool(rotates)))}
    if row.name.startswith("psgd.lra."):
        # Its factor starts at random; so the reference takes the start of ours.
        method = registry.production(row.name)(**options, seed=SEED)
        state = method.init({leaf: jax.numpy.asarray(value) for leaf, value in parameters.items()})
        rows = np.asarray(optax.tree.get(state, "rows"))
        rank = len(rows) // 2
        found["start"] = (rows[:rank].T, rows[rank:].T)
    return found


def _wide(draws: Callable[[int], Any]) -> Callable[[int], Any]:
    def drawn(count: int) -> Any:
        with float64():
            return draws(count)

    return drawn
