"""Gradients on which conventions come apart: open loop, so that everybody is fed the same."""

from typing import NamedTuple

import numpy as np

from verification.conformance.recording import Leaves

__all__ = ["STREAMS", "Stream", "stream"]

# Leaf -> (shape, size of the parameters, size of the gradients): matrices of both orientations,
# since a factor of the shape is one on one of them; every rank; gradients from near the usual eps,
# where its place shows, to far above one.
LEAVES: dict[str, tuple[tuple[int, ...], float, float]] = {
    "cube": ((2, 3, 2), 0.5, 0.1),
    "point": ((), 1.0, 1.0),
    "row": ((1, 4), 1.0, 1.0),
    "small": ((3, 4), 1e-3, 1e-6),
    "square": ((3, 3), 1.0, 3.0),
    "tall": ((6, 3), 1.0, 1.0),
    "vector": ((4,), 2.0, 30.0),
    "wide": ((3, 5), 1.0, 0.1),
}
# The step of a gradient that is no number, in a stream that has one.
SPOILED = 7


class _Kind(NamedTuple):
    is_complex: bool = False
    is_spoiled: bool = False


STREAMS = {
    "real": _Kind(),
    "complex": _Kind(is_complex=True),
    "spoiled": _Kind(is_spoiled=True),
}


class Stream(NamedTuple):
    """Parameters to start from, and the gradient of every step."""

    parameters: Leaves
    gradients: list[Leaves]


def stream(name: str, steps: int, seed: int = 0) -> Stream:
    """Return the stream of that name.

    Args:
        name: One of `STREAMS`, or the name of a problem, whose gradients are those that gradient
            descent meets.
        steps: The number of gradients.
        seed: Of all of it.

    Raises:
        ValueError: The name is unknown.
    """
    if name in STREAMS:
        return _made(steps, seed, STREAMS[name])
    from verification.problems import PROBLEMS, GradientStream, problem

    if name not in PROBLEMS:
        allowed = ", ".join([*STREAMS, *PROBLEMS])
        raise ValueError(f"problem is {name!r}; it must be one of {allowed}")
    return Stream(problem(name, seed).initial_parameters(), list(GradientStream(name, steps, seed)))


def _made(steps: int, seed: int, kind: _Kind) -> Stream:
    """Return gradients with a part that stays and a part that does not, growing and shrinking.

    A part that stays tells momenta apart; one that changes tells an average from its last term;
    and a size that moves by a factor tells which step a second moment belongs to.
    """
    rng = np.random.default_rng([seed, steps])

    def normal(shape: tuple[int, ...]) -> np.ndarray:
        real = np.asarray(rng.standard_normal(shape))
        return real + 1j * rng.standard_normal(shape) if kind.is_complex else real

    parameters = {leaf: size * normal(shape) for leaf, (shape, size, _) in LEAVES.items()}
    steady = {leaf: normal(shape) for leaf, (shape, _, _) in LEAVES.items()}
    gradients: list[Leaves] = []
    for step in range(steps):
        swing = 3.0 ** np.cos(0.9 * step)
        gradients.append(
            {
                leaf: size * swing * (steady[leaf] + normal(shape))
                for leaf, (shape, _, size) in LEAVES.items()
            }
        )
    if kind.is_spoiled and steps > SPOILED:
        gradients[SPOILED] = {**gradients[SPOILED], "vector": np.full(4, np.nan)}
    return Stream(parameters, gradients)
