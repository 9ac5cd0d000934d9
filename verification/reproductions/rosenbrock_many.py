"""Rosenbrock's function of a hundred variables, with the settings of the author's examples."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import rollfast
from verification.reproductions.criteria import Criterion, end, settled
from verification.reproductions.reproduction import Figure, Part, Reproduction, judged
from verification.reproductions.rosenbrock import Method, descend
from verification.wide_numbers import enable_x64

__all__ = ["METHODS", "REPRODUCTION", "entry", "measure"]

SIZE = 100
STEPS = 2000
STRIDE = 10
LEVEL = 1e-6
SEEDS = (0, 1, 2, 3, 4)
ADAM_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
DENSE, AFFINE, XMAT, LRA, ADAM = "dense", "affine", "XMat", "LRA, rank 10", "Adam"
REACHED = "iterations"


def _psgd(optimizer: Any, step_of_q: float, **own: Any) -> Method:
    def make(step: Any, of_q: Any, seed: Any) -> optax.GradientTransformation:
        return optimizer(step, precond_lr=of_q, precision="highest", seed=seed, **own)

    return Method(make, ((1.0, step_of_q),), STEPS, fits=True)


def _adam(step: Any, of_q: Any, seed: Any) -> optax.GradientTransformation:
    del of_q, seed
    return optax.adam(step)


# What the author's code has, medians of three seeds: the loss at the end, and the iterations until
# it stays below `LEVEL`, 2001 where it does not.
AUTHOR = {
    DENSE: (2.44e-10, 1460),
    AFFINE: (6.22e-10, 1604),
    XMAT: (0.122, 2001),
    LRA: (0.0873, 2001),
}

# Dense as in psgd_torch a8616f1; the others as in 6de84e6, without momentum.
METHODS = {
    DENSE: _psgd(rollfast.dense_newton, 0.5, b1=0.9),
    AFFINE: _psgd(rollfast.affine, 0.5, b1=0.0, step_normalizer_order="2nd"),
    XMAT: _psgd(rollfast.xmat, 0.2, b1=0.0, step_normalizer_order="2nd"),
    LRA: _psgd(
        rollfast.low_rank_approximation,
        0.2,
        b1=0.0,
        step_normalizer_order="2nd",
        uvd_rank_of_approximation=10,
    ),
    ADAM: Method(_adam, tuple((rate, 0.0) for rate in ADAM_RATES), STEPS, fits=False),
}


@partial(jax.jit, static_argnums=0)
def _losses(method: Method, steps: Array, seeds: Array) -> Array:
    def one(seed: Array) -> Array:
        of_vectors, own = jax.random.split(jax.random.key(seed))
        transformation = method.make(steps[0], steps[1], own)
        start = jnp.zeros(SIZE)
        return descend(transformation, start, method.steps, of_vectors, fits=method.fits)[1]

    return jax.vmap(one)(seeds)


def measure(label: str) -> Part:
    """Run a method on all seeds; Adam with the step of the smallest loss at the end.

    Args:
        label: Of the method.
    """
    method = METHODS[label]
    seeds = jnp.asarray(SEEDS if method.fits else SEEDS[:1])
    with enable_x64(True):
        tried = [np.asarray(_losses(method, jnp.asarray(pair), seeds)) for pair in method.grid]
    ends = [np.median(np.nan_to_num(losses[:, -1], nan=np.inf)) for losses in tried]
    best = int(np.argmin(ends))
    losses = tried[best]
    counts = [settled(one, LEVEL) - 1 for one in losses]
    curves = {
        label: np.median(losses, axis=0)[::STRIDE],
        f"{label}, {REACHED}": np.array([np.median(counts)]),
        f"{label}, largest end": np.array([losses[:, -1].max()]),
    }
    return Part(curves, {"step": method.grid[best][0], "step of Q": method.grid[best][1]})


def _over(label: str, largest: float) -> Criterion:
    return Criterion(
        f"{label}: loss after {STEPS} iterations over that of the author's code",
        lambda c: end(c[label]) / AUTHOR[label][0],
        1 / largest,
        largest,
    )


CRITERIA = (
    _over(DENSE, 5.0),
    Criterion(
        f"dense: iterations until the loss stays below {LEVEL:g}, over those of the author's code",
        lambda c: float(c[f"{DENSE}, {REACHED}"][0]) / AUTHOR[DENSE][1],
        0.9,
        1.1,
    ),
    _over(XMAT, 1.5),
    _over(LRA, 1.5),
    Criterion(
        f"dense: largest loss after {STEPS} iterations of any seed",
        lambda c: end(c[f"{DENSE}, largest end"]),
        most=1e-8,
    ),
    Criterion(
        "dense: largest loss on the way over the first",
        lambda c: float(c[DENSE].max() / c[DENSE][0]),
        most=2.0,
    ),
)
CLAIM = (
    "The author's example minimizes the sum of 100 (y - x^2)^2 + (1 - x)^2 over fifty pairs (x, y) "
    "of neighbours, from zeros, with DenseNewton, step 1, step of Q 0.5, momentum 0.9, and 2000 "
    "iterations. It is of a hundred variables in pairs, and not the chained sum over x_(i+1) - "
    "x_i^2. An earlier version, 6de84e6, names Affine, XMat and LRA as other choices, with steps "
    "of Q of 0.5, 0.2 and 0.2 and no momentum. One triangular factor can hold all pairs, and XMat "
    "and a rank of 10 cannot. What the source shows is a plot; for numbers the author's code was "
    "run, in float64 and with a hundred variables for all, on the seeds 100 to 102. Nothing is "
    "held of affine, where the author's has a second factor for the axis of one column, with a "
    "step of its own, and ours has none."
)
RULE = (
    "PASS if every number in the table lies within its limits, which come from the author's "
    "code. They took the place of limits that had been guessed, after a trial on the seeds 100 "
    "and 101 in which dense and affine missed those. They are medians of the seeds 0 to 4, where "
    "nothing else is said. Adam has the step of 0.003, 0.01, 0.03, 0.1, 0.3 and 1 with the "
    "smallest loss at the end."
)


def entry(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Return the entry of the report.

    Args:
        parts: By the label of the method.
    """
    curves = {label: curve for part in parts.values() for label, curve in part.curves.items()}
    rows = []
    for label, part in parts.items():
        count = float(curves[f"{label}, {REACHED}"][0])
        rows.append(
            {
                "method": label,
                "step": part.facts["step"],
                "step of Q": part.facts["step of Q"] or None,
                f"iterations to {LEVEL:g}, median": f"{count:g}"
                if count <= STEPS
                else f"more than {STEPS}",
                f"loss after {STEPS}, median": end(curves[label]),
                "the author's": AUTHOR[label][0] if label in AUTHOR else None,
                "largest of any seed": end(curves[f"{label}, largest end"]),
            }
        )
    texts = {
        "title": REPRODUCTION.title,
        "source": "psgd_torch a8616f1 and 6de84e6, hello_psgd.py",
        "claim": CLAIM,
        "criterion": RULE,
    }
    figure = Figure(list(parts), "iteration", "median of the loss", STRIDE)
    tables = [{"caption": "Methods and their steps", "rows": rows}]
    return judged(texts, CRITERIA, curves, figure, tables=tables)


REPRODUCTION = Reproduction(
    "Rosenbrock's function of a hundred variables",
    {label: 15.0 for label in METHODS},
    measure,
    entry,
)
