"""What a probe is, and what several of them share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from verification.peers.findings import FAILS, Found
from verification.peers.gradients import normal
from verification.peers.side.run import Record
from verification.peers.subject import Subject

__all__ = ["STEPS", "TREE", "Probe", "not_finite", "raised", "rms", "tree"]

STEPS = 30
# A matrix with one axis that is dense by all rules of size, and a vector.
TREE = {"w": (6, 8), "b": (8,)}


@dataclass(frozen=True)
class Probe:
    """A behavior that every optimizer of some families should have.

    Attributes:
        name: A few words.
        what: What is fed, what is looked at, and where the limit comes from.
        function: Subject -> what was found: nothing where it does not apply.
        families: Those that it is for; all if empty.
    """

    name: str
    what: str
    function: Callable[[Subject], Sequence[Found]]
    families: tuple[str, ...] = ()


def tree(steps: int = STEPS, seed: int = 0) -> dict[str, str]:
    """Return normal gradients for `TREE`."""
    return {leaf: normal(steps, *shape, seed=seed) for leaf, shape in TREE.items()}


def raised(record: Record, subject: Subject, show: str = "print(update)") -> Found | None:
    """Return "fails" if something was raised, else None."""
    if not record.raised:
        return None
    detail = f"{record.stage} raises {record.raised}"
    return Found(verdict=FAILS, detail=detail, reproduction=subject.reproduction(show))


def not_finite(record: Record) -> float:
    """Return the share of parameters that are not finite after the last step."""
    last = np.concatenate([values[-1].ravel() for values in record.parameters.values()])
    return float(np.mean(~np.isfinite(last))) if last.size else 0.0


def rms(values: np.ndarray) -> float:
    """Return the root mean square of the absolute values."""
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))
