"""Putting results together into the document that the report is made of."""

import datetime
import importlib.metadata
import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from typing import Any

from verification import citation, registry
from verification.report.reproductions import PACKAGE, digest
from verification.results import Result, Verdict

__all__ = ["SCHEMA", "compose", "provenance", "tree_of_sources"]

SCHEMA = 1
PACKAGES = ("jax", "jaxlib", "optax", "numpy", "scipy")


def compose(
    results: Sequence[Result],
    faults: Sequence[dict[str, Any]],
    seed: int,
    command: str,
    reproductions: Sequence[dict[str, Any]] = (),
    tree: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the document of a run.

    Args:
        results: Results of all checks.
        faults: Outcome of every fault tried.
        seed: Seed of the inputs.
        command: What was typed.
        reproductions: Results of papers that were measured again, by this run or before it.
        tree: What `tree_of_sources` said before the run; what it says now, if none is given.
    """
    counts = Counter(result.verdict for result in results)
    shown = {result.name for result in results} | {fault["target"] for fault in faults}
    return {
        "schema": SCHEMA,
        "summary": {
            "passed": counts[Verdict.PASS],
            "failed": counts[Verdict.FAIL],
            "mistrusted": counts[Verdict.MISTRUSTED],
            "skipped": counts[Verdict.SKIPPED],
            "faults_caught": sum(fault["caught"] for fault in faults),
            "faults_total": len(faults),
        },
        "versions": _versions(),
        "device": _device(),
        "date": _today(),
        "seed": seed,
        "command": command,
        **(tree or tree_of_sources()),
        "names": [_name(name) for name in registry.reference_names() if name in shown],
        "results": [result.as_dict() for result in results],
        "faults": list(faults),
        "reproductions": list(reproductions),
    }


def tree_of_sources() -> dict[str, Any]:
    """Return the commit, where known, and digests of both halves as they lie there now."""
    reference, production = digest(registry.ROOT / registry.REFERENCE), digest(PACKAGE)
    return {"commit": _commit(), "sources": {"reference": reference, "production": production}}


def provenance(command: str) -> str:
    """Return when, with what and by which command something is measured now."""
    versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
    return f"{_today()}, {versions}, on {_device()}, by {command!r}."


def _commit() -> str | None:
    """Return what git calls the sources, with `-dirty` where they were changed; None unknown."""
    if not (registry.ROOT / ".git").exists():
        return None
    command = ["git", "describe", "--tags", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, cwd=registry.ROOT, capture_output=True, text=True)
    except OSError:  # There is no git.
        return None
    return done.stdout.strip() or None


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _versions() -> dict[str, str]:
    from rollfast import __version__

    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **found, "rollfast": __version__}


def _device() -> str:
    import jax

    device = jax.devices()[0]
    return f"{device.platform} ({device.device_kind}, {platform.machine()})"


def _name(name: str) -> dict[str, str]:
    path = name.rpartition(".")[0].replace(".", "/") + ".py"
    note = registry.notes().get(name)
    return {
        "name": name,
        "reference": f"reference/{path}",
        "production": f"packages/rollfast/src/rollfast/{path}",
        "note": note.path if note else "",
        "equation": note.equation if note else "",
        "source": note.source if note else "",
        "citation": citation.bibtex(name) if note else "",
    }
