"""The reference under a convention: its own source, with a few texts replaced."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from verification.conformance.convention import Convention, Edit

__all__ = ["factory", "options_under"]


def factory(
    name: str, modules: tuple[str, ...], conventions: Sequence[Convention]
) -> Callable[..., Any] | None:
    """Return the reference function of a dotted name under conventions.

    Args:
        name: Dotted name below `reference`.
        modules: Dotted names of all modules that may be edited, each after those it imports; the
            last one has the function.
        conventions: Those to follow, in turn.

    Returns:
        The function, or None if one convention has taken away the text that another one replaces.
    """
    edits = tuple(edit for convention in conventions for edit in convention.edits)
    loaded = _loaded(modules, edits)
    return None if loaded is None else getattr(loaded, name.rpartition(".")[2])


def options_under(
    options: dict[str, Any], conventions: Sequence[Convention]
) -> dict[str, Any] | None:
    """Return the options of the reference under conventions; None if two set the same one."""
    set_by_them = [name for convention in conventions for name in convention.options]
    if len(set_by_them) > len(set(set_by_them)):
        return None
    changed = dict(options)
    for convention in conventions:
        changed |= convention.options
    return changed


@cache
def _loaded(modules: tuple[str, ...], edits: tuple[Edit, ...]) -> ModuleType | None:
    """Load the modules anew, edited, and return the last one."""
    renewed: dict[int, Any] = {}
    module = importlib.import_module(f"reference.{modules[-1]}")
    if not edits:
        return module
    for name in modules:
        original = importlib.import_module(f"reference.{name}")
        source = inspect.getsource(original)
        for edit in edits:
            if edit.module == name:
                if edit.old not in source:
                    return None
                source = source.replace(edit.old, edit.new)
        module = ModuleType(original.__name__)
        exec(compile(source, f"<{original.__name__} under a convention>", "exec"), module.__dict__)
        # What it has imported from modules edited before it must be theirs.
        for key, value in vars(module).items():
            if id(value) in renewed:
                setattr(module, key, renewed[id(value)])
        renewed[id(original)] = module
        for key, value in vars(original).items():
            if getattr(value, "__module__", "") == original.__name__:
                renewed[id(value)] = getattr(module, key)
    return module
