"""All results that are measured again, and running them."""

import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

from verification.reproductions import delayed_xor, logistic, rosenbrock, rosenbrock_many
from verification.reproductions.experiments import EXPERIMENTS, REFERENCE, judge, measure
from verification.reproductions.reproduction import Reproduction

__all__ = ["REPRODUCTIONS", "chosen", "reproduce"]


def _fitting(position: int) -> Reproduction:
    experiment = EXPERIMENTS[position]
    # PSGD takes longest.
    parts = {label: 60.0 if label.startswith("PSGD") else 20.0 for label in experiment.methods}
    return Reproduction(
        experiment.title,
        parts | {REFERENCE: 5.0},
        partial(measure, position),
        partial(judge, experiment),
    )


REPRODUCTIONS = (
    *(_fitting(position) for position in range(len(EXPERIMENTS))),
    rosenbrock.REPRODUCTION,
    rosenbrock_many.REPRODUCTION,
    delayed_xor.REPRODUCTION,
    logistic.REPRODUCTION,
)


def chosen(pattern: str = "") -> tuple[Reproduction, ...]:
    """Return the reproductions that have a pattern in their title, in any case of letters."""
    return tuple(one for one in REPRODUCTIONS if pattern.lower() in one.title.lower())


def _timed(title: str, label: str) -> tuple[Any, float]:
    """Return what a part measured, and in how many seconds.

    Args:
        title: Of the reproduction, so that it can be sent to a process.
        label: Of the part.
    """
    (one,) = (one for one in REPRODUCTIONS if one.title == title)
    start = time.perf_counter()
    found = one.measure(label)
    return found, time.perf_counter() - start


def reproduce(processes: int = 2, pattern: str = "") -> list[dict[str, Any]]:
    """Run reproductions and return their entries of the report.

    Args:
        processes: Number of worker processes.
        pattern: Part of the title of those to run.
    """
    todo = [(one.parts[label], one.title, label) for one in chosen(pattern) for label in one.parts]
    todo.sort(reverse=True)
    # A forked process would share the threads of JAX, which cannot be shared.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        futures = {task[1:]: pool.submit(_timed, *task[1:]) for task in todo}
        found = {task: future.result() for task, future in futures.items()}
    return [
        _entry(one, {label: found[one.title, label] for label in one.parts})
        for one in chosen(pattern)
    ]


def _entry(one: Reproduction, found: Mapping[str, tuple[Any, float]]) -> dict[str, Any]:
    """Return an entry with the seconds of its parts, which run beside each other, added up."""
    entry = one.entry({label: measured for label, (measured, _) in found.items()})
    return {**entry, "seconds": sum(seconds for _, seconds in found.values())}
