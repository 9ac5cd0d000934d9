"""What a whitening preconditioner reaches: E[Pg (Pg)^H] = I, whatever the gradients were."""

from typing import Any

import numpy as np

from verification.peers.findings import Found, at_most
from verification.peers.gradients import normal
from verification.peers.probes.probe import Probe, raised, rms
from verification.peers.side.run import Record
from verification.peers.subject import RATE, Subject

__all__ = ["PROBES"]

FIT = 800
KEPT = 300
SHAPE = (4, 64)
# A step of 0.1 leaves the fit some 6 % low, and what is kept is measured to about 1 %.
RMS_LIMIT = 0.25
SCALES = (1e-2, 1.0, 1e2)
LAYERS = (1, 16)
CONDITION = 1e3
UNIT = "of the root mean square 1 of Pg"


def _whitened(record: Record, leaf: str = "w") -> np.ndarray:
    """Return the last Pg."""
    return record.updates[leaf][-KEPT:] / -RATE


def _variants(subject: Subject) -> list[dict[str, str]]:
    return [{name: value} for name, value in subject.variants()] or [{}]


def _case(options: dict[str, str], more: str = "") -> str:
    return " ".join(filter(None, [*options.values(), more]))


def _show(subject: Subject) -> str:
    return subject.reproduction(f"print(np.sqrt(np.mean(np.abs(update['w'] / {RATE}) ** 2)))")


def scales(subject: Subject) -> list[Found]:
    """Whiten normal gradients of three scales with each geometry."""
    found = []
    for options in _variants(subject):
        worst: Found | None = None
        for scale in SCALES:
            record = subject.run({"w": f"{scale} * {normal(FIT, *SHAPE)}"}, options, plain=True)
            result = raised(record, subject)
            if result is None:
                measured = rms(_whitened(record))
                error = abs(measured - 1.0) if np.isfinite(measured) else np.inf
                detail = f"rms(Pg) = {measured:.3g} for gradients of scale {scale:g}"
                result = at_most(error, RMS_LIMIT, UNIT, detail, reproduction=_show(subject))
            if worst is None or (result.effect or np.inf) > (worst.effect or 0.0):
                worst = result
        assert worst is not None
        found.append(Found(**{**worst.__dict__, "case": _case(options)}))
    return found


def directions(subject: Subject) -> list[Found]:
    """Whiten gradients with covariance of condition 1000 along the rows."""
    if not subject.entry.kronecker:
        return []
    spectrum = f"np.logspace(0, {np.log10(CONDITION) / 2}, {SHAPE[0]})[:, None]"
    rotation = f"np.linalg.qr(np.random.default_rng(9).standard_normal(({SHAPE[0]},) * 2))[0]"
    text = f"({rotation}) @ ({spectrum} * {normal(FIT, *SHAPE)})"
    basis = np.linalg.qr(np.random.default_rng(9).standard_normal((SHAPE[0],) * 2))[0]
    found = []
    for options in _variants(subject):
        record = subject.run({"w": text}, options, plain=True)
        failed = raised(record, subject)
        if failed:
            found.append(Found(**{**failed.__dict__, "case": _case(options)}))
            continue
        along = np.einsum("ij,tik->tjk", basis, _whitened(record))
        size = np.sqrt(np.mean(along**2, axis=(0, 2)))
        smallest = float(size.min() / size.max())
        detail = f"rms(Pg) along the {SHAPE[0]} directions: " + ", ".join(f"{s:.2g}" for s in size)
        # Directions of one fit differ by its noise, some 20 %; half is a direction not whitened.
        found.append(
            at_most(
                1.0 - smallest,
                0.5,
                "of the largest direction that the smallest lacks",
                detail,
                case=_case(options),
                reproduction=_show(subject),
            )
        )
    return found


def layers(subject: Subject) -> list[Found]:
    """Whiten a stack of matrices that is said to be one scanned leaf."""
    if "scanned_layers" not in subject.documented or subject.bare:
        return []
    sizes = []
    for count in LAYERS:
        options: dict[str, Any] = {"scanned_layers": {"w": True}}
        record = subject.run({"w": normal(FIT, count, 4, 16)}, options, plain=True)
        if failed := raised(record, subject):
            return [Found(**{**failed.__dict__, "case": f"{count} layers"})]
        sizes.append(rms(_whitened(record)))
    ratio = sizes[-1] / sizes[0]
    detail = ", ".join(
        f"rms(Pg) = {size:.3g} for {count} layers"
        for count, size in zip(LAYERS, sizes, strict=True)
    )
    return [
        at_most(
            abs(ratio - 1.0),
            RMS_LIMIT,
            "of rms(Pg) between 1 and 16 layers",
            detail,
            reproduction=_show(subject),
        )
    ]


def first_layer(subject: Subject) -> list[Found]:
    """Stack a layer of small and one of large gradients, and swap them."""
    if "scanned_layers" not in subject.documented or subject.bare:
        return []
    sizes = []
    for order in ("[1e-2, 1.0]", "[1.0, 1e-2]"):
        text = f"np.array({order})[None, :, None, None] * {normal(3, 2, 4, 16)}"
        record = subject.run({"w": text}, {"scanned_layers": {"w": True}}, plain=True)
        if failed := raised(record, subject):
            return [failed]
        sizes.append(np.sqrt(np.mean(record.updates["w"][0] ** 2, axis=(1, 2))) / RATE)
    ratio = float(max(sizes[0][1] / sizes[1][0], sizes[1][0] / sizes[0][1]))
    detail = (
        f"the large layer has rms(Pg) = {sizes[1][0]:.3g} as layer 0, {sizes[0][1]:.3g} as layer 1"
    )
    # Each layer has an own random factor close to 1 in its norm estimates.
    return [
        at_most(
            abs(ratio - 1.0),
            0.5,
            "of the first step, by the order of layers",
            detail,
            reproduction=_show(subject),
        )
    ]


def complex_parts(subject: Subject) -> list[Found]:
    """Whiten complex gradients with variance 1 in the real and 9 in the imaginary part."""
    if not subject.takes_complex:
        return []
    text = f"{normal(FIT, *SHAPE)} + 3j * {normal(FIT, *SHAPE, seed=1)}"
    record = subject.run({"w": text}, plain=True, dtypes="complex64")
    if failed := raised(record, subject):
        return [failed]
    measured = rms(_whitened(record))
    # Who counts a complex entry as two real ones makes each of them 1.
    expected = min(1.0, np.sqrt(2.0), key=lambda size: abs(measured - size))
    return [
        at_most(
            abs(measured / expected - 1.0) if np.isfinite(measured) else np.inf,
            RMS_LIMIT,
            "of the root mean square of Pg, 1 or that of two real entries",
            f"rms(Pg) = {measured:.3g} for real and imaginary parts of variance 1 and 9",
            reproduction=_show(subject),
        )
    ]


def damped(subject: Subject) -> list[Found]:
    """Whiten white gradients with a damping of 1, which no direction may feel more than another."""
    if "damping" not in subject.documented:
        return []
    record = subject.run({"w": normal(2 * FIT, *SHAPE)}, {"damping": 1.0}, plain=True)
    if failed := raised(record, subject):
        return [failed]
    whitened = record.updates["w"][-FIT:] / -RATE
    covariance = np.einsum("tik,tjk->ij", whitened, whitened) / (FIT * SHAPE[1])
    ones = np.full(SHAPE[0], SHAPE[0] ** -0.5)
    along = float(ones @ covariance @ ones)
    across = float((np.trace(covariance) - along) / (SHAPE[0] - 1))
    # The variance along one direction of 800 x 64 samples is known to 0.6 %.
    return [
        at_most(
            abs(along / across - 1.0) if np.isfinite(along) else np.inf,
            0.03,
            "of the variance of Pg along (1, ..., 1) beside that across it",
            f"{along:.3f} along, {across:.3f} across",
            reproduction=_show(subject),
        )
    ]


def initial_scale(subject: Subject) -> list[Found]:
    """Compare two initial scales where the first update of the preconditioner comes late."""
    if not subject.entry.curvature or "precond_init_scale" not in subject.documented:
        return []
    steps = 3
    text = normal(steps, 6, 8, seed=1)
    sizes = []
    for scale in (1.0, 10.0):
        record = subject.run(
            {"w": normal(steps, 6, 8)},
            {"precond_init_scale": scale},
            plain=True,
            extra={
                "Hvp": {"w": text},
                "vector": {"w": text},
                "update_preconditioner": (False,) * steps,
            },
        )
        if failed := raised(record, subject):
            return [failed]
        sizes.append(rms(record.updates["w"][-1]))
    ratio = sizes[1] / sizes[0]
    return [
        at_most(
            abs(ratio / 100.0 - 1.0),
            1e-3,
            "of the factor 100 by which P = Q^H Q differs",
            f"scales 1 and 10, nothing fitted yet: steps differ by a factor {ratio:.4g}",
            reproduction=subject.reproduction(),
        )
    ]


def spikes(subject: Subject) -> list[Found]:
    """Feed gradients over a limit that, strictly, skips the step."""
    limits = ("raw_global_grad_clip", "permissive_spike_protection")
    if any(name not in subject.documented for name in limits):
        return []
    record = subject.run(
        {"w": f"{normal(4, *SHAPE)} * np.array([1e-3, 1e-3, 1e-3, 1.0])[:, None, None]"},
        {"raw_global_grad_clip": 1.0, "permissive_spike_protection": False},
    )
    if failed := raised(record, subject):
        return [failed]
    before, over = (rms(record.updates["w"][t]) for t in (-2, -1))
    return [
        at_most(
            over / before,
            0.0,
            "of the step before",
            "a step over raw_global_grad_clip is taken, with permissive_spike_protection=False"
            if over
            else "",
            reproduction=subject.reproduction(),
        )
    ]


FAMILY = ("whitening",)
PROBES = (
    Probe(
        "scale of Pg", "gradients of scale 1e-2, 1, 1e2, each geometry: rms(Pg) = 1", scales, FAMILY
    ),
    Probe(
        "directions of Pg",
        "covariance of condition 1000, each geometry: none lost",
        directions,
        FAMILY,
    ),
    Probe("scanned layers", "1 and 16 layers in one leaf: rms(Pg) alike", layers, FAMILY),
    Probe("order of layers", "a large and a small layer in one leaf, swapped", first_layer, FAMILY),
    Probe("complex whitening", "variance 1 and 9 of the parts: rms(Pg) = 1", complex_parts, FAMILY),
    Probe("damping", "white gradients, damping 1: Pg as white as before", damped, FAMILY),
    Probe("spike protection", "a gradient over the limit, strictly: no step", spikes, FAMILY),
    Probe(
        "initial scale",
        "kept where the preconditioner is not updated at first",
        initial_scale,
        FAMILY,
    ),
)
