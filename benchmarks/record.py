"""What a record of benchmarks keeps: enough to repeat and to compare, nothing of who ran it."""

import os
import platform
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np
import optax

import rollfast

__all__ = ["environment", "trim"]

FIGURES = ("median", "iqr", "min", "rounds", "iterations")


def environment() -> dict[str, Any]:
    """Return date, versions, and the kind of machine in general words."""
    modules = (rollfast, jax, jaxlib, optax, np)
    versions = {"python": platform.python_version()}
    versions.update({module.__name__: module.__version__ for module in modules})
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": jax.devices()[0].device_kind,
    }


def trim(document: dict[str, Any], arguments: list[str], root: Path) -> dict[str, Any]:
    """Return what is kept of a document of pytest-benchmark.

    Args:
        document: What `--benchmark-json` writes.
        arguments: Those that pytest was called with.
        root: Of the repository; taken off every path of the command.
    """
    command = shlex.join(["python", "-m", "pytest", *arguments]).replace(f"{root}{os.sep}", "")
    return {
        "command": command,
        **environment(),
        "results": [
            {
                "case": benchmark["name"],
                "group": benchmark["group"],
                **benchmark["extra_info"],
                **{name: benchmark["stats"][name] for name in FIGURES},
            }
            for benchmark in document["benchmarks"]
        ],
    }
