"""The optimizer beside the reference that it claims to be, step by step, in float64."""

from typing import Any

import numpy as np

from verification.conformance import Recording, judge
from verification.conformance.verdict import Conformance, Verdict
from verification.peers.findings import CANNOT_SEE, DEVIATES, NOTED, OK, Found
from verification.peers.gradients import evaluated, normal
from verification.peers.probes.probe import Probe, raised
from verification.peers.side.run import Record
from verification.peers.subject import Subject

__all__ = ["PROBES"]

STEPS = 30
SHAPES = {"w": (6, 8), "b": (8,)}
MATRICES = {"w": (6, 8), "v": (8, 6)}
# No option has its default, so that each must reach its place.
BASIC = {"learning_rate": 0.3, "b1": 0.85}
ADAMW = {"learning_rate": 0.02, "b1": 0.85, "b2": 0.97, "eps": 1e-6}
FURTHER: dict[str, dict[str, Any]] = {
    "weight decay": {"weight_decay": 0.05},
    "warmup": {"warmup_steps": 6},
    "averaging power": {"averaging_power": 1.5},
}
# Conventions that a release follows, and nobody has argued for.
MISTAKES = {"weight index shift"}
# Some hundred roundings of 6e-8 make this much of the way gone.
AS_FLOAT32 = 1e-5
MATRIX: dict[str, dict[str, Any]] = {
    "muon": {"learning_rate": 0.05, "b1": 0.9},
    "prism": {"learning_rate": 0.05, "b1": 0.9, "gamma": 0.7, "weight_decay": 0.0},
}


def _cases(reference: str) -> dict[str, dict[str, Any]]:
    if reference in MATRIX:
        return {"": MATRIX[reference]}
    base = ADAMW if "adamw" in reference else BASIC
    return {"constant rate": base, **{name: {**base, **more} for name, more in FURTHER.items()}}


def _theirs(subject: Subject, options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the options under the names of the peer; None if it lacks one."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name == "learning_rate":
            continue
        own = subject.entry.names.get(name, name)
        outer, _, place = own.partition(".")
        if outer not in subject.documented:
            return None
        if place:
            pair = list(found.get(outer, (0.9, 0.999)))
            pair[int(place)] = value
            found[outer] = tuple(pair)
        else:
            found[outer] = value
    return found


def lockstep(subject: Subject) -> list[Found]:
    """Take the same steps as the reference, option by option."""
    reference = subject.entry.reference
    if not reference:
        return []
    shapes = MATRICES if reference in MATRIX else SHAPES
    gradients = {
        leaf: normal(STEPS, *shape, seed=seed) for seed, (leaf, shape) in enumerate(shapes.items())
    }
    start = {leaf: normal(*shape, seed=9) for leaf, shape in shapes.items()}
    found = []
    for case, options in _cases(reference).items():
        theirs = _theirs(subject, options)
        if theirs is None:
            continue
        record = subject.run(
            gradients,
            theirs,
            dtypes="float64",
            rate=options["learning_rate"],
            parameters=start,
            wide=True,
        )
        if failed := raised(record, subject):
            found.append(Found(**{**failed.__dict__, "case": case}))
            continue
        assert subject.last is not None
        fed = {leaf: evaluated(text) for leaf, text in subject.texts.gradients.items()}
        conformance = judge(recording(record, fed), reference, {**options, **subject.entry.under})
        found.append(_found(case, conformance, subject))
    return found


def recording(record: Record, fed: dict[str, np.ndarray]) -> Recording:
    """Return what was recorded as a sequence of trees."""

    def trees(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        steps = len(next(iter(arrays.values())))
        return [{leaf: array[t] for leaf, array in arrays.items()} for t in range(steps)]

    return Recording(
        parameters=trees(record.parameters),
        gradients=trees(fed),
        evaluation=trees(record.evaluation) if record.evaluation else None,
    )


def _found(case: str, said: Conformance, subject: Subject) -> Found:
    verdict = {
        Verdict.EQUAL: OK,
        Verdict.CONVENTION: NOTED,
        Verdict.UNDECIDED: CANNOT_SEE,
        Verdict.DIFFERENT: DEVIATES,
    }[said.verdict]
    if MISTAKES & set(said.conventions):
        verdict = DEVIATES
    left = said.departure
    detail = "; ".join([*said.sentences, *([f"leaves the reference at {left}"] if left else [])])
    if left and left.leaf and left.size < AS_FLOAT32:
        detail += "; so do float32 intermediates"
    return Found(
        verdict=verdict,
        case=case,
        effect=left.last if left else said.worst,
        unit="of the way gone, after the last step" if left else "of what rounding explains",
        limit=left.limit if left else 1.0,
        detail=detail or said.reason,
        reproduction=subject.reproduction("print(parameters)") if left else "",
    )


PROBES = (Probe("lockstep", "30 steps in float64 beside the reference, by options", lockstep),)
