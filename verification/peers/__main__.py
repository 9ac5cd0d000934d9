"""Put other packages through the same probes: `python -m verification.peers [PEER ...]`.

Each peer of `peers.toml` gets an environment of its own. Ours goes first, as the control: what a
probe says of a peer means nothing if ours fails it too. The outcome is kept beside the report.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verification.peers import known
from verification.peers.crew import Here, Place, Process
from verification.peers.environments import OURS, Failure, prepare
from verification.peers.environments import load as load_environments
from verification.peers.examination import examine
from verification.peers.findings import CANNOT_SEE, FAULTS, Finding
from verification.peers.keeping import FILE, findings_of, read, write
from verification.peers.probes import PROBES
from verification.peers.subject import Entry
from verification.peers.subject import load as load_peers
from verification.peers.table import render

__all__ = ["main"]

PACKAGES = ["jax", "optax", "torch", "numpy", "schedulefree", "heavyball", "kron-torch"]
PACKAGES += ["rollfast", "psgd-jax", "psgdax", "distributed-kron"]
MADE_UP = "given"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m verification.peers", description=__doc__)
    parser.add_argument("peers", nargs="*", metavar="PEER", help="all of peers.toml if not given")
    parser.add_argument(
        "--environments", type=Path, help="where they are kept; new ones if not given"
    )
    parser.add_argument("--output", type=Path, default=FILE, help="where the outcome is kept")
    parser.add_argument("-k", dest="probe", default="", help="probes whose name has this text")
    parser.add_argument("--all", action="store_true", help="list what is ok too")
    given = parser.add_argument_group("an optimizer of this environment that is in no file")
    given.add_argument("--factory", metavar="MODULE:FUNCTION")
    given.add_argument("--family", choices=("schedule_free", "whitening", "orthogonal"))
    given.add_argument("--reference", default="", help="what it claims to be")
    given.add_argument("--evaluation", metavar="MODULE:FUNCTION")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0 if ours passes and nothing that is known was missed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    probes = [probe for probe in PROBES if options.probe in probe.name]
    if options.factory:
        return _one(options, probes, parser)
    peers = load_peers()
    if strange := sorted(set(options.peers) - set(peers)):
        parser.error(f"unknown peers {', '.join(strange)}; known are {', '.join(peers)}")
    chosen = {name: peers[name] for name in options.peers or peers}
    with tempfile.TemporaryDirectory() as temporary:
        findings, versions = _examined(chosen, options.environments or Path(temporary), probes)
    whole = not options.probe
    kept = read(options.output) if whole else {}
    others = [one for one in findings_of(kept) if one.peer not in chosen]
    recalled = known.recall([*others, *findings], known.load())
    print(render(findings, everything=options.all))
    if whole:
        everyone = {**kept.get("versions", {}), **versions}
        write(options.output, [*others, *findings], everyone, recalled)
        print("\n" + "\n".join(recalled.lines()))
    control = (*FAULTS, CANNOT_SEE)
    failed = [one for one in findings if one.peer == OURS and one.verdict in control]
    return 1 if failed or (whole and recalled.missed) else 0


def _one(options: Any, probes: Sequence[Any], parser: argparse.ArgumentParser) -> int:
    """Examine the optimizer that the command line names."""
    if not options.family:
        parser.error("--factory needs --family")
    entry = Entry(
        peer=MADE_UP,
        name=options.factory.rpartition(":")[2],
        factory=options.factory,
        family=options.family,
        reference=options.reference,
        evaluation=options.evaluation,
    )
    findings = list(examine([entry], Here(), "", probes=probes))
    print(render(findings, everything=options.all))
    return 1 if any(one.verdict in FAULTS for one in findings) else 0


def _examined(
    chosen: Mapping[str, Sequence[Entry]], folder: Path, probes: Sequence[Any]
) -> tuple[list[Finding], dict[str, str]]:
    """Return the findings of some peers, and the versions that were installed for each."""
    findings: list[Finding] = []
    versions: dict[str, str] = {}
    environments = load_environments()
    for name, entries in chosen.items():
        try:
            python = prepare(name, environments.get(name, {}), folder)
            place: Place = Process(name, python, entries[0].kind)
            said = place.ask("versions", PACKAGES)
        except Failure as failure:
            versions[name] = f"not installed: {failure}"
            print(f"{name}: {failure}", file=sys.stderr, flush=True)
            continue
        versions[name] = ", ".join(f"{package} {version}" for package, version in said.items())
        findings += examine(entries, place, _version(name, said), probes=probes, say=_say)
        place.close()
    return findings, versions


def _version(peer: str, said: Mapping[str, str]) -> str:
    """Return the version of a peer whose name does not have it."""
    return said.get({OURS: "rollfast"}.get(peer, peer), "")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
