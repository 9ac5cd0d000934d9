"""Wrong versions of the production code, made of its own source and loaded in its place."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from verification.registry import PRODUCTION

__all__ = ["replaced", "source_of"]


def source_of(module: str) -> str:
    """Return the source text of a production module, by its name below the package."""
    specification = importlib.util.find_spec(f"{PRODUCTION}.{module}")
    if specification is None or specification.origin is None:
        raise ValueError(f"there is no production module {module!r}")
    return Path(specification.origin).read_text(encoding="utf-8")


class _Loader(importlib.abc.Loader):
    def __init__(self, source: str, origin: str):
        self._source, self._origin = source, origin

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, self._origin, "exec"), module.__dict__)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, source: str, origin: str):
        self._module, self._source, self._origin = module, source, origin

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self._module:
            return None
        loader = _Loader(self._source, self._origin)
        return importlib.util.spec_from_loader(fullname, loader, origin=self._origin)


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
    kept = _loaded()
    for name in kept:
        del sys.modules[name]
    finder = _Finder(f"{PRODUCTION}.{module}", source, f"<wrong version of {module}>")
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in _loaded():
            del sys.modules[name]
        sys.modules.update(kept)
