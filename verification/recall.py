"""What the reference computed, kept from one wrong version of production to the next.

The reference is never edited, but some of its inputs are made by production: what it draws, and
states that start at random. Nothing is kept in whose making the edited module had a part.
"""

import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

from verification import registry

__all__ = ["recalled", "recalling"]

_CHANGED: ContextVar[str | None] = ContextVar("changed", default=None)
# The owner is kept too, so that its identity is not given to another.
_KEPT: dict[Any, tuple[Any, Any, frozenset[str]]] = {}


@contextmanager
def recalling(changed: str) -> Iterator[None]:
    """Keep what the reference computes, while one module of production is another.

    Args:
        changed: Dotted name of the module, below the package; empty if none is.
    """
    token = _CHANGED.set(changed)
    try:
        yield
    finally:
        _CHANGED.reset(token)


def recalled(owner: Any, key: Hashable, compute: Callable[[], Any]) -> Any:
    """Return what `compute` returns, from an earlier time where it is kept.

    Args:
        owner: The check that it belongs to.
        key: What it is among all that the check computes.
        compute: Makes it.
    """
    changed = _CHANGED.get()
    if changed is None:
        return compute()
    whole = (id(owner), key)
    if whole in _KEPT:
        _, value, used = _KEPT[whole]
        return compute() if changed in used else value
    value, used = _watched(compute)
    if changed not in used:
        _KEPT[whole] = owner, value, used
    return value


def _watched(compute: Callable[[], Any]) -> tuple[Any, frozenset[str]]:
    """Return the result of a function and the modules of production that it used."""
    prefix, found = f"{registry.PRODUCTION}.", set()

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        del argument
        if event != "call":
            return
        if frame.f_code is registry.production.__code__:
            found.add(frame.f_locals["name"].rpartition(".")[0])
        elif (name := frame.f_globals.get("__name__", "")).startswith(prefix):
            found.add(name.removeprefix(prefix))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        return compute(), frozenset(found)
    finally:
        sys.setprofile(before)
