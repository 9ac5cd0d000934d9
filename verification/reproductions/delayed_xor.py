"""The delayed exclusive or, learnt by a plain recurrent network, against the rank of LRA.

A sequence of signs has two of them marked, one among the first and one in the first half, and the
network says at the end whether they differ.

Source: Pooladzandi and Li, "Curvature-Informed SGD via General Purpose Lie-Group Preconditioners",
arXiv 2402.04553; the task, the network and the settings are those of psgd_torch,
rnn_xor_problem_general_purpose_preconditioner.py at 351b611, of 2022, and a8616f1.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import rollfast
from verification.reproductions.criteria import Criterion, Curves
from verification.reproductions.reproduction import (
    Figure,
    Part,
    Reproduction,
    clopper_pearson,
    judged,
)
from verification.wide_numbers import enable_x64

__all__ = ["RANKS", "REPRODUCTION", "Size", "entry", "measure", "trials"]

HIDDEN = 30
BATCH = 128
LEVEL = 0.1
LIMIT = 6500
# Iterations of a trial that has not succeeded.
NEVER = LIMIT + 1
STRIDE = 50
SEED = 0
# Rank -> rate of success in the paper, of up to 100000 iterations.
RANKS = {0: 0.1, 1: 0.4, 2: 0.8, 5: 1.0, 10: 1.0}


class Size(NamedTuple):
    """How much is run.

    Attributes:
        length: Of a sequence.
        trials: Number of starts, each with data of its own; all ranks have the same ones.
        limit: Largest number of iterations, a multiple of `chunk`.
        chunk: Iterations between two looks at whether all have succeeded, a multiple of
            `STRIDE`.
    """

    length: int = 32
    trials: int = 8
    limit: int = LIMIT
    chunk: int = 250


FULL = Size()


def start(key: Array) -> dict[str, Array]:
    """Return the first weights, 1021 numbers: small ones, but for an orthogonal matrix."""
    of_input, of_state, of_output = jax.random.split(key, 3)
    return {
        "input": 0.1 * jax.random.normal(of_input, (2, HIDDEN)),
        "state": jax.random.orthogonal(of_state, HIDDEN),
        "bias": jnp.zeros(HIDDEN),
        "output": 0.1 * jax.random.normal(of_output, (HIDDEN,)),
        "offset": jnp.zeros(()),
    }


def batch(key: Array, length: int) -> tuple[Array, Array]:
    """Return (signs and marks, (length, 2, BATCH); 1 where the marked signs differ, else -1)."""
    of_signs, of_first, of_second = jax.random.split(key, 3)
    signs = jax.random.rademacher(of_signs, (length, BATCH), jnp.float32)
    first = jnp.floor(0.1 * length * jax.random.uniform(of_first, (BATCH,)))
    second = jnp.floor(0.1 * length + 0.4 * length * jax.random.uniform(of_second, (BATCH,)))
    first, second = first.astype(jnp.int32), second.astype(jnp.int32)
    columns, times = jnp.arange(BATCH), jnp.arange(length)[:, None]
    marks = ((times == first) | (times == second)).astype(signs.dtype)
    return jnp.stack([signs, marks], 1), -signs[first, columns] * signs[second, columns]


def loss(weights: Mapping[str, Array], inputs: Array, labels: Array) -> Array:
    """Return the logistic loss of the network's answers.

    Args:
        weights: See `start`.
        inputs: (length, 2, BATCH).
        labels: 1 or -1, (BATCH,).
    """
    turn = weights["state"].T
    drives = jnp.einsum("tib,ih->thb", inputs, weights["input"]) + weights["bias"][:, None]

    def advance(state: Array, drive: Array) -> tuple[Array, None]:
        return jnp.tanh(drive + turn @ state), None

    # Written out, since a loop of products this small spends its time on the loop.
    state, _ = jax.lax.scan(advance, jnp.zeros((HIDDEN, BATCH)), drives, unroll=True)
    answers = weights["output"] @ state + weights["offset"]
    return jnp.mean(jax.nn.softplus(-labels * answers))


def optimizer(rank: int) -> optax.GradientTransformationExtraArgs:
    """Return LRA as the author's code of the paper had it."""
    return rollfast.low_rank_approximation(
        0.01,
        uvd_rank_of_approximation=rank,
        b1=0.0,
        precond_lr=0.01,
        precond_init_scale=1.0,
        step_normalizer_order="1st",
        update_global_norm_clip=1.0,
        precision="highest",
    )


def trials(rank: int, size: Size, seed: int = SEED) -> np.ndarray:
    """Return the loss of each iteration and trial, (iterations, trials).

    It ends after the chunk in which the last of the trials has succeeded.

    Args:
        rank: Of the approximation.
        size: How much is run.
        seed: Of all random numbers.
    """
    transformation = optimizer(rank)

    def step(carried: tuple[Any, Any], key: Array) -> tuple[Any, Array]:
        weights, state = carried
        of_batch, of_vector = jax.random.split(key)
        inputs, labels = batch(of_batch, size.length)
        vector = normal_like(of_vector, weights)

        def gradient(weights: Any) -> tuple[Any, Array]:
            value, gradients = jax.value_and_grad(loss)(weights, inputs, labels)
            return gradients, value

        # Not `hessian_helper`: under `vmap` its branch without a product would be computed too.
        gradients, product, value = jax.jvp(gradient, (weights,), (vector,), has_aux=True)
        updates, state = transformation.update(
            gradients, state, weights, Hvp=product, vector=vector
        )
        return (optax.apply_updates(weights, updates), state), value

    # All trials at once: beside its matrices a step has hundreds of operations on a few numbers.
    @partial(jax.jit, donate_argnums=0)
    def advance(carried: Any, keys: Array, first: Array) -> tuple[Any, Array]:
        def one(carried: Any, count: Array) -> tuple[Any, Array]:
            return jax.vmap(step)(carried, jax.vmap(jax.random.fold_in, (0, None))(keys, count))

        return jax.lax.scan(one, carried, first + jnp.arange(size.chunk))

    both = jax.vmap(jax.random.split)(jax.random.split(jax.random.key(seed), size.trials))
    weights = jax.vmap(start)(both[:, 0])
    carried = (weights, jax.vmap(transformation.init)(weights))
    losses: list[np.ndarray] = []
    for first in range(0, size.limit, size.chunk):
        carried, found = advance(carried, both[:, 1], jnp.int32(first))
        losses.append(np.asarray(found))
        if (np.concatenate(losses).min(0) < LEVEL).all():
            break
    return np.concatenate(losses)


def normal_like(key: Array, tree: Any) -> Any:
    """Return a tree of standard normal numbers.

    Args:
        key: Of the numbers.
        tree: Arrays of the shapes wanted.
    """
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return structure.unflatten(drawn)


def label_of(rank: int) -> str:
    """Return the name of a part and of its curve."""
    return f"rank {rank}"


def taken(rank: int) -> str:
    """Return the name of what holds the iterations to success of each trial."""
    return f"{label_of(rank)}, iterations"


def measure(label: str, size: Size = FULL) -> Part:
    """Run all trials of one rank.

    Args:
        label: See `label_of`.
        size: How much is run.
    """
    (rank,) = (rank for rank in RANKS if label_of(rank) == label)
    with enable_x64(False):
        losses = trials(rank, size)
    below = losses < LEVEL
    steps = np.where(below.any(0), below.argmax(0) + 1.0, NEVER)
    curve = np.median(losses.reshape(-1, STRIDE, size.trials).mean(1), axis=1)
    # All have succeeded by then.
    curve = np.append(curve, np.full(size.limit // STRIDE - len(curve), curve[-1]))
    return Part({label: curve, taken(rank): steps}, {})


def successes(curves: Curves, rank: int) -> float:
    """Return how many trials of a rank have succeeded."""
    return float(np.sum(curves[taken(rank)] <= LIMIT))


def largest_fall(curves: Curves) -> float:
    """Return by how many successes a rank is worse than any smaller one."""
    counts = [successes(curves, rank) for rank in RANKS]
    return max(high - low for place, low in enumerate(counts) for high in counts[: place + 1])


def sooner(curves: Curves) -> float:
    """Return in how many trials rank 10 has succeeded, and rank 0 later or not at all."""
    return float(np.sum(curves[taken(10)] < curves[taken(0)]))


CRITERIA = (
    Criterion("rank 10: successes of 8", lambda c: successes(c, 10), 5),
    Criterion("rank 5: successes of 8", lambda c: successes(c, 5), 4),
    Criterion(
        "rank 10 over rank 0: successes of 8 more (of the paper 7; 4 or more are 0.07 or less by "
        "Fisher's exact test, one-sided)",
        lambda c: successes(c, 10) - successes(c, 0),
        4,
    ),
    Criterion(
        "rank 5 over rank 0: successes of 8 more (of the paper 7)",
        lambda c: successes(c, 5) - successes(c, 0),
        3,
    ),
    Criterion(
        "largest number of successes by which a rank is below a smaller one (of the paper 0)",
        largest_fall,
        most=2,
    ),
    Criterion(
        "trials of 8, of the same start and batches, in which rank 10 succeeds before rank 0 "
        "(7 are 0.035 by the sign test)",
        sooner,
        7,
    ),
)
CLAIM = (
    "Of trials with at most 100000 iterations the paper has 10, 40, 80, 100 and 100 % succeed with "
    "rank 0, 1, 2, 5 and 10: the more columns, the more often is the problem solved. A trial "
    f"succeeds with the first batch whose loss, before the step, is below {LEVEL}. The length of "
    f"the sequences was not seen beside those rates; the shortest of the paper's is 32, and so is "
    f"this one. Here are 8 trials of at most {LIMIT} iterations, a fifteenth of the paper's. What "
    "can be checked is the order of the ranks within that limit, and that most trials of high "
    "ranks succeed, but not the rates after 100000. Network of 30 tanh units with an orthogonal "
    "matrix at the start, 1021 weights, batches of 128, exact products of the Hessian with normal "
    "vectors, step 0.01, step of Q 0.01 normalized by the first order, Q near I at the start, "
    "updates clipped to norm 1, no momentum, float32. All ranks have the same starts and batches."
)
RULE = (
    "PASS if every number in the table lies within its limits, which were fixed before the run. "
    "The length, of 16 and 32, and the limit were chosen on another seed, on four trials of the "
    "ranks 0 and 10 each: at 16 both ranks always succeeded, within about 4500 and 6500 iterations."
)


def entry(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Return the entry of the report.

    Args:
        parts: By the label of the rank.
    """
    curves = {label: curve for part in parts.values() for label, curve in part.curves.items()}
    texts = {
        "title": REPRODUCTION.title,
        "source": (
            "arXiv 2402.04553, rates of success by rank; psgd_torch 351b611 and a8616f1, "
            "rnn_xor_problem_general_purpose_preconditioner.py"
        ),
        "claim": CLAIM,
        "criterion": RULE,
    }
    figure = Figure(
        [label_of(rank) for rank in RANKS],
        "iteration",
        f"median of the trials, mean loss of {STRIDE} iterations",
        STRIDE,
    )
    rows = [_row(rank, curves[taken(rank)]) for rank in RANKS]
    tables = [{"caption": f"Trials of seed {SEED}", "rows": rows}]
    return judged(texts, CRITERIA, curves, figure, tables=tables)


def _row(rank: int, steps: np.ndarray) -> dict[str, Any]:
    """Return what is shown of a rank."""
    done = steps[steps <= LIMIT]
    low, high = clopper_pearson(len(done), len(steps))
    return {
        "rank": rank,
        "successes": f"{len(done)} of {len(steps)}",
        "95 % interval of the rate (Clopper-Pearson)": f"{low:.2f} to {high:.2f}",
        "rate in the paper, 100000 iterations": RANKS[rank],
        "iterations to success: soonest": float(done.min()) if len(done) else None,
        "median of all trials": f"{np.median(steps):g}"
        if np.median(steps) <= LIMIT
        else f"more than {LIMIT}",
    }


REPRODUCTION = Reproduction(
    "Delayed exclusive or, rank of the low-rank approximation",
    {label_of(rank): 200.0 for rank in RANKS},
    measure,
    entry,
)
