"""Schedule-Free's average, seen through y and x alone.

With y = (1-b)z + bx, two successive pairs (y, x) give z and with it the weight
c_t = <x_t - x_{t-1}, z_t - x_{t-1}> / |z_t - x_{t-1}|^2. At a constant learning rate it is 1/t.
"""

from typing import Any

import numpy as np

from verification.peers.findings import CANNOT_SEE, DEVIATES, NOTED, OK, Found, at_most
from verification.peers.gradients import normal
from verification.peers.probes.probe import Probe, raised
from verification.peers.side.run import Record
from verification.peers.subject import Subject

__all__ = ["PROBES", "weights"]

INTERPOLATIONS = ("sf_b1", "b1", "momentum")
LONG = 2000
SHAPE = (6, 8)
SMALL = 1e-4


def _interpolation(subject: Subject) -> tuple[str, Any] | None:
    """Return the option that is Schedule-Free's b, and its default."""
    for name in INTERPOLATIONS:
        said = subject.documented.get(name)
        if said and said["kind"] == "float":
            return name, said["default"]
    return None


def _with_interpolation(subject: Subject, value: float) -> dict[str, Any] | None:
    named = _interpolation(subject)
    if named is not None:
        return {named[0]: value}
    # A pair of numbers, the second of which belongs to Adam.
    return {"betas": (value, 0.999)} if "betas" in subject.documented else None


def weights(record: Record, b: float) -> np.ndarray:
    """Return c_t of the leaf "w" at each step from the second."""
    assert record.evaluation is not None
    x, y = record.evaluation["w"], record.parameters["w"][1:]
    z = (y - b * x) / (1.0 - b)
    found = []
    for t in range(1, len(x)):
        toward = z[t] - x[t - 1]
        found.append(np.vdot(toward, x[t] - x[t - 1]) / np.vdot(toward, toward))
    return np.array(found)


def _run(subject: Subject, steps: int, b: float, neighbor: str, rate: float) -> Record | None:
    """Feed normal gradients to a float32 leaf beside another; None where b has no name."""
    options = _with_interpolation(subject, b)
    if options is None or subject.entry.scheduled or (subject.bare and neighbor != "float32"):
        return None
    if subject.entry.under:
        # Its weights follow a bias correction, and are compared step by step.
        return None
    gradients = {"w": normal(steps, *SHAPE), "b": normal(steps, 8, seed=1)}
    dtypes = {"w": "float32", "b": neighbor}
    return subject.run(gradients, options, dtypes=dtypes, rate=rate)


def long_average(subject: Subject) -> list[Found]:
    """Measure the weight of step 2000, beside leaves of each precision."""
    found = []
    for neighbor, rate in (("float32", 0.01), ("bfloat16", 0.01), ("float16", SMALL)):
        record = _run(subject, LONG, 0.9, neighbor, rate)
        if record is None:
            continue
        case = f"beside {neighbor}, rate {rate}"
        if failed := raised(record, subject):
            found.append(Found(**{**failed.__dict__, "case": case}))
            continue
        measured = float(np.median(weights(record, 0.9)[-50:]))
        expected = float(np.median(1.0 / np.arange(LONG - 49, LONG + 1)))
        # c is the quotient of a step of x by |z - x|: float32 leaves some 2 % of so short a step.
        found.append(
            at_most(
                abs(measured / expected - 1.0),
                0.1,
                "of the weight 1/t at step 2000",
                f"c = {measured:.5f} where 1/t = {expected:.5f}",
                case=case,
                reproduction=subject.reproduction("print(state)"),
            )
        )
    return found


def evaluation(subject: Subject) -> list[Found]:
    """Measure the weight of step 2, which is 1/2, with b = 0.98, which bfloat16 cannot hold."""
    found = []
    for neighbor in ("float32", "bfloat16"):
        record = _run(subject, 2, 0.98, neighbor, 0.01)
        if record is None:
            continue
        if failed := raised(record, subject):
            return [failed]
        measured = float(weights(record, 0.98)[0])
        # z is 1/(1-b) = 50 times the rounding of y and x, 6e-8 of their size.
        found.append(
            at_most(
                abs(2.0 * measured - 1.0),
                1e-3,
                "of the weight 1/2 at step 2",
                "" if abs(2.0 * measured - 1.0) <= 1e-3 else "x is not that of y = (1-b)z + bx",
                case=f"beside {neighbor}",
                reproduction=subject.reproduction("print(state)"),
            )
        )
    return found


def without_interpolation(subject: Subject) -> list[Found]:
    """Set b = 0, Polyak's average: y is z, and x the mean of all of them."""
    options = _with_interpolation(subject, 0.0)
    if options is None or subject.entry.scheduled:
        return []
    record = subject.run({"w": normal(30, *SHAPE)}, options, rate=0.01)
    if record.raised:
        detail = f"b = 0 is refused: {record.raised}"
        return [Found(verdict=CANNOT_SEE, detail=detail)]
    assert record.evaluation is not None
    z, x = record.parameters["w"][1:], record.evaluation["w"]
    mean = np.cumsum(z, axis=0) / np.arange(1, len(z) + 1)[:, None, None]
    error = float(np.linalg.norm(x[-1] - mean[-1]) / np.linalg.norm(mean[-1]))
    if not np.isfinite(error):
        return [
            Found(
                verdict=DEVIATES,
                detail="with b = 0, Polyak's average, x is not finite",
                reproduction=subject.reproduction("print(state)"),
            )
        ]
    detail = "with b = 0, Polyak's average, x is not the mean of z" if error > 1e-4 else ""
    # 30 additions in float32 make at most 30 of its roundings of 6e-8.
    return [at_most(error, 1e-4, "of |x|", detail, reproduction=subject.reproduction())]


def schedule(subject: Subject) -> list[Found]:
    """Measure the weight of the last step of a schedule, where it has one of its own."""
    named = _interpolation(subject)
    if not subject.entry.scheduled or named is None:
        return []
    steps = 100
    record = subject.run({"w": normal(steps, *SHAPE)}, rate=0.01)
    if failed := raised(record, subject):
        return [failed]
    last = float(weights(record, named[1])[-1]) * steps
    return [
        Found(
            verdict=OK if last > 0.5 else NOTED,
            effect=last,
            unit="of an equal weight 1/t, after the last step of the decay",
            detail="" if last > 0.5 else "the iterates of the decay hardly count in the average",
            reproduction=subject.reproduction("print(state)"),
        )
    ]


FAMILY = ("schedule_free",)
PROBES = (
    Probe("long average", "the averaging weight at step 2000 is 1/2000", long_average, FAMILY),
    Probe("evaluation", "x, y and the weight of step 2 agree with one b", evaluation, FAMILY),
    Probe(
        "weights of a schedule",
        "the last iterate of a schedule, beside equal weights",
        schedule,
        FAMILY,
    ),
    Probe("b = 0", "Polyak's average is the mean of all iterates", without_interpolation, FAMILY),
)
