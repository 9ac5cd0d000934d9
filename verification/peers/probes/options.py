"""Options: those that are documented work, others are refused, and each has an effect."""

from typing import Any

import numpy as np

from verification.peers.findings import DEVIATES, FAILS, OK, Found
from verification.peers.gradients import normal
from verification.peers.probes import whitening
from verification.peers.probes.probe import TREE, Probe, raised, tree
from verification.peers.subject import Subject

__all__ = ["PROBES"]

# A limit that is not reached has no effect, and names and dtypes belong to the framework.
LIMITS = ("clip", "max", "min", "eps", "damp", "norm", "size", "skew", "rate", "power", "scale")
FOREIGN = ("axis_name", "dtype", "precision", "clipping", "ecc", "key", "seed")


def documented(subject: Subject) -> list[Found]:
    """Build and step with each string that signature or documentation names."""
    found = []
    for name, said in subject.documented.items():
        if name == "axis_name" or "precision" in name:
            continue
        for value in said["values"]:
            record = subject.run(_shared(subject), {name: value}, plain=True)
            failed = raised(record, subject)
            case = f"{name}={value!r}"
            if failed:
                found.append(Found(**{**failed.__dict__, "case": case}))
    if not found and any(said["values"] for said in subject.documented.values()):
        return [Found(verdict=OK)]
    return found


def _shared(subject: Subject) -> dict[str, str]:
    """Return gradients of a shape that other probes compile with the same options anyway."""
    if subject.entry.family == "whitening":
        return {"w": normal(2, *whitening.SHAPE)}
    return {"w": tree(2)["w"]}


def unknown(subject: Subject) -> list[Found]:
    """Pass a string that names nothing to each option that takes strings."""
    found = []
    for name, said in subject.documented.items():
        if not said["text"] or any(part in name for part in FOREIGN):
            continue
        record = subject.run(tree(2), {name: "no_such_value"})
        if record.raised:
            found.append(Found(verdict=OK, case=name, detail=record.raised))
        else:
            found.append(
                Found(
                    verdict=DEVIATES,
                    case=name,
                    detail=f"{name}='no_such_value' is accepted, and nothing is said",
                    reproduction=subject.reproduction(),
                )
            )
    return found


def without_effect(subject: Subject) -> list[Found]:
    """Halve each number, and see whether anything changes."""
    gradients = tree()
    start = {leaf: f"np.ones({TREE[leaf]})" for leaf in gradients}
    first = subject.run(gradients, parameters=start)
    if first.raised:
        return []
    found = []
    flags = [name for name, said in subject.documented.items() if said["kind"] == "bool"]
    flags = [word for name in flags for word in name.split("_") if len(word) > 3]
    for name, said in subject.documented.items():
        other = _other(name, said)
        if any(word in name.split("_") for word in flags):
            # It belongs to something that is switched on or off.
            continue
        if other is None or name == subject.entry.rate or name in subject.entry.options:
            continue
        record = subject.run(gradients, {name: other}, parameters=start)
        if record.raised:
            continue
        same = all(np.array_equal(record.parameters[k], v) for k, v in first.parameters.items())
        same &= first.evaluation is None or all(
            np.array_equal(record.evaluation[k], v)
            for k, v in first.evaluation.items()
            if record.evaluation is not None
        )
        if same:
            detail = f"{name}={other} gives what {name}={said['default']} gives, to the last bit"
            found.append(
                Found(
                    verdict=DEVIATES,
                    case=name,
                    effect=0.0,
                    unit="change of the parameters",
                    detail=detail,
                    reproduction=subject.reproduction(),
                )
            )
    return found or [Found(verdict=OK)]


def _other(name: str, said: dict[str, Any]) -> float | None:
    """Return another value of a number that must have an effect, or None."""
    if said["kind"] != "float" or any(part in name for part in (*LIMITS, *FOREIGN)):
        return None
    return 0.5 * said["default"] if said["default"] else None


def rows_and_iterations(subject: Subject) -> list[Found]:
    """Give tables of coefficients of several lengths, and numbers of iterations beside them."""
    table = next((name for name in subject.documented if name == "ns_coeffs"), "")
    iterations = next((n for n in subject.documented if n in ("ns_steps", "ns_iters")), "")
    if not (table and iterations):
        return []
    row = (2.0, -1.5, 0.5)
    outcomes = {}
    for rows in (3, 5, 8):
        for steps in (3, 5, 8):
            options: dict[str, Any] = {table: (row,) * rows, iterations: steps}
            record = subject.run({"w": tree(1)["w"]}, options, plain=True)
            outcomes[rows, steps] = record
    refused = [pair for pair, record in outcomes.items() if record.raised]
    few = [pair for pair in outcomes if pair[0] < pair[1] and pair not in refused]
    many = [pair for pair in refused if pair[0] > pair[1]]
    if many and few:
        detail = (
            f"{many[0][0]} rows for {many[0][1]} iterations raise "
            f"{outcomes[many[0]].raised!r}; {few[0][0]} rows for {few[0][1]} are accepted"
        )
        options = {table: (row,) * many[0][0], iterations: many[0][1]}
        subject.run({"w": tree(1)["w"]}, options, plain=True)
        return [
            Found(
                verdict=FAILS,
                detail=detail,
                effect=float(len(many)),
                unit="tables with enough rows refused",
                limit=0.0,
                reproduction=subject.reproduction(),
            )
        ]
    return [Found(verdict=OK, detail=f"{len(refused)} of {len(outcomes)} refused")]


PROBES = (
    Probe("documented values", "each string that is documented builds and steps", documented),
    Probe("unknown value", "a string that names nothing is refused", unknown),
    Probe("effect of options", "half of a number gives something else", without_effect),
    Probe(
        "rows of coefficients",
        "a table that is long enough for the iterations is accepted, or a short one refused",
        rows_and_iterations,
        ("orthogonal",),
    ),
)
