"""Factors whose step passes the largest number, held against sentences: no paper speaks of it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import compiled
from verification.problems.factors import positive_definite
from verification.problems.matrices import gaussian
from verification.registry import production

__all__ = ["CHECKS"]

UPDATE, KRON = "psgd.fitting.update_factors", "psgd.kron.scale_by_kron"
# Its square, and that of anything near one times it, is beyond the largest number.
HUGE = 1e200
L = (np.asarray(0.5), np.asarray(50.0))

Side = Callable[[np.random.Generator], Any]


def _given(rng: np.random.Generator, mixed: bool) -> list[np.ndarray]:
    dense = positive_definite(rng, 4, 4.0, False)
    other = positive_definite(rng, 3, 4.0, False)
    return [dense, np.diagonal(other).copy() if mixed else other]


def _moved(mode: str, rate: float, vector: float | None, mixed: bool) -> Side:
    """Return (factors, L) after a step with a huge gradient, or with a huge vector beside it."""

    def run(rng: np.random.Generator) -> Any:
        factors = _given(rng, mixed)
        sides = (4,) if mixed else (4, 3)
        probes = [gaussian(rng, (4, n), False) for n in sides] + [None] * (2 - len(sides))
        gradient = (HUGE if vector is None else 1.0) * gaussian(rng, (4, 3), False)
        probe = None if vector is None else vector * gaussian(rng, (4, 3), False)

        def fit(factors: Any, gradient: Any, probe: Any) -> Any:
            draws = production("psgd.fitting.SliceDraws")(None, tuple(probes), tuple(probes), 0.5)
            row = production("psgd.geometry.geometry")(mode)
            rule = production("psgd.fitting.Rule")(row, rate, newton=probe is not None)
            return production(UPDATE)(factors, list(L), gradient, probe, draws, rule)

        return compiled(fit)(factors, gradient, probe)

    return run


def _left(part: float, mixed: bool) -> Side:
    return lambda rng: ([part * factor for factor in _given(rng, mixed)], list(L))


def _held(moves: bool) -> Side:
    """Return what is kept in float16 before a step or after it, and whether updates are finite."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        import jax.numpy as jnp

        optimizer = production(KRON)(
            precond_dtype="float16", cache_preconditioner=True, damping=None
        )
        gradients = {"w": jnp.asarray(1e-12 * rng.standard_normal((4, 4)))}
        state, finite = optimizer.init(gradients), True
        if moves:
            update = compiled(optimizer.update)
            updates, state = update(gradients, state, update_preconditioner=True)
            finite = bool(jnp.all(jnp.isfinite(updates["w"])))
        kept = state.Qs_preconditioners, state.Ps_preconditioners
        return jax.tree.map(lambda one: np.asarray(one, "float64"), kept), np.asarray(finite)

    return run


def _check(label: str, moved: Side, left: Side) -> Equivalence:
    return Equivalence(
        name=UPDATE,
        label=label,
        left=moved,
        right=left,
        budget=4.0,
        reason="one product for each entry",
    )


CHECKS = (
    *(
        _check(
            f"a gradient that overflows = 1 - μ of Q, {mode}{', mixed' * mixed}",
            _moved(mode, 0.3, None, mixed),
            _left(0.7, mixed),
        )
        for mode, mixed in (("Q0.5EQ1.5", False), ("HYPER", True), ("QUAD", True))
    ),
    _check(
        "a gradient that overflows, long step = half of Q",
        _moved("QEQ", 0.8, None, True),
        _left(0.5, True),
    ),
    _check(
        "a vector that overflows = Q",
        _moved("QEQ", 0.3, HUGE, True),
        _left(1.0, True),
    ),
    Equivalence(
        name=KRON,
        label="what float16 does not hold = what was kept before",
        left=_held(True),
        right=_held(False),
        budget=0.0,
        reason="nothing is stored: equal bits",
    ),
)
