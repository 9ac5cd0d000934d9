"""Where the optimizers of a peer run: a process in its environment, or this one."""

import contextlib
import os
import pickle
import queue
import subprocess
import threading
from typing import Any, Protocol

from verification.peers.environments import OURS, ROOT, Failure, alone
from verification.peers.side.answers import Side

__all__ = ["Here", "Place", "Process"]

LONGEST_ANSWER = 300.0


class Place(Protocol):
    """Somewhere to send requests to, see `side.answers`."""

    def ask(self, action: str, subject: Any) -> Any:
        """Return the answer.

        Raises:
            Failure: There is none.
        """

    def close(self) -> None:
        """End what was started."""


class Here:
    """The running interpreter, for optimizers that are installed in it."""

    def __init__(self, kind: str = "optax"):
        """Run optimizers of a kind."""
        self._side = Side(kind)

    def ask(self, action: str, subject: Any) -> Any:
        """Return the answer."""
        return self._side.answer((action, subject))

    def close(self) -> None:
        """Do nothing: nothing was started."""


class Process:
    """A process in a peer's environment; a new one is started after one has ended."""

    def __init__(self, name: str, python: str, kind: str):
        """Name the peer, its interpreter and the kind of its optimizers."""
        self._name, self._command = name, [python, "-m", "verification.peers.side", kind]
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[Any] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._said = ""

    def _start(self) -> subprocess.Popen[bytes]:
        env = dict(os.environ) if self._name == OURS else alone()
        # Compilers of PyTorch are not what is examined, and take minutes.
        env.update(JAX_PLATFORMS="cpu", TORCHDYNAMO_DISABLE="1")
        # On matrices this small, threads wait for each other.
        env.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
        process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        answers: queue.Queue[Any] = queue.Queue()
        self._process, self._answers = process, answers
        self._threads = [
            threading.Thread(target=read, args=(process, answers), daemon=True)
            for read in (self._listen, self._overhear)
        ]
        for thread in self._threads:
            thread.start()
        return process

    def _listen(self, process: subprocess.Popen[bytes], answers: queue.Queue[Any]) -> None:
        assert process.stdout is not None
        try:
            while True:
                answers.put(pickle.load(process.stdout))
        except Exception:
            answers.put(None)

    def _overhear(self, process: subprocess.Popen[bytes], _: queue.Queue[Any]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self._said = line.decode(errors="replace").strip() or self._said

    def ask(self, action: str, subject: Any) -> Any:
        """Return the answer.

        Raises:
            Failure: The process has ended, or was silent for too long and was ended.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            pickle.dump((action, subject), process.stdin)
            process.stdin.flush()
            answer = self._answers.get(timeout=LONGEST_ANSWER)
        except queue.Empty:
            self.close()
            raise Failure(f"no answer within {LONGEST_ANSWER:.0f} s") from None
        except OSError:
            answer = None
        if answer is None:
            code = process.wait()
            self.close()
            raise Failure(f"the process ended with {code}: {self._said}")
        return answer

    def close(self) -> None:
        """End the process, and that at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for thread in self._threads:
                thread.join()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                assert pipe is not None
                # What it has not read is lost with it.
                with contextlib.suppress(OSError):
                    pipe.close()
            self._process = None
