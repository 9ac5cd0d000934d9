"""The processes that run in the environments of the peers, and what they are asked for."""

import json
import os
import queue
import subprocess
import threading
import tomllib
from typing import Any

from verification.peers.environments import OURS, ROOT, Failure, alone, interpreter, prepare
from verification.peers.environments import load as load_environments

__all__ = ["OURS", "Failure", "Worker", "interpreter", "load", "prepare"]

LONGEST_ANSWER = 900.0


def load() -> dict[str, dict[str, Any]]:
    """Return a peer's name to its requirements and its rows in `peers.toml`."""
    path = ROOT / "benchmarks" / "peers.toml"
    environments = load_environments()
    return {
        name: {**environments.get(name, {}), **peer}
        for name, peer in tomllib.loads(path.read_text(encoding="utf-8")).items()
    }


class Worker:
    """A process that compiles and times steps, see `benchmarks.peer_worker`."""

    def __init__(self, name: str, python: str):
        """Start the process in the environment of `python`."""
        env = dict(os.environ) if name == OURS else alone()
        # The threads of OpenBLAS fight those of XLA: one for everyone, ours and theirs.
        env.update(JAX_PLATFORMS="cpu", OPENBLAS_NUM_THREADS="1")
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.peer_worker"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        self.said = ""
        for read in (self._listen, self._overhear):
            threading.Thread(target=read, daemon=True).start()

    def _listen(self) -> None:
        """Pass answers on; an empty line stands for the end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def _overhear(self) -> None:
        """Keep the last line that the process wrote to its errors."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said = line.strip() or self.said

    def ask(self, action: str, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            Failure: The worker says so, is silent for too long, or has ended.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"action": action, **request}) + "\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=LONGEST_ANSWER)
        except queue.Empty:
            self.close()
            raise Failure(f"no answer to {action!r} within {LONGEST_ANSWER:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            code = self.process.wait()
            raise Failure(f"the process ended with {code} in {action!r}: {self.said}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failure(answer["error"])
        return answer

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """End the process, and that at once."""
        self.process.kill()
        self.process.wait()
