"""Declarations of what is checked, one file for each module of the reference."""

import importlib
import pkgutil
from typing import Any

__all__ = ["all_checks"]


def all_checks() -> list[Any]:
    """Return every Case, Trajectory and Equivalence, module by module."""
    found: list[Any] = []
    for info in pkgutil.walk_packages(__path__, prefix=f"{__name__}."):
        if not info.ispkg:
            found.extend(importlib.import_module(info.name).CHECKS)
    return found
