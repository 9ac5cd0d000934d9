"""Reading and writing fields of an Optax state by name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from verification.trajectory import Field

__all__ = ["counters", "stored"]


def stored(
    name: str,
    production_name: str | None = None,
    *,
    branch: str | None = None,
    condition: Callable[[Any], float] | None = None,
) -> Field:
    """Return the field `name` of the reference, kept in the production state.

    Args:
        name: Field of the reference's state.
        production_name: Name in the production state, where it is another.
        branch: Label of the partition that it is kept under.
        condition: See `Field`.
    """
    wanted = production_name or name

    def here(path: Any, value: Any) -> bool:
        del value
        return branch is None or branch in _keys(path)

    def read(state: Any, params: Any, updates: Any) -> Any:
        del params, updates
        return optax.tree.get(state, wanted, filtering=here)

    def write(state: Any, value: Any) -> Any:
        old = optax.tree.get(state, wanted, filtering=here)
        return optax.tree.set(state, here, **{wanted: _replaced(old, value)})

    return Field(name, read, write, condition)


def _replaced(old: Any, value: Any) -> Any:
    """Return a value of the reference in the dtypes, and with the masked leaves, of the old one."""
    if not isinstance(value, dict):
        return jnp.asarray(value, old.dtype)
    return {
        leaf: jnp.asarray(value[leaf], kept.dtype) if hasattr(kept, "dtype") else kept
        for leaf, kept in old.items()
    }


def counters(name: str, *production_names: str) -> Field:
    """Return the step counter of the reference, of which production keeps several.

    Args:
        name: Field of the reference's state.
        production_names: Names of the counters of production; all of them are held to it.
    """

    def values(state: Any) -> list[int]:
        found = [optax.tree.get_all_with_path(state, production) for production in production_names]
        return [int(value) for group in found for _, value in group]

    def read(state: Any, params: Any, updates: Any) -> Any:
        del params, updates
        found = set(values(state))
        return float(found.pop()) if len(found) == 1 else float("nan")

    def write(state: Any, value: Any) -> Any:
        for production in production_names:
            if optax.tree.get_all_with_path(state, production):
                state = optax.tree.set(state, **{production: jnp.asarray(value, jnp.int32)})
        return state

    return Field(name, read, write)


def _keys(path: Any) -> set[str]:
    """Return the dictionary keys on the way to a node of a state."""
    keys = set()
    for entry in path:
        if isinstance(entry, jax.tree_util.DictKey):
            keys.add(str(entry.key))
    return keys
