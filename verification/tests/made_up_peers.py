"""Optimizers that no file names: plain transcriptions, each with room for one wrong term."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Averages(NamedTuple):
    """State of `schedule_free`."""

    z: Any
    x: Any
    weight_sum: Any
    count: Any


def schedule_free(learning_rate, b1=0.9, weight_decay=0.0, warmup_steps=0, *, wrong=""):
    """Schedule-Free SGD."""

    def rate_at(count):
        return learning_rate * jnp.minimum(1.0, (count + 1) / max(warmup_steps, 1))

    def init(params):
        return Averages(params, params, jnp.zeros(()), jnp.zeros(()))

    def update(gradients, state, params):
        rate = rate_at(state.count)
        weight = rate_at(state.count + 1) ** 2 if wrong == "late weight" else rate**2
        total = state.weight_sum + weight
        c = weight / total

        def step(z, x, y, g):
            decayed = z if wrong == "decay at z" else y
            z = z - rate * (g + weight_decay * decayed)
            x = (1 - c) * x + c * z
            mixed = b1 * z + (1 - b1) * x if wrong == "b swapped" else (1 - b1) * z + b1 * x
            return z, x, mixed - y

        found = jax.tree.map(step, state.z, state.x, params, gradients)
        z, x, updates = (jax.tree.map(lambda _, f, i=i: f[i], params, found) for i in range(3))
        return updates, Averages(z, x, total, state.count + 1)

    return optax.GradientTransformation(init, update)


def average(state, params):
    """Return the parameters for evaluation of `schedule_free`."""
    return state.x


def muon(learning_rate, b1=0.9, *, wrong=""):
    """Muon on matrices: Nesterov's momentum, five iterations of Jordan."""
    a, b, c = (3.4445, -4.7750, 2.0315) if wrong != "coefficient" else (3.4445, -4.7750, 2.0515)

    def orthogonal(u):
        tall = u.shape[0] > u.shape[1]
        size = jnp.linalg.norm(u)
        x = (u.T if tall else u) * (size if wrong == "multiplied by the norm" else 1 / size)
        for _ in range(5):
            s = x @ x.T
            x = a * x + (b * s + c * s @ s) @ x
        return x.T if tall else x

    def init(params):
        return jax.tree.map(jnp.zeros_like, params)

    def update(gradients, momentum, params):
        momentum = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, momentum, gradients)

        def direction(m, g):
            ahead = b1 * m + (1 - b1) * g
            return -learning_rate * orthogonal(g if wrong == "no momentum" else ahead)

        return jax.tree.map(direction, momentum, gradients), momentum

    return optax.GradientTransformation(init, update)


def whiten(learning_rate, *, wrong=""):
    """A dense factor on each side of a matrix, fitted to X = P g by q <- q - mu (X X^T/m - 1) q."""
    step = 0.1

    def fitted(q, gram):
        error = gram - jnp.eye(len(gram))
        if wrong == "Gram over the wrong size":
            error = gram / 4 - jnp.eye(len(gram))
        change = step / (jnp.linalg.norm(gram, 2) + 1) * error
        return q - change @ q

    def init(params):
        return jax.tree.map(lambda p: (jnp.eye(p.shape[0]), jnp.eye(p.shape[1])), params)

    def update(gradients, factors, params):
        def one(g, pair):
            left, right = pair
            x = left @ g @ right.T
            if wrong != "fitted to Qg":
                x = left.T @ x @ right
            rows, columns = g.shape
            left = fitted(left, x @ x.T / columns)
            right = fitted(right, x.T @ x / rows)
            return -learning_rate * (left.T @ left @ g @ right.T @ right), (left, right)

        found = {leaf: one(g, factors[leaf]) for leaf, g in gradients.items()}
        updates = {leaf: pair[0] for leaf, pair in found.items()}
        return updates, {leaf: pair[1] for leaf, pair in found.items()}

    return optax.GradientTransformation(init, update)


def silent(learning_rate, mode="one", gamma=1.0, form="plain"):
    """Gradient descent that looks at neither of its options.

    Args:
        learning_rate: As everywhere.
        mode: Either `one` or `two`; see `muon`, and `form`, which is `plain`.
        gamma: Said to matter.
    """
    if mode == "two":
        raise ValueError("mode 'two' is unknown")
    if form != "plain":
        raise ValueError("form must be 'plain'")
    return optax.sgd(learning_rate)
