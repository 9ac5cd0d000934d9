"""Transformations written apart from the package, right as they stand, any term replaceable."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

# No option has its default, so that each must reach its place.
ADAMW = {
    "learning_rate": 0.02,
    "b1": 0.8,
    "b2": 0.95,
    "eps": 1e-6,
    "weight_decay": 0.1,
    "warmup_steps": 5,
    "averaging_power": 0.5,
}
RATE, B1, B2, EPS, DECAY, WARMUP, POWER = ADAMW.values()
PRISM = {"b1": 0.9, "gamma": 0.7, "weight_decay": 0.1, "adam_b1": 0.8, "adam_b2": 0.95}
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
PEAK, PERIOD = 0.05, 9.0


class Averaged(NamedTuple):
    """The state of `adamw`."""

    count: Any
    x: Any
    z: Any
    v: Any
    weight_sum: Any


def adamw_terms() -> dict[str, Callable[..., Any]]:
    """Return the terms of Schedule-Free AdamW; t counts from 0."""
    return {
        "rate": lambda t: RATE * jnp.minimum(1.0, (t + 1) / WARMUP),
        "weight": lambda t, rate: (t + 1) ** POWER * rate**2,
        "moment": lambda v, g, y: B2 * v + (1 - B2) * g**2,
        "direction": lambda g, v, t: g / (jnp.sqrt(v / (1 - B2 ** (t + 1))) + EPS),
        "step": lambda z, y, x, d, rate: z - rate * (d + DECAY * y),
        "average": lambda x, z, old, c: (1 - c) * x + c * z,
        "interpolate": lambda x, z: (1 - B1) * z + B1 * x,
        "update": lambda update: update,
        "start": lambda weight: 0.0 * weight,
    }


def adamw(**wrong: Callable[..., Any]) -> optax.GradientTransformation:
    """Return Schedule-Free AdamW with terms replaced."""
    terms = adamw_terms() | wrong

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Averaged(jnp.zeros((), jnp.int32), params, params, zeros, jnp.zeros(()))

    def update(gradients, state, params):
        t = state.count
        rate = terms["rate"](t)
        weight = terms["weight"](t, rate)
        weight_sum = state.weight_sum + jnp.where(t == 0, terms["start"](weight), 0.0) + weight
        v = jax.tree.map(terms["moment"], state.v, gradients, params)
        d = jax.tree.map(lambda g, v: terms["direction"](g, v, t), gradients, v)
        z = jax.tree.map(
            lambda z, y, x, d: terms["step"](z, y, x, d, rate), state.z, params, state.x, d
        )
        x = jax.tree.map(
            lambda x, z, old: terms["average"](x, z, old, weight / weight_sum), state.x, z, state.z
        )
        updates = jax.tree.map(lambda x, z, y: terms["interpolate"](x, z) - y, x, z, params)
        updates = jax.tree.map(terms["update"], updates)
        return updates, Averaged(t + 1, x, z, v, weight_sum)

    return optax.GradientTransformation(init, update)


def evaluation(state: Averaged, params: Any) -> Any:
    """Return x."""
    del params
    return state.x


def falling(t: Any) -> Any:
    """Return a rate that falls, for PRISM."""
    return PEAK / (1 + t / PERIOD)


def orthogonalized(matrix: Any, eps: float = 0.0) -> Any:
    """Return five iterations of Newton and Schulz with the coefficients of Jordan."""
    a, b, c = COEFFICIENTS
    x = matrix / (jnp.linalg.norm(matrix) + eps)
    x = x.T if (tall := x.shape[0] > x.shape[1]) else x

    def iterated(_: int, x: Any) -> Any:
        square = x @ x.T
        return a * x + (b * square + c * square @ square) @ x

    x = jax.lax.fori_loop(0, 5, iterated, x)
    return x.T if tall else x


def shaped(target: Any, innovation: Any) -> Any:
    """Return the top block of what is stacked, made orthogonal."""
    stacked = jnp.concatenate([target, PRISM["gamma"] * innovation])
    return orthogonalized(stacked)[: target.shape[0]]


def prism_terms() -> dict[str, Callable[..., Any]]:
    """Return the terms of PRISM and of AdamW for the other leaves; t counts from 0."""
    b1, b2 = PRISM["adam_b1"], PRISM["adam_b2"]
    return {
        "rate": falling,
        "mu": lambda m, g: PRISM["b1"] * m + (1 - PRISM["b1"]) * g,
        "ahead": lambda m, g: PRISM["b1"] * m + (1 - PRISM["b1"]) * g,
        "innovation": lambda m, g: g - m,
        "shaped": shaped,
        "first": lambda m, g: b1 * m + (1 - b1) * g,
        "second": lambda v, g: b2 * v + (1 - b2) * g**2,
        "adam": lambda m, v, t: (
            m / (1 - b1 ** (t + 1)) / (jnp.sqrt(v / (1 - b2 ** (t + 1))) + 1e-8)
        ),
        "step": lambda w, d, rate: -rate * (d + PRISM["weight_decay"] * w),
    }


def prism(**wrong: Callable[..., Any]) -> optax.GradientTransformation:
    """Return PRISM with terms replaced."""
    terms = prism_terms() | wrong

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return jnp.zeros((), jnp.int32), zeros, zeros

    def leaf(m, v, g, w, t):
        if g.ndim == 2:
            m = terms["mu"](m, g)
            direction = terms["shaped"](terms["ahead"](m, g), terms["innovation"](m, g))
        else:
            m, v = terms["first"](m, g), terms["second"](v, g)
            direction = terms["adam"](m, v, t)
        return terms["step"](w, direction, terms["rate"](t)), m, v

    def update(gradients, state, params):
        t, mu, nu = state
        found = {k: leaf(mu[k], nu[k], g, params[k], t) for k, g in gradients.items()}
        updates, mu, nu = ({k: row[i] for k, row in found.items()} for i in range(3))
        return updates, (t + 1, mu, nu)

    return optax.GradientTransformation(init, update)
