"""Wrong versions of the production code, made of its own source and loaded in its place."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from verification.registry import PRODUCTION

__all__ = ["replaced", "rewritten", "source_of", "unchanged"]


def source_of(module: str) -> str:
    """Return the source text of a production module, by its name below the package."""
    specification = importlib.util.find_spec(f"{PRODUCTION}.{module}")
    if specification is None or specification.origin is None:
        raise ValueError(f"there is no production module {module!r}")
    return Path(specification.origin).read_text(encoding="utf-8")


Edit = Callable[[str, str], str | None]


class _Loader(importlib.abc.Loader):
    def __init__(self, source: str, origin: str):
        self._source, self._origin = source, origin

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, self._origin, "exec"), module.__dict__)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules of the package whose source is edited, before anything else does."""

    def __init__(self, edit: Edit):
        self._edit = edit

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not f"{fullname}.".startswith(f"{PRODUCTION}."):
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin is None:
            return None
        source = Path(found.origin).read_text(encoding="utf-8")
        name = fullname.removeprefix(PRODUCTION).removeprefix(".")
        changed = self._edit(name, source)
        if changed is None:
            return None
        found.loader = _Loader(changed, f"<wrong version of {name}>")
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
    kept = [finder for finder in sys.meta_path if isinstance(finder, _Finder)]
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder not in kept]
    try:
        with _anew():
            yield
    finally:
        sys.meta_path[:0] = kept


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
