"""PRISM beside the package that it replaces, each in an environment of its own.

`python -m benchmarks.peers --output DIR` installs rollfast 0.1.0 with the JAX and Optax of the
running interpreter in a new environment, starts one worker in each, and has them take the same
steps in turn, so that both meet the machine in the same mood. Outputs are compared after timing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from benchmarks import record, shapes

__all__ = ["compare", "main"]

ROOT = Path(__file__).parent.parent
PEER = "rollfast==0.1.0"
CASES = (*shapes.SINGLE_LEAVES, "W1", "W2", "W3")
# The peer knows one table of coefficients and adds a small number to the norm.
OURS: dict[str, Any] = {"ns_coeffs": "jordan", "eps": 1e-8}
BUILDS = 3


class Worker:
    """A process that compiles and times steps, see `benchmarks.peer_worker`."""

    def __init__(self, python: Path | str, options: dict[str, Any], env: dict[str, str]):
        """Start the process; `options` go to every optimizer that it builds."""
        self.options = options
        self.process = subprocess.Popen(
            [str(python), "-m", "benchmarks.peer_worker"],
            cwd=ROOT,
            env={**env, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, action: str, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if action == "build":
            request["options"] = self.options
        print(json.dumps({"action": action, **request}), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker ended in {action!r} with {self.process.wait()}.")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def peer_python(directory: Path) -> Path:
    """Return the interpreter of an environment with the peer, made if it is not there."""
    python = directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(directory, with_pip=True)
        pins = [f"{module.__name__}=={module.__version__}" for module in (jax, optax, np)]
        command = [str(python), "-m", "pip", "install", "--quiet", PEER, *pins]
        subprocess.run(command, check=True)
    return python


@contextmanager
def workers(environment: Path) -> Iterator[tuple[Worker, Worker]]:
    """Run (ours, the peer's)."""
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pair = (
        Worker(sys.executable, OURS, dict(os.environ)),
        Worker(peer_python(environment), {}, alone),
    )
    try:
        yield pair
    finally:
        for worker in pair:
            worker.close()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the distance between the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "iqr": high - low}


def difference(pair: Sequence[Worker], directory: Path) -> float:
    """Return max over leaves of ‖ours - theirs‖ / ‖theirs‖, for the change over one step."""
    outputs = []
    for index, worker in enumerate(pair):
        path = directory / f"{index}.npz"
        worker.ask("save", path=str(path))
        with np.load(path) as file:
            outputs.append(dict(file))
    ours, theirs = outputs
    norm = np.linalg.norm
    return max(float(norm(ours[name] - leaf) / norm(leaf)) for name, leaf in theirs.items())


def compare(pair: Sequence[Worker], name: str, repetitions: int) -> dict[str, Any]:
    """Time both workers in turn on one model, then compare what they returned."""
    builds = [
        [worker.ask(action, **request) for worker in pair]
        for action, request in [("build", {"model": name}), *[("compile", {})] * (BUILDS - 1)]
    ]
    for worker in pair:
        worker.ask("reset")
    rounds = []
    for index in range(repetitions):
        # Who goes first changes, and so does who finds the caches as the other left them.
        order = (0, 1) if index % 2 == 0 else (1, 0)
        rounds.append({side: pair[side].ask("time", count=1) for side in order})
    with tempfile.TemporaryDirectory() as directory:
        relative = difference(pair, Path(directory))
    ratios = {
        clock: [taken[1][clock][0] / taken[0][clock][0] for taken in rounds]
        for clock in ("seconds", "processor_seconds")
    }
    sides = [
        {
            "compile_seconds": spread([build[side]["compile_seconds"] for build in builds]),
            "step_seconds": spread([taken[side]["seconds"][0] for taken in rounds]),
            "fastest_step_seconds": min(taken[side]["seconds"][0] for taken in rounds),
            "temp_bytes": builds[0][side]["temp_bytes"],
        }
        for side in (0, 1)
    ]
    return {
        "case": name,
        "repetitions": repetitions,
        "ours": sides[0],
        "peer": sides[1],
        "step_ratio": spread(ratios["seconds"]),
        # Of the time on all cores, which grows less while other programs have them.
        "processor_ratio": spread(ratios["processor_seconds"]),
        "relative_difference": relative,
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return the results as a table in Markdown."""
    head = ("case", "compile s", "peer", "step ms", "peer", "ratio", "of cores")
    head += ("temp MB", "peer", "error")
    lines = [head, ("---",) + ("---:",) * (len(head) - 1)]
    for result in results:
        sides = (result["ours"], result["peer"])
        lines.append(
            (
                result["case"],
                *(f"{side['compile_seconds']['median']:.2f}" for side in sides),
                *(f"{1e3 * side['step_seconds']['median']:.1f}" for side in sides),
                f"{result['step_ratio']['median']:.2f}",
                f"{result['processor_ratio']['median']:.2f}",
                *(f"{side['temp_bytes'] / 1e6:.1f}" for side in sides),
                f"{result['relative_difference']:.1e}",
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, and write `peers.json` and `peers.md`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--environment",
        type=Path,
        default=Path(tempfile.gettempdir()) / f"peer-{PEER}-jax-{jax.__version__}",
        metavar="DIR",
        help="of the peer; made if it is not there (default: %(default)s)",
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--repetitions", type=int, default=21)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    with workers(options.environment) as pair:
        versions = [worker.ask("versions") for worker in pair]
        results = []
        for name in options.cases:
            results.append(compare(pair, name, options.repetitions))
            print(table(results[-1:]).splitlines()[-1], flush=True)
    document = {
        "command": "python -m benchmarks.peers --output DIR"
        + f" --cases {' '.join(options.cases)} --repetitions {options.repetitions}",
        **record.environment(),
        "versions": {"ours": versions[0], "peer": versions[1]},
        "results": results,
    }
    (options.output / "peers.json").write_text(json.dumps(document, indent=1) + "\n")
    (options.output / "peers.md").write_text(table(results))


if __name__ == "__main__":
    main()
