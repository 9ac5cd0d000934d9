"""Production against the rational numbers, past the reference: what both had wrong would show."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from reference.tests import exact
from verification.equivalence import Equivalence
from verification.registry import production

__all__ = ["CHECKS"]

STEPS = 12
START = np.array([1.0, -2.5, 0.3])
METHODS = "schedule_free.methods"
SGD = {"learning_rate": 0.3, "b1": 0.9, "warmup_steps": 5, "weight_decay": 0.1}
ADAMW = {"learning_rate": 0.1, "b1": 0.8, "b2": 0.99, "eps": 1e-3, "warmup_steps": 4}
RATE = {"peak_lr": 0.3, "warmup_fraction": 0.25, "decay_fraction": 0.4}
SEVERAL = (7, 12, 100)


def _run(name: str, options: dict[str, Any], gradients: np.ndarray) -> dict[str, Any]:
    """Return the sequences of production after every step."""
    import jax
    import jax.numpy as jnp
    import optax

    optimizer = production(name)(**options)
    evaluate = production("schedule_free.wrapper.schedule_free_eval_params")
    params = jnp.asarray(START)
    state, update, found = optimizer.init(params), jax.jit(optimizer.update), []
    for gradient in gradients:
        updates, state = update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        found.append((evaluate(state, params), params, optax.tree.get(state, "z")))
    return _named(found)


def _named(points: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {
        name: np.array([point[position] for point in points], np.float64)
        for position, name in enumerate(("x", "y", "z"))
    }


def _exactly(
    directions: Callable[[Sequence[Fraction]], Sequence[Fraction]],
    options: dict[str, Any],
    gradients: np.ndarray,
) -> dict[str, Any]:
    """Return the sequences over the rational numbers, rounded once at the end."""
    rates = exact.warmed(options["learning_rate"], STEPS, options["warmup_steps"])
    mode, power = options.get("weighting_mode", "practical"), options.get("averaging_power", 0)
    shares = exact.weights(rates, mode, int(power), largest=True)
    numbers = Fraction(options["b1"]), Fraction(options.get("weight_decay", 0.0))
    entries = [
        exact.schedule_free(
            Fraction(start), directions(exact.stored(column)), rates, shares, *numbers
        )
        for start, column in zip(START.tolist(), gradients.T, strict=True)
    ]
    return _named(
        [[[float(entry[step][k]) for entry in entries] for k in range(3)] for step in range(STEPS)]
    )


def _gradients(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((STEPS, len(START)))


def _constant(rng: np.random.Generator) -> np.ndarray:
    return np.tile(rng.standard_normal(len(START)), (STEPS, 1))


def _signs(column: Sequence[Fraction]) -> Sequence[Fraction]:
    """Return the direction of AdamW on a constant gradient, whose corrected moment is |g|^2."""
    return [g / (abs(g) + Fraction(ADAMW["eps"])) for g in column]


def _sgd(mode: str, power: int) -> Equivalence:
    options = {**SGD, "weighting_mode": mode, "averaging_power": float(power)}
    name = f"{METHODS}.schedule_free_sgd"
    return Equivalence(
        name=name,
        label=f"production = rational numbers, {mode}, r = {power}",
        left=lambda rng: _run(name, options, _gradients(rng)),
        right=lambda rng: _exactly(lambda column: column, options, _gradients(rng)),
        budget=4.0,
        reason="some three roundings in each of twelve steps; x is recovered, which divides by b1",
    )


def _schedule(rng: np.random.Generator) -> dict[str, Any]:
    del rng
    schedules = [production("schedules.wsd_schedule")(total_steps=n, **RATE) for n in SEVERAL]
    runs = zip(SEVERAL, schedules, strict=True)
    return {str(n): np.array([float(schedule(t)) for t in range(n)]) for n, schedule in runs}


def _phases(rng: np.random.Generator) -> dict[str, Any]:
    """Return the three phases one after another, as arXiv 2511.07767v1 counts them."""
    del rng
    found = {}
    for n in SEVERAL:
        rise, fall = n // 4, 2 * n // 5
        shares = [Fraction(t + 1, rise + 1) for t in range(rise + 1)]
        shares += [Fraction(1)] * (n - fall - rise)
        shares += [Fraction(left, fall) for left in range(fall - 1, 0, -1)]
        found[str(n)] = np.array([float(Fraction(RATE["peak_lr"]) * share) for share in shares])
    return found


CHECKS = (
    _sgd("theoretical", 0),
    _sgd("schedulet", 1),
    _sgd("practical", 2),
    Equivalence(
        name=f"{METHODS}.schedule_free_adamw",
        label="production on one gradient = rational numbers",
        left=lambda rng: _run(f"{METHODS}.schedule_free_adamw", ADAMW, _constant(rng)),
        right=lambda rng: _exactly(_signs, ADAMW, _constant(rng)),
        budget=8.0,
        reason="as for SGD; a rounding of b2^t is amplified by 1 / (2 - 2 b2^t), at most 50",
    ),
    Equivalence(
        name="schedules.wsd_schedule",
        label="production = rational numbers",
        left=_schedule,
        right=_phases,
        budget=1.0,
        reason="a quotient and a product",
    ),
)
