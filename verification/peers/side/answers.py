"""Requests to one side, and their answers."""

import importlib
import importlib.metadata
import platform
from typing import Any

from verification.peers.side import documented
from verification.peers.side.run import one_line

__all__ = ["Side"]


class Side:
    """The optimizers of one environment."""

    def __init__(self, kind: str):
        """Import what runs optimizers of a kind, "optax" or "torch"."""
        self.runs: Any = importlib.import_module(f"verification.peers.side.{kind}_runs")
        self.optimizers = self.runs.Optimizers() if kind == "optax" else None

    def answer(self, request: tuple[str, Any]) -> Any:
        """Return the record of a run, the options of a factory, or versions.

        What a request itself raises is returned as a text.
        """
        action, subject = request
        if action == "run":
            return self.runs.record(subject, self.optimizers)
        if action == "versions":
            return _versions(subject)
        try:
            return documented.options(subject)
        except Exception as error:
            return one_line(error)


def _versions(names: list[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
