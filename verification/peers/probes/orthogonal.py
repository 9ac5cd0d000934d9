"""What an orthogonalized step has: singular values near 1, no scale, and matrices of its own."""

import numpy as np

from verification.peers.findings import NOTED, OK, Found, at_most
from verification.peers.gradients import evaluated, normal
from verification.peers.probes.probe import STEPS, Probe, raised
from verification.peers.subject import Subject

__all__ = ["PROBES"]

# Five iterations of Jordan take singular values from [0.01, 1] to [0.68, 1.13].
SPREAD = 1.7
SHAPE = (8, 6)
SCALES = (1e-10, 1e-6, 1e6, 1e25)


def spread(update: np.ndarray) -> float:
    """Return the largest singular value over the smallest."""
    values = np.linalg.svd(update, compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] > 0 else np.inf


def singular_values(subject: Subject) -> list[Found]:
    """Orthogonalize one matrix, with each variant."""
    found = []
    for options in [{}, *({name: value} for name, value in subject.variants())]:
        record = subject.run({"w": normal(3, *SHAPE)}, options, plain=True)
        case = " ".join(options.values())
        if failed := raised(record, subject):
            found.append(Found(**{**failed.__dict__, "case": case}))
            continue
        measured = spread(record.updates["w"][-1])
        found.append(
            at_most(
                measured,
                SPREAD,
                "largest over smallest singular value",
                "",
                case=case,
                reproduction=subject.reproduction(
                    "print(np.linalg.svd(update['w'], compute_uv=False))"
                ),
            )
        )
        if not options:
            found.append(_distance(record.updates["w"][-1], normal(3, *SHAPE)))
    return found


def _distance(update: np.ndarray, text: str) -> Found:
    """Return how far a step is from the polar factor, whatever its length."""
    left, _, right = np.linalg.svd(evaluated(text)[-1], full_matrices=False)
    factor = -left @ right
    update = update * (np.vdot(factor, update).real / np.vdot(update, update).real)
    distance = float(np.linalg.norm(update - factor) / np.linalg.norm(factor))
    return Found(
        verdict=OK if distance < 1e-3 else NOTED,
        case="polar factor",
        effect=distance,
        unit="of the polar factor",
        detail="few iterations orthogonalize roughly",
    )


def scale(subject: Subject) -> list[Found]:
    """Multiply all gradients by a number, which an orthogonalized step cannot feel."""
    steps = 5
    plain = subject.run({"w": normal(steps, *SHAPE)})
    if failed := raised(plain, subject):
        return [failed]
    expected = plain.updates["w"][-1]
    found = []
    for factor in SCALES:
        record = subject.run({"w": f"{factor} * {normal(steps, *SHAPE)}"})
        if failed := raised(record, subject):
            found.append(Found(**{**failed.__dict__, "case": f"{factor:g}"}))
            continue
        change = float(
            np.linalg.norm(record.updates["w"][-1] - expected) / np.linalg.norm(expected)
        )
        # Five iterations amplify a rounding of 6e-8 by their slope of some 485.
        found.append(
            at_most(
                change if np.isfinite(change) else np.inf,
                1e-3,
                "of the update",
                f"gradients times {factor:g}",
                case=f"{factor:g}",
                reproduction=subject.reproduction(),
            )
        )
    return found


def routing(subject: Subject) -> list[Found]:
    """See which leaves of a tree are orthogonalized: what others are is said nowhere."""
    if subject.bare:
        return []
    shapes = {"embedding": (50, 6), "stack": (3, 8, 6)}
    record = subject.run(
        {leaf: normal(STEPS, *shape) for leaf, shape in shapes.items()}, plain=True
    )
    if failed := raised(record, subject):
        return [failed]
    found = []
    for leaf in shapes:
        update = record.updates[leaf][-1]
        matrices = [update] if update.ndim == 2 else list(update)
        worst = max(map(spread, matrices))
        treated = worst <= SPREAD
        kind = "matrix of 50 rows" if leaf == "embedding" else "stack of three matrices"
        expected = leaf == "stack"
        found.append(
            Found(
                verdict=OK if treated == expected else NOTED,
                case=leaf,
                effect=worst,
                unit="largest over smallest singular value",
                detail=f"a {kind} {'is' if treated else 'is not'} orthogonalized by default",
                reproduction=subject.reproduction(
                    f"print(np.linalg.svd(update[{leaf!r}], compute_uv=False))"
                ),
            )
        )
    return found


FAMILY = ("orthogonal",)
PROBES = (
    Probe(
        "singular values",
        "one normal matrix, each variant: within those of 5 iterations",
        singular_values,
        FAMILY,
    ),
    Probe("scale of gradients", "times 1e-10 to 1e25: the same update", scale, FAMILY),
    Probe("routing", "which leaves are orthogonalized by default", routing, FAMILY),
)
