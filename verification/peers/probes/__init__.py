"""What every optimizer of every peer is put through."""

from verification.peers.probes import (
    averages,
    boundaries,
    lockstep,
    options,
    orthogonal,
    whitening,
)
from verification.peers.probes.probe import Probe as Probe

PROBES: tuple[Probe, ...] = (
    *boundaries.PROBES,
    *lockstep.PROBES,
    *options.PROBES,
    *averages.PROBES,
    *whitening.PROBES,
    *orthogonal.PROBES,
)
