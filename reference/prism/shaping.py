"""The kernels of PRISM: momentum, innovation, and the polar factor of both stacked.

Source of the method: PRISM, arXiv 2602.03096. Its equation numbers were not seen; what is written
here rests on independent ports of it and on the identities in the tests.
"""

import numpy as np

from reference.linalg.newton_schulz import newton_schulz, polar
from reference.optimizer import keeps_dtype

__all__ = [
    "augment",
    "corrected_momentum",
    "corrected_nesterov",
    "innovation",
    "momentum",
    "nesterov",
    "shape",
    "shape_exact",
]


@keeps_dtype
def momentum(previous: np.ndarray, gradient: np.ndarray, b1: float) -> np.ndarray:
    """Return the running average of the gradients.

    M_t = b1 M_{t-1} + (1 - b1) G_t.

    Args:
        previous: M_{t-1}, any shape.
        gradient: G_t, same shape.
        b1: the decay, in [0, 1).

    Returns:
        M_t.

    Source: arXiv 2602.03096, number not seen.
    """
    return b1 * previous + (1 - b1) * gradient


@keeps_dtype
def innovation(gradient: np.ndarray, momentum: np.ndarray) -> np.ndarray:
    """Return the part of the gradient that the momentum does not hold.

    D_t = G_t - M_t.

    Args:
        gradient: G_t, any shape.
        momentum: M_t, same shape, already containing G_t.

    Returns:
        D_t.

    Source: arXiv 2602.03096, number not seen.
    """
    return gradient - momentum


@keeps_dtype
def nesterov(momentum: np.ndarray, gradient: np.ndarray, b1: float) -> np.ndarray:
    """Return the momentum looked one step ahead.

    b1 M_t + (1 - b1) G_t.

    Args:
        momentum: M_t, any shape, already containing G_t.
        gradient: G_t, same shape.
        b1: the decay of the momentum.

    Returns:
        The average, same shape.

    Source: K. Jordan, Muon (code, no paper).
    """
    return b1 * momentum + (1 - b1) * gradient


@keeps_dtype
def corrected_momentum(momentum: np.ndarray, b1: float, count: int) -> np.ndarray:
    """Return the momentum freed of its start at zero.

    M_t / (1 - b1^t).

    Args:
        momentum: M_t, any shape.
        b1: the decay, in [0, 1).
        count: t, 1 at the first step.

    Returns:
        The corrected average: at t = 1 the gradient itself.

    Source: Adam, arXiv 1412.6980, Algorithm 1.
    """
    return momentum / (1 - b1**count)


@keeps_dtype
def corrected_nesterov(
    momentum: np.ndarray, gradient: np.ndarray, b1: float, count: int
) -> np.ndarray:
    """Return the look-ahead momentum freed of the start at zero.

    b1 M_t / (1 - b1^(t+1)) + (1 - b1) G_t / (1 - b1^t).

    Args:
        momentum: M_t, any shape.
        gradient: G_t, same shape.
        b1: the decay, in [0, 1).
        count: t, 1 at the first step.

    Returns:
        The corrected average, same shape.

    Source: T. Dozat, Incorporating Nesterov Momentum into Adam (number not seen), with constant
    decay; optax has the same.
    """
    return b1 * momentum / (1 - b1 ** (count + 1)) + (1 - b1) * gradient / (1 - b1**count)


@keeps_dtype
def augment(target: np.ndarray, innovation: np.ndarray, gamma: float) -> np.ndarray:
    """Stack the target on the damped innovation.

    [M; gamma D].

    Args:
        target: M, shape (m, n).
        innovation: D, shape (m, n).
        gamma: how strongly the innovation damps.

    Returns:
        The stacked matrix, shape (2m, n).

    Source: arXiv 2602.03096, number not seen.
    """
    return np.concatenate([target, gamma * innovation], axis=0)


def shape(
    target: np.ndarray,
    innovation: np.ndarray,
    gamma: float,
    rows: tuple[tuple[float, float, float], ...],
    iterations: int,
    eps: float,
) -> np.ndarray:
    """Return the top block of the Newton-Schulz iterate of the stacked matrix.

    O = NS([M; gamma D])[:m].

    Args:
        target: M, shape (m, n).
        innovation: D, shape (m, n).
        gamma: how strongly the innovation damps.
        rows: coefficients of the iteration, see `linalg.newton_schulz.coefficients`.
        iterations: the number of iterations.
        eps: added to the norm of the stacked matrix.

    Returns:
        O, shape (m, n).

    Source: arXiv 2602.03096, number not seen.
    """
    stacked = augment(target, innovation, gamma)
    return newton_schulz(stacked, rows, iterations, eps)[: target.shape[0]]


def shape_exact(target: np.ndarray, innovation: np.ndarray, gamma: float) -> np.ndarray:
    """Return the top block of the polar factor of the stacked matrix.

    O = polar([M; gamma D])[:m] = M (M^H M + gamma^2 D^H D)^(-1/2).

    Args:
        target: M, shape (m, n).
        innovation: D, shape (m, n).
        gamma: how strongly the innovation damps.

    Returns:
        O, shape (m, n), of spectral norm at most 1.

    Source: arXiv 2602.03096, number not seen.
    """
    return polar(augment(target, innovation, gamma))[: target.shape[0]]
