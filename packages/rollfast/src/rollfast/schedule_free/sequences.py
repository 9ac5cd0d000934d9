"""The three sequences: z is stepped, x is its average, gradients are taken at y between them."""

from rollfast.typing import Array, Number

__all__ = ["average", "evaluation_point", "interpolate", "iterate_update"]


def interpolate(x: Array, z: Array, b1: Number) -> Array:
    """Return y = (1-β) z + β x, where the gradient is taken.

    Args:
        x: Average of the iterates, any shape.
        z: Iterate of the base optimizer, the same shape.
        b1: β, in [0, 1].

    Source: arXiv 2405.15682v4, equation (3).
    """
    return (1 - b1) * z + b1 * x


def average(x: Array, z: Array, coefficient: Number) -> Array:
    """Return (1-c) x + c z, the average with one iterate more.

    Args:
        x: Average so far, any shape.
        z: The new iterate, the same shape.
        coefficient: c, in [0, 1].

    Source: arXiv 2405.15682v4, equation (5).
    """
    return (1 - coefficient) * x + coefficient * z


def evaluation_point(y: Array, z: Array, b1: Number) -> Array:
    """Return x = (y - (1-β) z) / β, the parameters to evaluate.

    Args:
        y: Parameters under training, any shape.
        z: Iterate of the base optimizer, the same shape.
        b1: β, in (0, 1].

    Source: arXiv 2405.15682v4, equation (3), solved for x.
    """
    return (y - (1 - b1) * z) / b1


def iterate_update(y: Array, z: Array, step: Array, b1: Number, coefficient: Number) -> Array:
    """Return y_{t+1} - y_t = (1-β)(1-c) u + c (z_t + u - y_t).

    The same as moving x and z and interpolating anew, but without recovering x from y and z:
    nothing is divided by β, and no nearly equal numbers are subtracted.

    Args:
        y: y_t, any shape.
        z: z_t, the same shape.
        step: u = z_{t+1} - z_t, the same shape.
        b1: β, in [0, 1].
        coefficient: c_{t+1}, in [0, 1].

    Source: arXiv 2405.15682v4, equations (3) to (5); derivation in the note.
    """
    return (1 - b1) * (1 - coefficient) * step + coefficient * (step + (z - y))
