"""Checks of PSGD with one dense factor for everything: one fit, and whole runs."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from verification import registry
from verification.case import Case, Sample
from verification.flat_preconditioners import (
    DENSE,
    annealed,
    every_third,
    first_two_zero,
    hessian_pair,
    side_of,
    spoiled,
    trajectory,
)
from verification.problems.factors import positive_definite, rotation, triangular

__all__ = ["CHECKS"]

NAME = "psgd.dense"
PROBES = 4
# Geometry, order, whether there is a vector, size: all bases in all orders, and every row once.
RUNS = (
    *((mode, order, True, 5) for mode in ("EQ", "QUAD4P") for order in ("tracked", "2nd", "1st")),
    *(("QEP", order, vector, 5) for order in ("tracked", "1st") for vector in (True, False)),
    *(("Q0.5EQ1.5", order, False, 5) for order in ("tracked", "2nd", "1st")),
    ("QUAD4P", "2nd", False, 5),
    *((mode, "tracked", True, 5) for mode in ("Q0.5EQ1.5", "QEQ", "PRO4P", "NS", "EXP", "HYPER")),
    ("QUAD", "1st", True, 5),
    ("TAYLOR2", "2nd", True, 5),
    ("EQ", "tracked", True, 1),
)
SCALES = (1.0, 1e-10, 1e10)
# Of the error in float32 to that of a control that is exact where production iterates.
ITERATED = {"NS": 2.0, "EXP": 8.0, "HYPER": 8.0}
# Those that are kept positive, not turned.
POSITIVE = ("QUAD", "QUAD4P", "EXP", "TAYLOR2", "HYPER")


def _factor(rng: np.random.Generator, size: int, mode: str, basis: str) -> np.ndarray:
    if basis == "whitened":
        return triangular(rng, size, 10.0, False)
    positive = positive_definite(rng, size, 10.0, False)
    return positive if mode in POSITIVE else rotation(rng, size, 0.1, False) @ positive


def _fits(rng: np.random.Generator) -> Iterator[Sample]:
    for index, (mode, order, has_vector, size) in enumerate(RUNS):
        basis = registry.reference("psgd.geometry.geometry")(mode).basis
        for turn, scale in enumerate(SCALES):
            q = scale ** (2 if basis == "direct" else 1) * _factor(rng, size, mode, basis)
            h = (1.0, 5.0, 0.2)[(index + turn) % 3] * rng.standard_normal(size) / scale**2
            v = rng.standard_normal(size) if has_vector else None
            # Of what the step is divided by; in the other bases v enters as it is.
            unit = {"whitened": scale**-2.0, "factor": scale**2.0}.get(basis, 1.0)
            lipschitz = np.asarray(10.0 ** rng.uniform(-1, 3) * unit)
            probes = rng.standard_normal((PROBES, size))
            yield Sample(
                f"{mode} {order} {size} {scale:.0e} vector {has_vector}",
                (q, lipschitz, h, v, probes, np.asarray([0.3, 0.9])),
                {"mode": mode, "order": order},
                condition=_amplified(q, h, v, basis, order) * ITERATED.get(mode, 1.0),
            )


def _amplified(q: np.ndarray, h: np.ndarray, v: np.ndarray | None, basis: str, order: str) -> float:
    """Return how much larger the vectors, and their difference, could have been than they are."""
    power = 1 if basis in ("whitened", "direct") else 2
    chain = [q] if power == 1 else [q.T, q]
    a = h
    for side in reversed(chain):
        a = side @ a
    longest = np.linalg.norm(q, 2) ** power * np.linalg.norm(h)
    if basis == "factor":
        a, longest = q @ a, longest * np.linalg.norm(q, 2)
    amplified = max(longest / np.linalg.norm(a), np.linalg.cond(q) if basis == "whitened" else 1.0)
    if order == "1st":
        second = _second(q, v, basis)
        both = np.linalg.norm(np.outer(a, a)) + np.linalg.norm(second)
        amplified *= both / np.linalg.norm(np.outer(a, a) - second)
    return max(1.0, float(amplified))


def _second(q: np.ndarray, v: np.ndarray | None, basis: str) -> np.ndarray:
    if v is None:
        return q @ q.T if basis == "factor" else np.eye(len(q))
    b = {"whitened": lambda: np.linalg.solve(q.T, v), "factor": lambda: q @ v}
    return np.outer(*2 * [b.get(basis, lambda: v)()])


def _stepped(function: Callable[..., Any], *arguments: Any, mode: str, order: str) -> list[Any]:
    q, lipschitz, h, v, probes, rates = arguments
    find = side_of(function)
    rule = find("psgd.flat.StepRule")(rates[0], rates[1], order)
    row = find("psgd.geometry.geometry")(mode)
    auxiliary = find("psgd.geometry.Auxiliary")(probes)
    return list(function(q, lipschitz, h, v, rule, row, auxiliary))


def _of_mode(mode: str, newton: bool) -> Any:
    """Return some steps of one geometry."""
    return trajectory(
        DENSE,
        f"{mode}, {'Newton' if newton else 'whitening'}",
        condition=ITERATED.get(mode, 1.0),
        run=NEWTON | LONG if newton else LONG,
        preconditioner_mode=mode,
        precond_lr=0.3,
    )


NEWTON = {"extra": hessian_pair}
LONG = {"steps": 100}
# In one step of a hundred: the reference rounded at random is up to 38 off there.
SMALL = "the update of one leaf is small beside the products that it is the sum of"
CHECKS = (
    Case(
        name=f"{NAME}.update_factor",
        samples=_fits,
        budget=8.0,
        reason="products of length n and a rule, amplified as far as they cancel",
        dtypes=("float64", "float32"),
        ratio=8.0,
        ratio_reason="a rounding for each iteration, where the control is exact",
        apply=_stepped,
    ),
    # First those that tell most wrong versions apart.
    trajectory(
        DENSE,
        "EQ, 2nd, momentum whitened, P last",
        b1=0.9,
        whiten_grad=False,
        update_preconditioner_first=False,
        step_normalizer_order="2nd",
        preconditioner_mode="EQ",
        run=LONG,
    ),
    trajectory(DENSE, "Newton, nesterov", b1=0.9, nesterov=True, precond_lr=0.3, run=NEWTON | LONG),
    trajectory(
        DENSE, "whitening", precond_lr=0.3, damping=0.1, budget=30.0, reason=SMALL, run=LONG
    ),
    trajectory(
        DENSE,
        "2nd, Newton, half of the steps",
        preconditioner_update_probability=0.5,
        step_normalizer_order="2nd",
        preconditioner_mode="QUAD4P",
        run=NEWTON | LONG,
    ),
    trajectory(
        DENSE,
        "1st, scale given, rate that falls",
        precond_init_scale=0.3,
        step_normalizer_order="1st",
        precond_lr=annealed,
        preconditioner_mode="QEP",
        budget=30.0,
        reason=SMALL,
        run=LONG,
    ),
    trajectory(
        DENSE,
        "1st, Newton, scale of second moments",
        precond_init_moment="2nd",
        step_normalizer_order="1st",
        preconditioner_mode="EQ",
        run=NEWTON | LONG,
    ),
    _of_mode("QUAD4P", False),
    _of_mode("QEP", True),
    trajectory(
        DENSE,
        "QEQ, first gradients zero, when asked, limits",
        preconditioner_mode="QEQ",
        update_global_norm_clip=2.0,
        run={"spoil": first_two_zero, "extra": every_third},
    ),
    trajectory(
        DENSE,
        "spikes skipped",
        b1=0.9,
        raw_global_grad_clip=20.0,
        permissive_spike_protection=False,
        run={"spoil": spoiled},
    ),
    trajectory(
        DENSE,
        "decay, every second step",
        learning_rate=0.01,
        weight_decay=0.1,
        # A number that float32 has.
        b1=0.875,
        preconditioner_update_interval=2,
        run={"free": True, "steps": 20, "dtypes": ("float64", "float32")},
    ),
)
