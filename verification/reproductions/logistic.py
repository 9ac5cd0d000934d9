"""Logistic regression on products of pixels, with LRA, L-BFGS and stochastic gradient descent.

Source: Pooladzandi and Li, "Curvature-Informed SGD via General Purpose Lie-Group Preconditioners",
arXiv 2402.04553, on all products of two pixels of MNIST; the schedule is that of psgd_torch
a8616f1, misc/mnist_logistic_regression.py.
"""

import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import rollfast
from verification.problems import digits
from verification.reproductions.criteria import Criterion, Curves
from verification.reproductions.reproduction import Figure, Part, Reproduction, judged
from verification.wide_numbers import enable_x64

__all__ = ["FULL", "METHODS", "REPRODUCTION", "Size", "entry", "features", "measure"]

CLASSES = 10
BATCH = 64
TRAIN_SHARE = 0.8
# The step falls to this share of its start, by the same factor after every pass.
LAST = 0.01
LBFGS_MEMORY = 10
PSGD, SGD, LBFGS = "PSGD, LRA of rank 10", "SGD with momentum", "L-BFGS"
AS_GIVEN = "PSGD, the step of the paper"
LOSS, ERROR = "training loss at the end", "test error at the end"


class Size(NamedTuple):
    """How much is run.

    Attributes:
        passes: Number of passes over the training data.
        splits: Seeds of the division into training and test data.
        trial_splits: Those on which the steps are chosen.
    """

    passes: int = 60
    splits: tuple[int, ...] = tuple(range(10))
    trial_splits: tuple[int, ...] = (100, 101, 102, 103)


FULL = Size()


class Split(NamedTuple):
    """Features, (count, 2081), and labels, (count,), for training and for the test."""

    train: tuple[Array, Array]
    test: tuple[Array, Array]


def features(images: np.ndarray) -> np.ndarray:
    """Return the products of all pairs of pixels, of each with itself too, and a one.

    Args:
        images: (count, 8, 8).

    Returns:
        (count, 64 * 65 / 2 + 1).
    """
    pixels = images.reshape(len(images), -1)
    first, second = np.triu_indices(pixels.shape[1])
    return np.column_stack([pixels[:, first] * pixels[:, second], np.ones(len(pixels))])


@cache
def _data() -> tuple[np.ndarray, np.ndarray]:
    parts = digits.load()
    images = np.concatenate([part.images for part in parts])
    return features(images), np.concatenate([part.labels for part in parts])


def split(seed: int) -> Split:
    """Return all 1797 digits, shuffled and divided.

    Args:
        seed: Of the shuffle.
    """
    rows, labels = _data()
    order = np.random.default_rng(seed).permutation(len(labels))
    last = int(TRAIN_SHARE * len(labels))
    parts = [
        (jnp.asarray(rows[chosen], jnp.float32), jnp.asarray(labels[chosen], jnp.int32))
        for chosen in (order[:last], order[last:])
    ]
    return Split(*parts)


def loss(weights: Array, rows: Array, labels: Array) -> Array:
    """Return the mean cross-entropy; weights are (features, classes)."""
    logits = rows @ weights
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def error(weights: Array, rows: Array, labels: Array) -> Array:
    """Return the share of wrong answers, in percent."""
    return 100 * jnp.mean(jnp.argmax(rows @ weights, -1) != labels)


Make = Callable[[Any, Any], optax.GradientTransformation]


class Method(NamedTuple):
    """A method that goes through the data in batches.

    Attributes:
        make: (schedule of the step, seed) -> the optimizer.
        grid: First steps that are tried.
        fits: Whether it is given pairs of a vector and the Hessian's product with it.
    """

    make: Make
    grid: tuple[float, ...]
    fits: bool


def _psgd(schedule: Any, seed: Any) -> optax.GradientTransformation:
    return rollfast.low_rank_approximation(
        schedule,
        uvd_rank_of_approximation=10,
        b1=0.0,
        precond_lr=0.1,
        step_normalizer_order="2nd",
        precision="highest",
        seed=seed,
    )


def _sgd(schedule: Any, seed: Any) -> optax.GradientTransformation:
    del seed
    return optax.sgd(schedule, momentum=0.9)


METHODS = {
    PSGD: Method(_psgd, (0.02, 0.05, 0.1, 0.2, 0.5, 1.0), fits=True),
    AS_GIVEN: Method(_psgd, (0.05,), fits=True),
    SGD: Method(_sgd, (0.01, 0.03, 0.1, 0.3, 1.0, 3.0), fits=False),
}


@partial(jax.jit, static_argnums=(0, 1))
def train(
    method: Method, passes: int, rate: Array, data: Split, key: Array
) -> tuple[Array, Array, Array]:
    """Return (losses of all training data, test errors in percent, before and after each pass).

    Each pass takes as many whole batches as there are, in an order of its own.

    Args:
        method: The method.
        passes: Number of passes.
        rate: Step at the start.
        data: Of the split.
        key: Of the orders, the vectors and the optimizer.

    Returns:
        (losses (passes + 1,), errors (passes + 1,), weights).
    """
    rows, labels = data.train
    batches = len(labels) // BATCH
    factor = LAST ** (1 / max(passes - 1, 1))
    transformation = method.make(
        lambda count: rate * factor ** (count // batches), jax.random.fold_in(key, passes)
    )

    def step(carried: Any, drawn: tuple[Array, Array]) -> tuple[Any, None]:
        weights, state, count = carried
        chosen, own = drawn
        batch = (rows[chosen], labels[chosen])
        further: dict[str, Any] = {}
        if method.fits:
            _, gradient, product, vector, asked = rollfast.hessian_helper(
                own, loss, weights, batch, step=count, probe="normal"
            )
            further = {"Hvp": product, "vector": vector, "update_preconditioner": asked}
        else:
            gradient = jax.grad(loss)(weights, *batch)
        updates, state = transformation.update(gradient, state, weights, **further)
        return (optax.apply_updates(weights, updates), state, count + 1), None

    def one_pass(carried: Any, number: Array) -> tuple[Any, tuple[Array, Array]]:
        seen = loss(carried[0], rows, labels), error(carried[0], *data.test)
        of_order, of_steps = jax.random.split(jax.random.fold_in(key, number))
        order = jax.random.permutation(of_order, len(labels))[: batches * BATCH]
        drawn = order.reshape(batches, BATCH), jax.random.split(of_steps, batches)
        return jax.lax.scan(step, carried, drawn)[0], seen

    weights = jnp.zeros((rows.shape[1], CLASSES))
    first: Any = (weights, transformation.init(weights), jnp.zeros([], jnp.int32))
    (weights, *_), (losses, errors) = jax.lax.scan(one_pass, first, jnp.arange(passes))
    losses = jnp.append(losses, loss(weights, rows, labels))
    return losses, jnp.append(errors, error(weights, *data.test)), weights


def lbfgs(data: Split, passes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the losses and test errors of L-BFGS, one value for each gradient of all data.

    Where it ends before, the last values are repeated. Arguments as for `train`.
    """
    from scipy.optimize import minimize

    rows, labels = data.train
    shape = (rows.shape[1], CLASSES)
    both = jax.jit(jax.value_and_grad(loss))
    missed = jax.jit(error)
    losses, errors = [], []

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = jnp.asarray(flat.reshape(shape), jnp.float32)
        found, gradient = both(weights, rows, labels)
        losses.append(float(found))
        errors.append(float(missed(weights, *data.test)))
        return losses[-1], np.asarray(gradient, np.float64).ravel()

    options = {"maxfun": passes, "maxcor": LBFGS_MEMORY, "ftol": 0.0, "gtol": 0.0}
    minimize(value, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options)
    # The search of the last line may end it beyond the limit. The last of a search counts.
    kept = [np.array(values[: passes + 1]) for values in (losses, errors)]
    whole = [np.append(one, np.full(passes + 1 - len(one), one[-1])) for one in kept]
    return whole[0], whole[1]


def measure(label: str, size: Size = FULL) -> Part:
    """Choose the step of a method on splits of their own, and run it on those that count.

    The step is that with which the worst of those splits ends at the smallest training loss.

    Args:
        label: Of the method.
        size: How much is run.
    """
    with enable_x64(False):
        if label == LBFGS:
            step, run = None, partial(_lbfgs, size.passes)
        else:
            method = METHODS[label]

            def last(rate: float) -> float:
                ends = [_trained(method, size.passes, rate, s)[0][-1] for s in size.trial_splits]
                return float(np.max(np.nan_to_num(ends, nan=np.inf)))

            step = min(method.grid, key=last) if len(method.grid) > 1 else method.grid[0]
            run = partial(_trained, method, size.passes, step)
        start = time.perf_counter()
        found = [run(seed) for seed in size.splits]
        seconds = (time.perf_counter() - start) / len(size.splits)
    losses, errors = (np.stack(values) for values in zip(*found, strict=True))
    tiny = np.finfo(np.float32).tiny
    curves = {
        label: np.exp(np.mean(np.log(np.maximum(losses, tiny)), axis=0)),
        f"{label}, {LOSS}": losses[:, -1],
        f"{label}, {ERROR}": errors[:, -1],
    }
    return Part(curves, {"step": step, "seconds": seconds, "best": errors.min(1).mean()})


def _trained(method: Method, passes: int, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    key = jax.random.key(seed)
    losses, errors, _ = train(method, passes, jnp.float32(rate), split(seed), key)
    return np.asarray(losses, np.float64), np.asarray(errors, np.float64)


def _lbfgs(passes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return lbfgs(split(seed), passes)


def ratio(name: str, other: str, kind: str) -> Callable[[Curves], float]:
    """Return a measure: geometric mean over the splits of one method's values over another's.

    Args:
        name: Of the method.
        other: Of the method that it is compared with.
        kind: `LOSS`.
    """

    def measured(curves: Curves) -> float:
        tiny = np.finfo(np.float32).tiny
        values = [np.maximum(curves[f"{label}, {kind}"], tiny) for label in (name, other)]
        return float(np.exp(np.mean(np.log(values[0] / values[1]))))

    return measured


def further(name: str, other: str) -> Callable[[Curves], float]:
    """Return a measure: mean test error of one method less that of another, in percent."""
    return lambda c: float(np.mean(c[f"{name}, {ERROR}"] - c[f"{other}, {ERROR}"]))


MARGIN = 0.15
CRITERIA = (
    Criterion(
        "PSGD over SGD: training losses after the same passes, geometric mean of the splits",
        ratio(PSGD, SGD, LOSS),
        most=1.0,
    ),
    Criterion(
        "splits of 10 in which PSGD has the smaller training loss at the end",
        lambda c: float(np.sum(c[f"{PSGD}, {LOSS}"] < c[f"{SGD}, {LOSS}"])),
        9,
    ),
    Criterion(
        "PSGD less SGD: mean test error in percent (paper: -0.39)", further(PSGD, SGD), most=MARGIN
    ),
    Criterion(
        "PSGD less L-BFGS: mean test error in percent (paper: -0.11)",
        further(PSGD, LBFGS),
        most=MARGIN,
    ),
)
CLAIM = (
    "On MNIST, with all products of two pixels as features and batches of 500, the paper has test "
    "errors of 2.37 % for SGD, 2.09 % for L-BFGS on batches and 1.98 % for PSGD with LRA of rank "
    "10, step 0.05 and step of Q 0.1, and a smaller training loss for PSGD. Here it is the digits "
    "of 8 x 8 pixels that come with scikit-learn: 1797 of them, 2080 products and a one for 10 "
    f"classes, 20810 weights, batches of {BATCH} of 1437, ten divisions into training and test "
    "data, float32, weights of zero at the start. All methods see the training data "
    f"{FULL.passes} times; for PSGD a gradient and a product with the Hessian are of one batch "
    "and count as one, which costs it about three gradients, so that the seconds are given too. "
    f"Steps fall to a hundredth, by the same factor after each pass. L-BFGS, memory "
    f"{LBFGS_MEMORY}, has the gradient of all data in every evaluation, and a search of the line, "
    "so that it is not the paper's. The products separate the classes of so few digits: all losses "
    "may fall to 0, which those of MNIST do not. What can be checked is the order of the losses "
    "and that PSGD is no worse on the test, but no error of MNIST: 360 test digits have a standard "
    "error of 0.6 % for one division, and 0.2 % for ten."
)
RULE = (
    "PASS if every number in the table lies within its limits, which were fixed before the run. "
    f"Test errors may be {MARGIN} % more, half a digit of the 360, since on so few their order is "
    "not expected to be the paper's. Steps are those with which the worst of four other "
    "divisions ends at the smallest training loss: of "
    f"{', '.join(str(rate) for rate in METHODS[PSGD].grid)} for PSGD and of "
    f"{', '.join(str(rate) for rate in METHODS[SGD].grid)} for SGD, whose momentum is 0.9. "
    "Steps were chosen by another rule in a first run, in which PSGD left the valley on some "
    "divisions and missed all four limits; the limits stayed as they were. Run once on division 0, "
    "with a step of 0.2 and batches in an order of its own, psgd_jax 0.2.9 ends at a training loss "
    "of 8e-5 and this package with psgd_jax's first scale (precond_init_moment='2nd') at 1e-4, "
    "where SGD with a step of 3 ends at 4e-7."
)


def entry(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Return the entry of the report.

    Args:
        parts: By the label of the method.
    """
    curves = {label: curve for part in parts.values() for label, curve in part.curves.items()}
    rows = []
    for label, part in parts.items():
        losses, errors = curves[f"{label}, {LOSS}"], curves[f"{label}, {ERROR}"]
        rows.append(
            {
                "method": label,
                "step": part.facts["step"],
                "training loss, geometric mean": float(curves[label][-1]),
                "largest": float(losses.max()),
                "test error in %, mean": float(errors.mean()),
                "standard deviation": float(errors.std(ddof=1)) if len(errors) > 1 else None,
                "mean of the best pass": float(part.facts["best"]),
                "seconds for a split": float(part.facts["seconds"]),
            }
        )
    texts = {
        "title": REPRODUCTION.title,
        "source": "arXiv 2402.04553, logistic regression on MNIST; psgd_torch a8616f1, "
        "misc/mnist_logistic_regression.py, for the schedule",
        "claim": CLAIM,
        "criterion": RULE,
    }
    figure = Figure(list(parts), "passes over the training data", "training loss, geometric mean")
    caption = f"Divisions {FULL.splits[0]} to {FULL.splits[-1]}; steps chosen on 100 to 103"
    return judged(texts, CRITERIA, curves, figure, tables=[{"caption": caption, "rows": rows}])


REPRODUCTION = Reproduction(
    "Logistic regression on products of pixels",
    {PSGD: 150.0, AS_GIVEN: 60.0, SGD: 30.0, LBFGS: 30.0},
    measure,
    entry,
)
