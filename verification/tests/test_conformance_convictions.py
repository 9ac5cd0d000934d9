import jax
import jax.numpy as jnp
import pytest

from verification.conformance import Verdict, verify

from . import planted
from .planted import B1, B2, DECAY, EPS, POWER, RATE, WARMUP

PRISM = {**planted.PRISM, "learning_rate": planted.falling}

# What is wrong, and the step at which parameters must show it: the first one, but for what is
# the same after one step, or starts later.
ADAMW = {
    "the rate is 1e-6 too large": (
        {"rate": lambda t: (1 + 1e-6) * RATE * jnp.minimum(1.0, (t + 1) / WARMUP)},
        1,
    ),
    "b2 is 1e-9 too large": (
        {"moment": lambda v, g, y: (B2 + 1e-9) * v + (1 - B2 - 1e-9) * g**2},
        1,
    ),
    "b1 and b2 are swapped": (
        {
            "moment": lambda v, g, y: B1 * v + (1 - B1) * g**2,
            "interpolate": lambda x, z: (1 - B2) * z + B2 * x,
            "direction": lambda g, v, t: g / (jnp.sqrt(v / (1 - B1 ** (t + 1))) + EPS),
        },
        2,
    ),
    "the warmup is one step longer": (
        {"rate": lambda t: RATE * jnp.minimum(1.0, (t + 1) / (WARMUP + 1))},
        1,
    ),
    "the warmup starts one step late": (
        {"rate": lambda t: RATE * jnp.minimum(1.0, jnp.maximum(t, 1) / WARMUP)},
        2,
    ),
    "the weight is not squared": ({"weight": lambda t, rate: (t + 1) ** POWER * rate}, 2),
    "the polynomial weight is left out": ({"weight": lambda t, rate: rate**2}, 2),
    "the average keeps its start": ({"start": lambda weight: weight}, 1),
    "the average takes z before its step": (
        {"average": lambda x, z, old, c: (1 - c) * x + c * old},
        1,
    ),
    "decay is applied twice": (
        {"step": lambda z, y, x, d, rate: z - rate * (d + 2 * DECAY * y)},
        1,
    ),
    "decay acts at x": ({"step": lambda z, y, x, d, rate: z - rate * (d + DECAY * x)}, 3),
    "decay is left out": ({"step": lambda z, y, x, d, rate: z - rate * d}, 1),
    "the sign is wrong": ({"step": lambda z, y, x, d, rate: z + rate * (d + DECAY * y)}, 1),
    "the correction is one step late": (
        {"direction": lambda g, v, t: g / (jnp.sqrt(v / (1 - B2 ** (t + 2))) + EPS)},
        1,
    ),
    "eps is under the root": (
        {"direction": lambda g, v, t: g / jnp.sqrt(v / (1 - B2 ** (t + 1)) + EPS)},
        1,
    ),
    "eps is not corrected": (
        {"direction": lambda g, v, t: g * jnp.sqrt(1 - B2 ** (t + 1)) / (jnp.sqrt(v) + EPS)},
        1,
    ),
    "the moment is of the decayed gradient": (
        {"moment": lambda v, g, y: B2 * v + (1 - B2) * (g + DECAY * y) ** 2},
        1,
    ),
    "vectors stay": ({"update": lambda u: u * (u.ndim != 1)}, 1),
    "a square matrix is transposed": (
        {"update": lambda u: u.T if u.shape == (3, 3) else u},
        1,
    ),
    "computed in float32": (
        {"update": lambda u: u.astype(jnp.float32).astype(jnp.float64)},
        1,
    ),
    "the eighth step is forgotten": (
        {"rate": lambda t: jnp.where(t == 7, 0.0, RATE * jnp.minimum(1.0, (t + 1) / WARMUP))},
        8,
    ),
}


def _convicted(transformation, against, options, step, evaluation=None):
    verdict = verify(
        transformation, against, options, evaluation=evaluation, steps=12, explain=False
    )
    assert verdict.verdict is Verdict.DIFFERENT
    assert not verdict.conforms
    assert verdict.departure.step == step
    assert verdict.forced.step == step
    return verdict


@pytest.mark.parametrize("name", ADAMW)
def test_a_wrong_term_of_adamw_is_convicted_at_its_first_step(name):
    wrong, step = ADAMW[name]
    verdict = _convicted(planted.adamw(**wrong), "schedule_free_adamw", planted.ADAMW, step)
    assert verdict.departure.size > verdict.departure.limit


def test_what_is_wrong_in_one_leaf_is_found_there():
    wrong = ADAMW["vectors stay"][0]
    verdict = _convicted(planted.adamw(**wrong), "schedule_free_adamw", planted.ADAMW, 1)
    assert (verdict.departure.leaf, verdict.forced.leaf) == ("vector", "vector")
    assert "'vector'" in str(verdict)


def test_a_wrong_average_alone_is_found_in_it():
    def late(state, params):
        return jax.tree.map(lambda x, z: (x + 1e-6 * z) / (1 + 1e-6), state.x, state.z)

    verdict = _convicted(planted.adamw(), "schedule_free_adamw", planted.ADAMW, 2, late)
    assert verdict.departure.quantity == "evaluation"


def _of_the_other_side(target, innovation):
    return planted.shaped(target.T, innovation.T).T


MATRICES = {
    "nesterov without momentum": ({"ahead": lambda m, g: g}, 1),
    "no look-ahead": ({"ahead": lambda m, g: m}, 1),
    "the momentum is of other weights": ({"mu": lambda m, g: 0.1 * m + 0.9 * g}, 1),
    "the innovation is of the look-ahead": (
        {"innovation": lambda m, g: g - 0.9 * m - 0.1 * g},
        1,
    ),
    "the other side is reduced": ({"shaped": _of_the_other_side}, 2),
    "one coefficient is 1e-6 too large": (
        {"shaped": lambda t, d: planted.shaped(t, (1 + 1e-6) * d)},
        1,
    ),
    "the rate of the next step": ({"rate": lambda t: planted.falling(t + 1)}, 1),
    "the rate stops falling": ({"rate": lambda t: planted.falling(jnp.minimum(t, 4))}, 6),
    "decay is not multiplied by the rate": ({"step": lambda w, d, rate: -rate * d - 0.1 * w}, 1),
    "other leaves move by plain gradients": ({"adam": lambda m, v, t: m / (1 - 0.8 ** (t + 1))}, 1),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_wrong_term_of_prism_is_convicted_at_its_first_step(name):
    wrong, step = MATRICES[name]
    _convicted(planted.prism(**wrong), "prism", PRISM, step)


def test_what_raises_is_convicted_at_that_step():
    def fails(state, params):
        raise RuntimeError("no average here")

    verdict = verify(
        planted.adamw(), "schedule_free_adamw", planted.ADAMW, evaluation=fails, steps=4
    )
    assert verdict.verdict is Verdict.DIFFERENT
    assert (verdict.departure.step, verdict.steps) == (1, 0)
    assert "no average here" in str(verdict)
