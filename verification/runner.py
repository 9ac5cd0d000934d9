"""Running all checks, on several processes, and gathering what they leave."""

import fnmatch
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

from verification.compiler import add_flags, compile_quickly
from verification.registry import reference_names
from verification.results import FLOAT64, Result, Verdict
from verification.wide_numbers import enable_x64

__all__ = ["Options", "Task", "outcomes", "prepare", "run", "tasks"]

FAULTS_TOGETHER = 12


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        pattern: Part of the title, or a pattern with `*`, of the checks to run; all if empty.
        dtypes: Dtypes to run in.
        seed: Seed of all inputs.
        long: Whether trajectories take ten times as many steps.
        faults: Whether to try the catalogue of faults.
        processes: Number of worker processes.
    """

    pattern: str = ""
    dtypes: tuple[str, ...] = (FLOAT64, "float32", "bfloat16")
    seed: int = 0
    long: bool = False
    faults: bool = True
    processes: int = min(2, os.cpu_count() or 1)


@dataclass(frozen=True)
class Task:
    """One check in one dtype, or one fault; by position, so that it can be sent to a process."""

    kind: str
    position: int
    dtype: str
    title: str


def matches(title: str, pattern: str) -> bool:
    """Say whether a title is that of a dotted name, or has the pattern in it."""
    if pattern in reference_names():
        return title.split(" ")[0] == pattern
    return pattern in title or fnmatch.fnmatch(title, pattern)


def tasks(options: Options) -> list[Task]:
    """Return what is to be run."""
    from verification.cases import all_checks
    from verification.faults import CATALOGUE

    found = [
        Task("check", position, dtype, check.title)
        for position, check in enumerate(all_checks())
        for dtype in check.dtypes
        if dtype in options.dtypes and matches(check.title, options.pattern)
    ]
    if options.faults and FLOAT64 in options.dtypes:
        found += [
            Task("fault", position, FLOAT64, f"{fault.target} {fault.name}")
            for position, fault in enumerate(CATALOGUE)
            if matches(fault.target, options.pattern)
        ]
    return found


def prepare(*, optimized: bool = False) -> None:
    """Set up JAX in this process: on its own devices, eight of them on a CPU.

    Args:
        optimized: Whether XLA optimizes what it compiles, as it does by default.
    """
    add_flags("--xla_force_host_platform_device_count=8")
    if not optimized:
        compile_quickly()


def perform(task: Task, options: Options) -> Any:
    """Run one task in this process."""
    return _try_fault(task, options) if task.kind == "fault" else _check(task, options)


def _check(task: Task, options: Options) -> list[Result]:

    from verification.cases import all_checks

    check = all_checks()[task.position]
    more = {"long": True} if options.long and hasattr(check, "steps") else {}
    start = time.perf_counter()
    with enable_x64(task.dtype == FLOAT64):
        try:
            results = check.run(task.dtype, options.seed, **more)
        except Exception as error:  # Whatever production raises is a finding about it.
            results = [_raised(check.name, task, error)]
    seconds = time.perf_counter() - start
    command = (
        f"python -m verification run -k '{task.title}' --dtype {task.dtype} --seed {options.seed}"
        f"{' --long' if options.long else ''} --no-faults"
    )
    return [replace(result, seconds=seconds, reproduce=command) for result in results]


def _raised(name: str, task: Task, error: Exception) -> Result:
    return Result(
        name=name,
        kind="case",
        dtype=task.dtype,
        verdict=Verdict.FAIL,
        error=float("inf"),
        budget=0.0,
        unit="eps",
        reason="nothing may be raised",
        label=task.title.removeprefix(name).strip(),
        detail=f"{type(error).__name__}: {error}",
    )


def _try_fault(task: Task, options: Options) -> dict[str, Any]:
    from verification.cases import all_checks
    from verification.conviction import Conviction, by_relevance, convict, edited
    from verification.faults import CATALOGUE

    fault = CATALOGUE[task.position]
    checks = by_relevance(all_checks(), fault.target, fault.also)
    checks.sort(key=lambda check: not fault.first or fault.first not in check.title)
    try:
        source = edited(fault.edited, fault.old, fault.new)
        found = convict(fault.edited, source, checks, options.seed, raising_counts=False)
    except ValueError as error:  # The text is no longer there: the entry has outlived its line.
        found = Conviction(False, str(error))
    return {
        "name": fault.name,
        "target": fault.target,
        "source": fault.source,
        "caught": found.caught,
        "by": found.by,
        "error": found.error,
        "seconds": found.seconds,
    }


def run(
    options: Options, progress: Callable[[int, int, Task], None]
) -> tuple[list[Result], list[dict[str, Any]]]:
    """Run all tasks and return (results, faults), in the order of the declarations.

    Args:
        options: What to run.
        progress: Called with (done, total, task) as each task ends.
    """
    todo = tasks(options)
    found: dict[Task, Any] = {}
    for done, (task, outcome) in enumerate(outcomes(todo, options), start=1):
        found[task] = outcome
        progress(done, len(todo), task)
    results = [result for task in todo if task.kind == "check" for result in found[task]]
    return results, [found[task] for task in todo if task.kind == "fault"]


def outcomes(todo: Sequence[Task], options: Options) -> Iterator[tuple[Task, Any]]:
    """Yield (task, what it left) as tasks end."""
    prepare(optimized=options.long)
    if options.processes <= 1 or len(todo) <= 2:
        for task in todo:
            yield task, perform(task, options)
        return
    # A forked process would share the threads of JAX, which cannot be shared.
    start = partial(prepare, optimized=options.long)
    with ProcessPoolExecutor(options.processes, get_context("spawn"), start) as pool:
        futures: dict[Future[Any], list[Task]] = {
            pool.submit(_perform_all, batch, options): batch for batch in _batches(todo)
        }
        for future in as_completed(futures):
            yield from zip(futures[future], future.result(), strict=True)


def _batches(todo: Sequence[Task]) -> Iterator[list[Task]]:
    """Yield what one process takes at a time: neighbouring faults are tried on the same checks."""
    faults = [task for task in todo if task.kind == "fault"]
    yield from ([task] for task in todo if task.kind != "fault")
    for first in range(0, len(faults), FAULTS_TOGETHER):
        yield faults[first : first + FAULTS_TOGETHER]


def _perform_all(batch: Sequence[Task], options: Options) -> list[Any]:
    return [perform(task, options) for task in batch]
