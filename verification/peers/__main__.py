"""Run the checks of every installed peer: `python -m verification.peers [PEER ...]`."""

import argparse
import platform
import textwrap
from importlib import metadata

from verification.peers import optax_contrib, schedulefree_torch
from verification.peers.checks import Outcome, Peer, run_check
from verification.peers.table import difference_line, limit_line, render, rows
from verification.problems import problem

PEERS = {peer.name: peer for peer in (schedulefree_torch.PEER, optax_contrib.PEER)}
PROBLEM = "digits_mlp"
STEPS = 200
WIDTH = 110


def outcomes_of(peer: Peer, steps: int) -> list[Outcome]:
    """All outcomes of a peer; none where it is not installed."""
    if peer.versions() is None:
        return []
    return [
        outcome for check in peer.checks() for outcome in run_check(check, problem(PROBLEM), steps)
    ]


def versions_line() -> str:
    """Versions of everything that took part."""
    names = {"jax", "numpy"}
    for peer in PEERS.values():
        names |= set(peer.versions() or ())
    found = [f"{name} {metadata.version(name)}" for name in sorted(names)]
    return ", ".join([f"python {platform.python_version()}", *found])


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 0 if every claim holds and every peer that was asked for is installed."""
    parser = argparse.ArgumentParser(prog="python -m verification.peers", description=__doc__)
    parser.add_argument(
        "peers", nargs="*", metavar="PEER", help=f"peers that must be there: {', '.join(PEERS)}"
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.peers) - set(PEERS))
    if unknown:
        parser.error(f"unknown peers {', '.join(unknown)}; known are {', '.join(PEERS)}")
    if options.steps < 1:
        parser.error(f"--steps is {options.steps}; it must be at least 1")

    found = {name: outcomes_of(peer, options.steps) for name, peer in PEERS.items()}
    print(render([row for name, peer in PEERS.items() for row in rows(peer, found[name])]))
    print(f"problem {PROBLEM}, gradients at each party's own y, float64; {versions_line()}")
    outcomes = [outcome for each in found.values() for outcome in each]
    for line in (limit_line(), *filter(None, map(difference_line, outcomes))):
        print(textwrap.fill(line, WIDTH, subsequent_indent="    "))

    failed = sum(not outcome.as_claimed for outcome in outcomes)
    absent = [name for name in options.peers if PEERS[name].versions() is None]
    print(f"{len(outcomes) - failed} as claimed, {failed} not as claimed")
    if absent:
        print(f"asked for but not installed: {', '.join(absent)}")
    return 1 if failed or absent else 0


if __name__ == "__main__":
    raise SystemExit(main())
