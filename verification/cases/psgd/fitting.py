"""Checks of one fit of the Kronecker factors of a tensor."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from verification import compare, registry
from verification.case import Case, Sample
from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.problems.factors import diagonal, positive_definite, rotation, triangular
from verification.problems.matrices import SCALES, gaussian

__all__ = ["CHECKS"]

NAME = "psgd.fitting"
BOTH = ("float64", "float32")
PROBES = 4
# Shape, and which axes have a dense factor.
LAYOUTS = (
    ((4, 3), (True, True)),
    ((3, 5), (True, False)),
    ((2, 4, 3), (True, False, True)),
    ((5,), (False,)),
    ((1,), (False,)),
)
# Sides from 512 on, of which the lower half of a triangular factor is not multiplied.
LARGE = ((513, 2), (True, False))
BASES = ("normal", "direct", "factor", "whitened")
# Every basis, and every way in which the rest of a step depends on the row.
NEWTON_MODES = ("Q0.5EQ1.5", "EQ", "QEP", "QUAD4P")
MODES = ("Q0.5EQ1.5", "EQ", "QEP", "QEQ", "QUAD", "QUAD4P", "PRO4P", "NS", "EXP")


class Draws(NamedTuple):
    """Random numbers of one tensor in one step, with the fields of both sides."""

    noise: Any
    norm_probes: Any
    rotation_probes: Any
    balance: Any


def _factors(
    rng: np.random.Generator, layout: tuple, basis: str, condition: float, is_complex: bool
) -> list[np.ndarray]:
    found = []
    for size, dense in zip(*layout, strict=True):
        if not dense:
            found.append(diagonal(rng, size, condition))
        elif basis == "whitened":
            found.append(triangular(rng, size, condition, is_complex))
        else:
            turned = rotation(rng, size, 0.1 if basis == "normal" else 0.0, is_complex)
            found.append(turned @ positive_definite(rng, size, condition, is_complex))
    return found


def _noisy(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, is_complex in (((4, 3), False), ((5,), True), ((), False)):
        for scale in SCALES:
            gradient = np.asarray(scale * gaussian(rng, shape, is_complex))
            noise = gaussian(rng, shape, is_complex)
            for damping, loud in ((0.3 * scale, 1.0), (1e-9 * scale, 1e6)):
                label = f"{shape} {scale:.0e} damping {damping:g} noise {loud:g}"
                yield Sample(label, (gradient, loud * noise, damping))
    gradient, noise = rng.standard_normal((2, 6))
    # So loud that what ε contributes can be seen.
    yield Sample("noise of 1e12", (gradient, 1e12 * noise, 1e-15))


def _amplified(factors: list[np.ndarray], gradient: np.ndarray, basis: str) -> float:
    """Return how much larger the preconditioned tensor could have been than it is."""
    power = 1 if basis in ("direct", "whitened") else 2
    function = registry.reference(f"linalg.kronecker.{'apply' if power == 1 else 'apply_normal'}")
    norms = [np.linalg.norm(q, 2) if q.ndim > 1 else np.max(np.abs(q)) for q in factors]
    largest = compare.norm(gradient) * float(np.prod([n**power for n in norms]))
    worst = largest / compare.norm(function(factors, gradient))
    if basis == "whitened":
        worst = max([worst, *(np.linalg.cond(q) for q in factors if q.ndim > 1)])
    return max(1.0, float(worst))


def _all_terms(rng: np.random.Generator) -> Iterator[Sample]:
    for basis in BASES:
        layouts = (*LAYOUTS, LARGE) if basis == "whitened" else LAYOUTS
        for layout in layouts:
            for is_complex in (False, True):
                for index, condition in enumerate((5.0, 100.0)):
                    factors = _factors(rng, layout, basis, condition, is_complex)
                    scale = (1.0, 1e-6)[index]
                    gradient, probe = (gaussian(rng, layout[0], is_complex) for _ in range(2))
                    given = probe if basis == "whitened" or index == 0 else None
                    label = f"{basis} {layout[0]} cond {condition:g} complex {is_complex}"
                    yield Sample(
                        f"{label} probe {given is not None}",
                        (factors, gradient * scale, given, basis),
                        condition=2 * _amplified(factors, gradient, basis),
                    )


def _flat_terms(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    return [term for pair in function(*arguments) for term in pair]


def _steps(
    modes: tuple[str, ...], newton: bool, normalizer: str = "2nd"
) -> Callable[..., Iterator[Sample]]:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for index, mode in enumerate(modes):
            basis = registry.reference("psgd.geometry.geometry")(mode).basis
            # Few layouts for each mode, so that few programs cover all of them.
            for turn in (0, 1) if newton else (index % 2,):
                layout = LAYOUTS[(2 * index + turn) % 4 if newton else turn]
                is_complex = turn == index // 2 % 2
                arrays = _step_arrays(rng, layout, is_complex, basis)
                factors, estimates, gradient, probe, draws = arrays
                options = {
                    "mode": mode,
                    "newton": newton,
                    "damping": None if index == 3 else 0.01,
                    "tracks_lipschitz": index != 4,
                    "normalizer": normalizer,
                }
                condition = 2 * _amplified(factors, gradient, basis)
                for balance in (0.5, 0.005):
                    # Whitening has no vector.
                    asked, rates = probe if newton else None, np.asarray([0.3, 0.9])
                    chance = np.asarray(balance)
                    given = (factors, estimates, gradient, asked, draws, chance, rates)
                    label = f"{mode} {layout[0]} complex {is_complex} balance {balance}"
                    yield Sample(label, given, options, condition=condition)

    return samples


def _fits_already(rng: np.random.Generator) -> list[Any]:
    """Return a factor after a step with no gradient: zero is what divides the step."""
    one = np.ones(1)
    draws = (np.zeros(1), [gaussian(rng, (2, PROBES, 1), False)])
    given = ([one], [np.asarray(2.0)], one, one, draws, np.asarray(0.5), np.asarray([0.3, 0.9]))
    options = {"mode": "Q0.5EQ1.5", "newton": True, "damping": None}
    options |= {"tracks_lipschitz": False, "normalizer": "1st"}
    update = registry.production(f"{NAME}.update_factors")
    return interpreted(lambda *arrays: _stepped(update, *arrays, **options))(*given)[:1]


def _step_arrays(
    rng: np.random.Generator, layout: tuple, is_complex: bool, basis: str
) -> tuple[Any, ...]:
    shape = layout[0]
    factors = _factors(rng, layout, basis, 5.0, is_complex)
    # Unequal in size, so that balancing does something, and P g of order one.
    factors = [q * s for q, s in zip(factors, (0.3, 4.0, 1.2), strict=False)]
    gradient, probe, noise = (gaussian(rng, shape, is_complex) for _ in range(3))
    # Those of diagonal factors are not used; all samples shall have as many arrays.
    probes = [gaussian(rng, (2, PROBES, n), is_complex) for n in shape]
    # Some below the present smoothness, some above it.
    estimates = [np.asarray(10.0 ** rng.uniform(-1, 4)) for _ in shape]
    return factors, estimates, gradient, probe, (noise, probes)


def _stepped(
    function: Callable[..., Any],
    factors: Any,
    estimates: Any,
    gradient: Any,
    probe: Any,
    draws: Any,
    balance: Any,
    rates: Any,
    **options: Any,
) -> list[Any]:
    """Take a step on either side, and return factors and estimates in one list."""
    find = registry.reference if "reference" in function.__module__ else registry.production
    noise, pairs = draws
    norm_probes, rotation_probes = (
        tuple(pair[i] if q.ndim > 1 else None for pair, q in zip(pairs, factors, strict=True))
        for i in (0, 1)
    )
    mode = options.pop("mode")
    rule = find(f"{NAME}.Rule")(
        geometry=find("psgd.geometry.geometry")(mode),
        learning_rate=rates[0],
        beta=rates[1],
        **options,
    )
    drawn = Draws(noise, norm_probes, rotation_probes, balance)
    moved, tracked = function(
        factors, estimates, gradient, probe if rule.newton else None, drawn, rule
    )
    return [*moved, *tracked]


def _tensors(rng: np.random.Generator, scale: float, largest: int) -> list[np.ndarray]:
    """Return three tensors, one of which has the largest mean."""
    return [
        scale * (3.0 if index == largest else 1.0) * gaussian(rng, shape, index == 1)
        for index, shape in enumerate(((4, 3), (5,), (1,)))
    ]


def _whitening(rng: np.random.Generator) -> Iterator[Sample]:
    for index, scale in enumerate((1.0, 1.0, 1.0, *SCALES, 1e-100, 1e100)):
        damping = scale * (3.0, 1e-9, 0.5, 1e-9)[index % 4]
        label = f"{scale:.0e} damping {damping:.0e} largest {index % 3}"
        yield Sample(label, (_tensors(rng, scale, index % 3), damping))
    yield Sample("zero", ([np.zeros((4, 3)), np.zeros(5), np.zeros(1)], 0.25))


def _newton(rng: np.random.Generator) -> Iterator[Sample]:
    for index, scale in enumerate((1.0, 1.0, 1.0, *SCALES)):
        size = (1.0, 1e3, 1.0, 1e-3)[index % 4]
        vectors = _tensors(rng, size, (index + 1) % 3)
        damping = scale * (3.0, 1e-9, 0.5, 1e-9)[index % 4]
        label = f"{scale:.0e} vectors {size:g} largest {index % 3}"
        yield Sample(label, (vectors, _tensors(rng, scale, index % 3), damping))
    nothing = [np.zeros((4, 3)), np.zeros(5), np.zeros(1)]
    yield Sample("zero vectors", (nothing, _tensors(rng, 1.0, 0), 0.25))


def _second_moments(rng: np.random.Generator) -> Iterator[Sample]:
    for index, scale in enumerate((1.0, *SCALES, 1e-100, 1e100)):
        size = (1.0, 1e3, 1.0, 1e-3)[index % 4]
        vectors = _tensors(rng, size, (index + 1) % 3)
        yield Sample(f"{scale:.0e} vectors {size:g}", (vectors, _tensors(rng, scale, index % 3)))
        yield Sample(f"{scale:.0e} no vectors", (None, _tensors(rng, scale, index % 3)))


CHECKS = (
    Case(
        name=f"{NAME}.damped",
        samples=_noisy,
        budget=4.0,
        reason="two sums and two products",
        dtypes=BOTH,
    ),
    Case(
        name=f"{NAME}.terms",
        samples=_all_terms,
        budget=4.0,
        reason="products of length n, squared, amplified as P g is shorter than ‖P‖‖g‖",
        dtypes=BOTH,
        apply=_flat_terms,
    ),
    *(
        Case(
            name=f"{NAME}.update_factors",
            label=label,
            samples=samples,
            budget=4.0,
            reason="Gram matrices, a norm and a rule, amplified as those of `terms`",
            dtypes=BOTH,
            apply=_stepped,
        )
        for label, samples in (
            ("whitening", _steps(MODES, False)),
            ("Newton", _steps(NEWTON_MODES, True)),
            ("by the size of the gradient", _steps(("EQ", "Q0.5EQ1.5"), True, "1st")),
        )
    ),
    Equivalence(
        name=f"{NAME}.update_factors",
        label="a factor that fits already = itself",
        left=_fits_already,
        right=lambda rng: [np.ones(1)],
        budget=0.0,
        reason="its gradient is zero: equal bits",
    ),
    Case(
        name=f"{NAME}.whitening_scale",
        samples=_whitening,
        budget=4.0,
        reason="a mean of fourth powers and an eighth root",
        dtypes=BOTH,
    ),
    Case(
        name=f"{NAME}.newton_scale",
        samples=_newton,
        budget=4.0,
        reason="two means and two roots",
        dtypes=BOTH,
    ),
    Case(
        name=f"{NAME}.second_moment_scale",
        samples=_second_moments,
        budget=4.0,
        reason="two sums of squares and two roots",
        dtypes=BOTH,
    ),
)
