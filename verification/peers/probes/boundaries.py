"""Inputs at the edge: zeros, extremes, one NaN, nothing, other dtypes."""

from collections.abc import Callable

import numpy as np

from verification.peers.findings import DEVIATES, NOTED, OK, Found, at_most
from verification.peers.gradients import from_step, normal
from verification.peers.probes.probe import STEPS, TREE, Probe, not_finite, raised, tree
from verification.peers.side.run import Record
from verification.peers.subject import Subject

__all__ = ["PROBES"]

PARAMETERS = "share of the parameters"
SHOW = "print(jax.tree.map(lambda p: np.isfinite(np.asarray(p, complex)).all(), parameters))"
BAD = 3


def first_steps(subject: Subject) -> list[Found]:
    """Take ordinary steps; learn whether the optimizer wants a bare array."""
    record = subject.run(tree())
    found = raised(record, subject)
    if found is None:
        return [_finite(record, subject), _dtypes(record, subject, "float32")]
    subject.bare = True
    subject.broken = bool(subject.run(tree()).raised)
    return [found]


def _finite(record: Record, subject: Subject) -> Found:
    share = not_finite(record)
    fields = {"reproduction": subject.reproduction(SHOW)} if share else {}
    return at_most(share, 0.0, PARAMETERS, "not finite at the end" if share else "", **fields)


def _dtypes(record: Record, subject: Subject, dtype: str) -> Found:
    drifted = record.drifted()
    other = {leaf: d for leaf, d in record.update_dtypes.items() if d != dtype}
    places = [f"{place} {' -> '.join(record.state[place])}" for place in drifted]
    places += [f"update of {leaf} is {found}" for leaf, found in other.items()]
    return Found(
        verdict=DEVIATES if places else OK,
        case="dtypes",
        effect=float(len(places)),
        unit="arrays whose dtype or shape changes",
        limit=0.0,
        detail="; ".join(places[:3]),
        reproduction=subject.reproduction("print(jax.tree.map(lambda s: s.dtype, state))")
        if places
        else "",
    )


def _changed(
    change: Callable[[str, str], str], show: str = SHOW
) -> Callable[[Subject], list[Found]]:
    """Return a probe that changes the text of all gradients and wants all parameters finite."""

    def function(subject: Subject) -> list[Found]:
        gradients = {leaf: change(leaf, text) for leaf, text in tree().items()}
        record = subject.run(gradients)
        return [raised(record, subject, show) or _finite(record, subject)]

    return function


def _from(first: int, leaf: str) -> str:
    return from_step(first, STEPS, len(TREE[leaf]))


def one_nan(subject: Subject) -> list[Found]:
    """Feed NaN at one step; without a guard nobody withstands it, and Schedule-Free has none."""

    def change(leaf: str, text: str) -> str:
        axes = ", None" * len(TREE[leaf])
        return f"np.where((np.arange({STEPS}) == {BAD - 1})[:{axes}], np.nan, {text})"

    record = subject.run({leaf: change(leaf, text) for leaf, text in tree().items()})
    found = raised(record, subject) or _finite(record, subject)
    if found.verdict == DEVIATES and subject.entry.family == "schedule_free":
        return [
            Found(verdict=NOTED, detail="NaN from then on", effect=found.effect, unit=found.unit)
        ]
    return [found]


def low_precision(subject: Subject) -> list[Found]:
    """Run bfloat16 parameters."""
    record = subject.run(tree(), dtypes="bfloat16", rate=0.05)
    found = raised(record, subject)
    return [found] if found else [_finite(record, subject), _dtypes(record, subject, "bfloat16")]


def complex_numbers(subject: Subject) -> list[Found]:
    """Run complex64 parameters, with each variant."""
    gradients = {
        leaf: f"{normal(STEPS, *shape)} + 3j * {normal(STEPS, *shape, seed=1)}"
        for leaf, shape in TREE.items()
    }
    found = []
    # The geometries of a preconditioner share their arithmetic.
    variants = subject.variants() if subject.entry.family == "orthogonal" else ()
    for options in [{}, *({name: value} for name, value in variants)]:
        case = " ".join(map(str, options.values()))
        record = subject.run(gradients, options, dtypes="complex64")
        failed = raised(record, subject)
        results = [failed] if failed else [_finite(record, subject)]
        if not failed and not options:
            results.append(_dtypes(record, subject, "complex64"))
        found += [_with_case(result, case) for result in results]
        if failed and not options:
            # What fails by default fails with every variant alike.
            subject.takes_complex = False
            break
    return found


def _with_case(found: Found, case: str) -> Found:
    return Found(**{**found.__dict__, "case": " ".join(filter(None, [case, found.case]))})


def empty_leaf(subject: Subject) -> list[Found]:
    """Run a leaf without entries beside another."""
    gradients = {"w": normal(STEPS, 6, 8), "empty": f"np.zeros(({STEPS}, 0, 3))"}
    if subject.bare:
        gradients = {"empty": gradients["empty"]}
    record = subject.run(gradients)
    return [raised(record, subject) or _finite(record, subject)]


def given_away(subject: Subject) -> list[Found]:
    """Start twice from one optimizer, and give parameters and state away to each step."""
    if subject.entry.kind != "optax":
        return []
    first = subject.run(tree(3), donate=True)
    again = subject.run(tree(3), donate=True)
    found = raised(first, subject) or raised(again, subject) or _finite(again, subject)
    # What was given away with the state may be missing from its module.
    subject.place.close()
    return [found]


def neighbor(subject: Subject) -> list[Found]:
    """Compare a float32 leaf beside a bfloat16 one with itself beside a float32 one."""
    if subject.bare or subject.entry.family == "whitening":
        # Whiteners draw random numbers that depend on dtypes, and some have one vector for all.
        return []
    gradients = {
        leaf: normal(STEPS, *shape, seed=i) for i, (leaf, shape) in enumerate(TREE.items())
    }
    start = {leaf: normal(*shape, seed=9) for leaf, shape in TREE.items()}
    records = []
    for dtype in ("float32", "bfloat16"):
        dtypes = {"w": "float32", "b": dtype}
        records.append(subject.run(gradients, dtypes=dtypes, parameters=start))
        if found := raised(records[-1], subject):
            return [found]
    changes = []
    for name in ("parameters", "evaluation"):
        alone, beside = (getattr(record, name) for record in records)
        if alone is not None:
            moved = np.linalg.norm(alone["w"][-1] - records[0].parameters["w"][0])
            changes.append(float(np.linalg.norm(beside["w"][-1] - alone["w"][-1]) / moved))
    # The leaves have nothing in common; bfloat16 rounds by up to 2^-9.
    return [
        at_most(
            max(changes),
            2.0**-10,
            "of the way gone by a float32 leaf, beside a bfloat16 one",
            "the float32 leaf is computed with the precision of its neighbor"
            if max(changes) > 2.0**-10
            else "",
            reproduction=subject.reproduction("print(update['w'])"),
        )
    ]


def float64(subject: Subject) -> list[Found]:
    """Perturb all gradients but the first and the last by 1e-10, below what float32 can hold."""
    # The first one may set a scale by itself.
    inner = f"(np.arange({STEPS}) > 0) & (np.arange({STEPS}) < {STEPS - 1})"
    records = []
    for factor in ("1.0", f"np.where({inner}, 1 + 1e-10, 1)"):
        gradients = {
            leaf: f"{text} * np.reshape({factor}, (-1{', 1' * len(TREE[leaf])}))"
            for leaf, text in tree().items()
        }
        records.append(subject.run(gradients, plain=True, dtypes="float64", wide=True))
        if found := raised(records[-1], subject):
            return [found]
    one, other = (record.updates["w"][-1] for record in records)
    change = float(np.linalg.norm(one - other) / np.linalg.norm(one))
    if change == 0.0 and subject.entry.family == "orthogonal":
        # Without momentum nothing of the past is left to tell.
        return []
    # A fit passes on what it was fed; roundings of float32 pass on nothing, or flip by 6e-8.
    verdict = OK if 1e-12 < change < 5e-10 else DEVIATES
    return [
        Found(
            verdict=verdict,
            effect=change / 1e-10,
            unit="of the change that was fed",
            detail="" if verdict == OK else "with float64 parameters it computes in float32",
            reproduction=subject.reproduction(),
        )
    ]


PROBES = (
    Probe(
        "first steps", "30 steps of normal gradients: finite, dtypes and shapes stay", first_steps
    ),
    Probe(
        "zero first gradient",
        "zero at first and normal from step 2: finite",
        _changed(lambda leaf, text: f"{text} * {_from(2, leaf)}"),
    ),
    Probe("zero gradients", "nothing but zeros: finite", _changed(lambda _, text: f"{text} * 0.0")),
    Probe("1e-30", "normal times 1e-30: finite", _changed(lambda _, text: f"{text} * 1e-30")),
    Probe("1e20", "normal times 1e20: finite", _changed(lambda _, text: f"{text} * 1e20")),
    Probe("one NaN", "NaN at step 3 alone: finite at the end", one_nan),
    Probe("bfloat16", "bfloat16 parameters: finite, dtypes stay", low_precision),
    Probe("complex64", "complex64 parameters, each variant: finite, dtypes stay", complex_numbers),
    Probe("empty leaf", "a leaf of shape (0, 3): finite", empty_leaf),
    Probe("donation", "the same optimizer twice, buffers given away", given_away),
    Probe("bfloat16 neighbor", "a float32 leaf beside a bfloat16 one: as beside float32", neighbor),
    Probe("float64", "a change of 1e-10 in the past reaches a float64 update as such", float64),
)
