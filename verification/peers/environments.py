"""The environments of the peers: one folder each, with what `environments.toml` says."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["OURS", "ROOT", "Failure", "alone", "interpreter", "load", "prepare", "requirements"]

ROOT = Path(__file__).parents[2]
OURS = "ours"
LONGEST_INSTALLATION = 1800.0


class Failure(Exception):
    """What kept a peer from being installed or run, in one line that names no place."""

    def __init__(self, message: str):
        """Keep the first line, with paths and addresses cut down to their last part."""
        first = (message.strip().splitlines() or ["no message"])[0]
        first = re.sub(r"\w+://\S+", "(address)", first)
        super().__init__(re.sub(r"(?<![\w.])(/[\w.+-]+)+/", "", first))


def load() -> dict[str, dict[str, Any]]:
    """Return a peer's name to its requirements and interpreters."""
    path = Path(__file__).with_name("environments.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def alone() -> dict[str, str]:
    """Return the variables of a process that sees no packages but its own."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def interpreter(versions: list[str] | None) -> str:
    """Return the first interpreter of these versions that runs; None stands for this one."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if versions is None or running in versions:
        return sys.executable
    for version in versions:
        found = shutil.which(f"python{version}")
        # A shim may be there without an interpreter behind it.
        if found and not subprocess.run([found, "--version"], capture_output=True).returncode:
            return found
    raise Failure(f"no interpreter of Python {' or '.join(versions)} was found")


def requirements(peer: dict[str, Any]) -> list[str]:
    """Return what is installed for a peer, every version said."""
    followed = [f"{name}=={importlib.metadata.version(name)}" for name in peer.get("follow", ())]
    return [*peer["requirements"], *followed]


def _run(command: list[str]) -> None:
    """Run a command to its end; its first line that says ERROR is the failure."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=alone(), timeout=LONGEST_INSTALLATION
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"installation took over {LONGEST_INSTALLATION:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")]
        raise Failure((errors or lines[-1:] or [f"{command[1]} ended with {done.returncode}"])[0])


def prepare(name: str, peer: dict[str, Any], environments: Path) -> str:
    """Return the interpreter of a peer's environment, made if it is not there as it should be.

    Raises:
        Failure: No interpreter of a version that it needs, or its installation failed.
    """
    if name == OURS:
        return sys.executable
    directory = environments / name
    python = directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = "\n".join([str(peer.get("python")), *requirements(peer)])
    marker = directory / "installed.txt"
    if python.exists() and marker.exists() and marker.read_text() == wanted:
        return str(python)
    shutil.rmtree(directory, ignore_errors=True)
    _run([interpreter(peer.get("python")), "-m", "venv", str(directory)])
    _run([str(python), "-m", "pip", "install", "--quiet", *requirements(peer)])
    marker.write_text(wanted)
    return str(python)
