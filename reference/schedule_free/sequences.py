"""The sequences of Schedule-Free: z is stepped, x is averaged, y is where gradients are taken."""

import numpy as np

from reference.optimizer import keeps_dtype

__all__ = ["average", "evaluation_point", "interpolate", "iterate_update"]


@keeps_dtype
def interpolate(x: np.ndarray, z: np.ndarray, b1: float) -> np.ndarray:
    """Return the point where the gradient is taken.

    y_t = (1 - b1) z_t + b1 x_t.

    Args:
        x: x_t, any shape.
        z: z_t, same shape.
        b1: beta, in [0, 1]: 0 is Polyak averaging, 1 is primal averaging.

    Returns:
        y_t.

    Source: arXiv 2405.15682v4, equation (3).
    """
    return (1 - b1) * z + b1 * x


@keeps_dtype
def average(x: np.ndarray, z: np.ndarray, coefficient: float) -> np.ndarray:
    """Return the new average.

    x_{t+1} = (1 - c_{t+1}) x_t + c_{t+1} z_{t+1}.

    Args:
        x: x_t, any shape.
        z: z_{t+1}, same shape: the iterate after its step.
        coefficient: c_{t+1}, in [0, 1].

    Returns:
        x_{t+1}.

    Source: arXiv 2405.15682v4, equation (5).
    """
    return (1 - coefficient) * x + coefficient * z


@keeps_dtype
def evaluation_point(y: np.ndarray, z: np.ndarray, b1: float) -> np.ndarray:
    """Recover the average from the two stored sequences.

    x_t = (y_t - (1 - b1) z_t) / b1.

    Args:
        y: y_t, any shape.
        z: z_t, same shape.
        b1: beta, in (0, 1].

    Returns:
        x_t.

    Raises:
        ValueError: if b1 is 0, where y_t = z_t holds nothing of x_t.

    Source: arXiv 2405.15682v4, equation (3) solved for x_t.
    """
    if b1 == 0:
        raise ValueError("b1 is 0: then y = z, and x cannot be recovered from them")
    return (y - (1 - b1) * z) / b1


@keeps_dtype
def iterate_update(
    y: np.ndarray, z: np.ndarray, step: np.ndarray, b1: float, coefficient: float
) -> np.ndarray:
    """Return the change of y, computed from y and z alone.

    b1 x_t     = y_t - (1 - b1) z_t
    z_{t+1}    = z_t + step
    b1 x_{t+1} = (1 - c) b1 x_t + c b1 z_{t+1}
    y_{t+1}    = (1 - b1) z_{t+1} + b1 x_{t+1}

    Args:
        y: y_t, any shape.
        z: z_t, same shape.
        step: z_{t+1} - z_t, same shape.
        b1: beta, in [0, 1].
        coefficient: c = c_{t+1}, in [0, 1].

    Returns:
        y_{t+1} - y_t.

    Source: arXiv 2405.15682v4, equations (3) to (5); no division by beta, so beta = 0 works.
    """
    scaled_x = y - (1 - b1) * z
    z_next = z + step
    scaled_x_next = (1 - coefficient) * scaled_x + coefficient * b1 * z_next
    y_next = (1 - b1) * z_next + scaled_x_next
    return y_next - y
