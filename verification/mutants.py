"""Wrong versions of the production code, made of its own source and loaded in its place."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

from verification.registry import PRODUCTION

__all__ = ["replaced", "rewritten", "source_of", "unchanged"]


def source_of(module: str) -> str:
    """Return the source text of a production module, by its name below the package."""
    specification = importlib.util.find_spec(f"{PRODUCTION}.{module}")
    if specification is None or specification.origin is None:
        raise ValueError(f"there is no production module {module!r}")
    return Path(specification.origin).read_text(encoding="utf-8")


Edit = Callable[[str, str], str | None]


class _Text(NamedTuple):
    """A module of the package as it is on disk.

    Attributes:
        specification: Where it is.
        source: Its text; empty if it is not a file.
        code: What that compiles to.
    """

    specification: importlib.machinery.ModuleSpec
    source: str
    code: CodeType


@cache
def _text(fullname: str) -> _Text | None:
    """Return a module of the package, read once: it is imported anew for every wrong version."""
    parent = fullname.rpartition(".")[0]
    above = _text(parent) if parent else None
    path = above.specification.submodule_search_locations if above else None
    found = importlib.machinery.PathFinder.find_spec(fullname, path)
    if found is None or found.origin is None:
        return None
    source = Path(found.origin).read_text(encoding="utf-8")
    return _Text(found, source, compile(source, found.origin, "exec"))


class _Loader(importlib.abc.Loader):
    def __init__(self, code: CodeType):
        self._code = code

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the package, before anything else does, some with an edited source."""

    def __init__(self, edit: Edit):
        self._edit = edit

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if not f"{fullname}.".startswith(f"{PRODUCTION}."):
            return None
        text = _text(fullname)
        if text is None:
            return None
        name = fullname.removeprefix(PRODUCTION).removeprefix(".")
        changed = self._edit(name, text.source)
        code = text.code
        if changed is not None:
            code = compile(changed, f"<wrong version of {name}>", "exec")
        found = copy(text.specification)
        found.loader = _Loader(code)
        return found


def _loaded() -> dict[str, ModuleType]:
    return {
        name: module
        for name, module in sys.modules.items()
        if name == PRODUCTION or name.startswith(f"{PRODUCTION}.")
    }


@contextmanager
def replaced(module: str, source: str) -> Iterator[None]:
    """Import the production package anew with one module made of another source.

    Args:
        module: Dotted name below the package.
        source: Source text to run in its place.
    """
    with rewritten(lambda name, text: source if name == module else None):
        yield


@contextmanager
def rewritten(edit: Edit) -> Iterator[None]:
    """Import the production package anew with modules made of other sources.

    Args:
        edit: From the dotted name of a module below the package, and its source, to the source to
            run in its place; None leaves it as it is.
    """
    finder = _Finder(edit)
    sys.meta_path.insert(0, finder)
    try:
        with _anew():
            yield
    finally:
        sys.meta_path.remove(finder)


@contextmanager
def unchanged() -> Iterator[None]:
    """Import the production package anew as it is, where one of its modules is replaced."""
    with rewritten(lambda name, text: None):
        yield


@contextmanager
def _anew() -> Iterator[None]:
    kept = _loaded()
    for name in kept:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in _loaded():
            del sys.modules[name]
        sys.modules.update(kept)
