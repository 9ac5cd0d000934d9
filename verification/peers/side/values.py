"""Options of a peer, as a file of text can say them."""

import importlib
from collections.abc import Mapping
from typing import Any

__all__ = ["decoded", "named"]


def named(path: Any) -> Any:
    """Return what `module:name` names; anything but a string is returned as it is."""
    if not isinstance(path, str):
        return path
    module, _, name = path.partition(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def decoded(value: Any) -> Any:
    """Return the value that a text stands for.

    A list is a tuple. A table with `call` is what that function returns for `arguments` and
    `options`; a table with `get` is what `module:name` names; any other table is a dict.
    """
    if isinstance(value, list | tuple):
        return tuple(map(decoded, value))
    if not isinstance(value, Mapping):
        return value
    if "call" in value:
        return named(value["call"])(
            *decoded(value.get("arguments", ())), **decoded(value.get("options", {}))
        )
    if "get" in value:
        return named(value["get"])
    return {name: decoded(entry) for name, entry in value.items()}
