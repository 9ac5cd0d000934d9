"""Put optimizers through the probes."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from verification.peers.crew import Place
from verification.peers.environments import Failure
from verification.peers.findings import CANNOT_SEE, FAILS, Finding, Found
from verification.peers.probes import PROBES, Probe
from verification.peers.side.run import one_line
from verification.peers.subject import Entry, Subject

__all__ = ["examine"]


def examine(
    entries: Sequence[Entry],
    place: Place,
    version: str,
    *,
    probes: Sequence[Probe] = PROBES,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Finding]:
    """Yield what the probes say of the optimizers of one peer.

    Args:
        entries: The optimizers.
        place: Where they run.
        version: Of the peer.
        probes: Those to run, where they fit.
        say: Takes a line of progress.
    """
    for entry in entries:
        subject = Subject(entry, place)
        for probe in probes:
            if probe.families and entry.family not in probe.families:
                continue
            if entry.only and probe.name not in entry.only:
                continue
            began = time.perf_counter()
            for found in _results(subject, probe):
                said: dict[str, Any] = {**found.__dict__, "reproduction": _explained(found)}
                who: dict[str, Any] = {
                    "peer": entry.peer,
                    "version": version,
                    "optimizer": entry.name,
                }
                yield Finding(probe=probe.name, **who, **said)
            if subject.broken:
                # All others would say so again.
                break
            say(f"{entry.peer} {entry.name}: {probe.name}, {time.perf_counter() - began:.1f} s")


def _explained(found: Found) -> str:
    """Return the reproduction with what is to be seen in it."""
    if not found.reproduction:
        return ""
    effect = "" if found.effect is None else f"{found.effect:.3g} {found.unit}"
    return f"{found.reproduction}\n# {'; '.join(filter(None, [found.detail, effect]))}"


def _results(subject: Subject, probe: Probe) -> Sequence[Found]:
    try:
        return probe.function(subject)
    except Failure as failure:
        return [Found(verdict=FAILS, detail=str(failure))]
    except Exception as error:
        # The peer is not to blame, and all that was found before must not be lost.
        return [Found(verdict=CANNOT_SEE, detail=f"the probe raises {one_line(error)}")]
