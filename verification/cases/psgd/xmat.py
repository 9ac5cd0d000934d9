"""Checks of PSGD whose factor is an X: the group, one fit, and whole runs."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from verification import registry
from verification.case import Case, Sample
from verification.flat_preconditioners import (
    XMAT,
    annealed,
    every_third,
    first_two_zero,
    hessian_pair,
    side_of,
    spoiled,
    trajectory,
)

__all__ = ["CHECKS"]

NAME = "psgd.xmat"
SIZES = (7, 6, 1, 2)
# Factors of gradients of 1e20, 1 and 1e-20: a product of two of them fits float32.
SCALES = (1e-10, 1.0, 1e10)
ORDERS = ("tracked", "2nd", "1st")


class XMatrix(NamedTuple):
    """A factor, with the fields of both sides."""

    diagonal: Any
    antidiagonal: Any


def _graded(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.permutation(np.geomspace(1.0, 1e-3, size)) * rng.choice([-1.0, 1.0], size)


def _factor(rng: np.random.Generator, size: int, kind: str, scale: float) -> XMatrix:
    """Return a factor far from the identity; the middle of its antidiagonal is zero."""
    if kind == "graded":
        diagonal = _graded(rng, size)
        across = 0.5 * diagonal * rng.uniform(0.2, 1.0, size)
    else:
        diagonal = np.exp(0.5 * rng.standard_normal(size))
        across = 0.6 * rng.standard_normal(size)
    if kind == "near-singular":
        # All but a fifth of a flip(a) - b flip(b) cancels; of less, bfloat16 leaves nothing.
        across = np.sqrt(0.8) * diagonal
    if size % 2:
        across[size // 2] = 0.0
    return XMatrix(scale * diagonal, scale * across)


def _factors(rng: np.random.Generator) -> Iterator[tuple[str, XMatrix, float]]:
    for size in SIZES:
        for kind in ("far", "graded", "near-singular"):
            for scale in SCALES:
                label = f"{size} {kind} {scale:.0e}"
                yield label, _factor(rng, size, kind, scale), scale


def _length(array: np.ndarray) -> float:
    return float(np.max(np.abs(array)))


def _amplified(name: str, *arguments: Any) -> float:
    """Return how much larger the sums of both terms could have been than they are."""
    function = registry.reference(f"{NAME}.{name}")
    both = [
        [np.atleast_2d(result) for result in (found if isinstance(found, tuple) else (found,))]
        for found in (function(*arguments), function(*_absolute(arguments)))
    ]
    return max(
        _length(most) / _length(found) if _length(found) else 1.0
        for found, most in zip(*both, strict=True)
    )


def _absolute(arguments: tuple[Any, ...]) -> list[Any]:
    return [
        XMatrix(*map(np.abs, item)) if isinstance(item, XMatrix) else np.abs(item)
        for item in arguments
    ]


def _cancelled(factor: XMatrix) -> float:
    """Return how much of a flip(a) - b flip(b) cancels."""
    a, b = factor
    along, across = a * a[::-1], b * b[::-1]
    return float(np.max((np.abs(along) + np.abs(across)) / np.abs(along - across)))


def _products(rng: np.random.Generator) -> Iterator[Sample]:
    for label, left, scale in _factors(rng):
        right = _factor(rng, len(left.diagonal), "far", 1.0 / scale)
        yield Sample(label, (left, right), condition=_amplified("product", left, right))


def _inverses(rng: np.random.Generator) -> Iterator[Sample]:
    for label, factor, _ in _factors(rng):
        yield Sample(label, (factor,), condition=_cancelled(factor))


def _applied(name: str) -> Callable[[np.random.Generator], Iterator[Sample]]:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for label, factor, scale in _factors(rng):
            vector = rng.standard_normal(len(factor.diagonal)) / scale
            yield Sample(label, (factor, vector), condition=_amplified(name, factor, vector))

    return samples


def _fits(rng: np.random.Generator) -> Iterator[Sample]:
    for order in ORDERS:
        for index, (label, factor, scale) in enumerate(_factors(rng)):
            size = len(factor.diagonal)
            # Q h and Q^-T v of one size, or one of them much larger.
            ratio = (1.0, 30.0, 0.03)[(index + index // 3) % 3]
            h = ratio * rng.standard_normal(size) / scale**2
            v = rng.standard_normal(size)
            lipschitz = np.asarray(10.0 ** rng.uniform(-2, 3) / scale**2)
            rates = np.asarray([0.3, 0.9])
            yield Sample(
                f"{order} {label} ratio {ratio:g}",
                (factor, lipschitz, h, v, rates),
                {"order": order},
                condition=_fit_condition(factor, h, v, order),
            )


def _fit_condition(factor: XMatrix, h: np.ndarray, v: np.ndarray, order: str) -> float:
    """Return the amplification of a rounding: of Q h, of Q^-T v, and of what divides the step."""
    inverse = registry.reference(f"{NAME}.inverse")(factor)
    image = registry.reference(f"{NAME}.apply")(factor, h)
    dual = registry.reference(f"{NAME}.apply_adjoint")(inverse, v)
    amplified = max(
        _amplified("apply", factor, h),
        _cancelled(factor) * _amplified("apply_adjoint", XMatrix(*inverse), v),
    )
    if order != "1st":
        return amplified
    along, across = image**2 - dual**2, image * image[::-1] - dual * dual[::-1]
    return amplified * _length(image**2 + dual**2) / max(_length(along), _length(across))


def _stepped(
    function: Callable[..., Any],
    factor: XMatrix,
    lipschitz: Any,
    h: Any,
    v: Any,
    rates: Any,
    order: str,
) -> list[Any]:
    rule = side_of(function)("psgd.flat.StepRule")(rates[0], rates[1], order)
    moved, divisor = function(factor, lipschitz, h, v, rule)
    return [*moved, divisor]


NEWTON = {"extra": hessian_pair}
LONG = {"steps": 100}
CHECKS = (
    *(
        Case(
            name=f"{NAME}.{name}",
            samples=samples,
            budget=4.0,
            reason="products of two terms, amplified as far as they cancel",
        )
        for name, samples in (
            ("product", _products),
            ("inverse", _inverses),
            ("apply", _applied("apply")),
            ("apply_adjoint", _applied("apply_adjoint")),
            ("apply_normal", _applied("apply_normal")),
        )
    ),
    Case(
        name=f"{NAME}.update_factor",
        samples=_fits,
        budget=4.0,
        reason="sums of two products and a quotient, amplified as far as they cancel",
        apply=_stepped,
    ),
    # First those that tell most wrong versions apart.
    trajectory(
        XMAT,
        "2nd, momentum whitened, P last",
        b1=0.9,
        whiten_grad=False,
        update_preconditioner_first=False,
        step_normalizer_order="2nd",
    ),
    trajectory(XMAT, "Newton, nesterov", b1=0.9, nesterov=True, run=NEWTON | LONG),
    trajectory(XMAT, "whitening", precond_lr=0.5, run=LONG),
    trajectory(
        XMAT,
        "2nd, Newton, half of the steps",
        preconditioner_update_probability=0.5,
        step_normalizer_order="2nd",
        run=NEWTON | LONG,
    ),
    trajectory(
        XMAT,
        "1st, scale given, rate that falls",
        precond_init_scale=0.3,
        step_normalizer_order="1st",
        precond_lr=annealed,
        run=LONG,
    ),
    trajectory(
        XMAT,
        "1st, Newton, scale of second moments",
        precond_init_moment="2nd",
        step_normalizer_order="1st",
        budget=24.0,
        reason="the size of the gradient, which cancels where the fit is good",
        run=NEWTON | LONG,
    ),
    trajectory(
        XMAT,
        "scale of second moments, limits",
        precond_init_moment="2nd",
        b1=0.5,
        damping=0.1,
        beta_lipschitz=0.5,
        update_global_norm_clip=2.5,
        grad_clip_max_amps=(0.5, 0.8),
    ),
    trajectory(XMAT, "when asked, no noise", damping=None, run={"extra": every_third}),
    trajectory(
        XMAT,
        "every fourth step, first gradients zero",
        preconditioner_update_interval=4,
        run={"spoil": first_two_zero},
    ),
    trajectory(XMAT, "spikes clipped", b1=0.9, raw_global_grad_clip=5.0, run={"spoil": spoiled}),
    trajectory(
        XMAT,
        "spikes skipped",
        budget=8.0,
        b1=0.9,
        raw_global_grad_clip=20.0,
        permissive_spike_protection=False,
        run={"spoil": spoiled},
    ),
    trajectory(
        XMAT,
        "decay",
        "digits_mlp",
        learning_rate=0.01,
        weight_decay=0.1,
        mask={leaf: leaf.startswith("w") for leaf in ("w1", "b1", "w2", "b2", "w3", "b3")},
        # A number that float32 has.
        b1=0.875,
        run={"free": True, "steps": 20, "dtypes": ("float64", "float32")},
    ),
    trajectory(
        XMAT,
        "Newton, rate that falls",
        learning_rate=lambda count: 0.1 / (1.0 + 0.1 * count),
        raw_global_grad_clip=1e3,
        run={"free": True, "steps": 20, **NEWTON},
    ),
)
