"""Processes that try mutants, and are started anew where a mutant has ended one."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from verification.mutation.judging import WHOLE, Judgement
from verification.mutation.mutant import Mutant

__all__ = ["judged_by_several"]

# A spawned process first imports JAX and traces what it needs, a trial may end late.
PATIENCE = 3 * WHOLE
_CONTEXT = get_context("spawn")

Verdict = Callable[[Mutant], Judgement]


def judged_by_several(
    batches: Sequence[Sequence[Mutant]], make: Callable[[], Verdict], processes: int
) -> Iterator[Judgement]:
    """Yield what becomes of mutants, in their order.

    Args:
        batches: Mutants that one process takes one after another.
        make: Called once in each process, returns what tries a mutant; it is sent there.
        processes: How many work at a time.
    """
    workers = [_Worker(make) for _ in range(processes)]
    free: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def judged(batch: Sequence[Mutant]) -> list[Judgement]:
        worker = free.get()
        try:
            return [worker.judge(mutant) for mutant in batch]
        finally:
            free.put(worker)

    try:
        with ThreadPoolExecutor(processes) as threads:
            for found in threads.map(judged, batches):
                yield from found
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process, and a way to it."""

    def __init__(self, make: Callable[[], Verdict]):
        self._make = make
        self._process: Any = None
        self._connection: Connection | None = None

    def judge(self, mutant: Mutant) -> Judgement:
        """Have a mutant tried; one that ends the process, or never ends, is killed."""
        connection = self._started()
        start = time.perf_counter()
        try:
            connection.send(mutant)
            if connection.poll(PATIENCE):
                return self._told(connection.recv())
            how = f"not done after {PATIENCE:g} s"
        except (EOFError, BrokenPipeError, ConnectionResetError):
            how = "it ended the process"
        self.end()
        return Judgement(mutant, True, how, time.perf_counter() - start)

    @staticmethod
    def _told(answer: Judgement | Exception) -> Judgement:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _started(self) -> Connection:
        if self._connection is None:
            self._connection, there = _CONTEXT.Pipe()
            self._process = _CONTEXT.Process(target=_work, args=(there, self._make), daemon=True)
            self._process.start()
            there.close()
        return self._connection

    def end(self) -> None:
        """Stop the process; a next mutant starts another."""
        if self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
        self._process = self._connection = None


def _work(connection: Connection, make: Callable[[], Verdict]) -> None:
    """Judge what is sent, until nothing more can come."""
    judge = make()
    while True:
        try:
            mutant = connection.recv()
        except EOFError:
            return
        try:
            connection.send(judge(mutant))
        except Exception as error:  # What fails here is the judge: it says nothing of the mutant.
            connection.send(error)
