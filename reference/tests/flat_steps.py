"""Gradients, steps and comparisons for the tests of the preconditioners of one vector."""

import numpy as np


def gradients(count, scale=1.0):
    rng = np.random.default_rng([7, count])
    return {"w": scale * rng.standard_normal((2, 2)), "b": scale * rng.standard_normal(3)}


def flat(tree):
    return np.concatenate([tree["b"], tree["w"].ravel()])


def run(optimizer, given=gradients, steps=4):
    state = optimizer.init(given(0))
    for count in range(steps):
        state = optimizer.step(state, given(count))
    return state


def assert_same(one, other, but=()):
    assert one.keys() == other.keys()
    for field, value in one.items():
        if field in but:
            continue
        pairs = [(value, other[field])]
        if isinstance(value, dict):
            pairs = [(value[leaf], other[field][leaf]) for leaf in value]
        for first, second in pairs:
            np.testing.assert_array_equal(first, second, field)
