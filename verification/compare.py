"""Errors in units: normwise, relative, in machine epsilons."""

from typing import Any

import numpy as np

__all__ = ["LOOSE", "epsilon", "error_in_eps", "is_loose", "norm", "worst_error"]

# A budget may exceed the worst measured error by this factor, and is never held below the second
# number of epsilons: summation order alone moves an error that far between machines.
LOOSE = 16.0
ALWAYS_ALLOWED = 4.0


def norm(array: Any) -> float:
    """Return the Frobenius norm in float64, without overflow or underflow."""
    wide = np.abs(np.asarray(array).astype(np.complex128))
    largest = float(np.max(wide, initial=0.0))
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.sum((wide / largest) ** 2)))


def epsilon(dtype: str) -> float:
    """Return the machine epsilon of a dtype by name."""
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps)


def error_in_eps(
    actual: Any, expected: Any, eps: float, *, condition: float = 1.0, scale: float | None = None
) -> float:
    """Return ‖actual - expected‖ / (scale · eps · condition), infinite where not comparable.

    Args:
        actual: What production returned.
        expected: What the reference returned, in float64.
        eps: Machine epsilon of the dtype in which production ran.
        condition: Amplification of a relative rounding of the input that the formula itself has.
        scale: What the error is relative to; the norm of `expected` if None.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        return float("inf")
    difference = norm(actual.astype(np.complex128) - expected.astype(np.complex128))
    if difference == 0.0:
        return 0.0
    if not np.isfinite(difference):
        return float("inf")
    reference = norm(expected) if scale is None else scale
    return float("inf") if reference == 0.0 else difference / (reference * eps * condition)


def worst_error(
    actual: Any, expected: Any, eps: float, *, condition: float = 1.0, scale: float | None = None
) -> float:
    """Return the largest `error_in_eps` over the arrays of two lists, or of two arrays."""
    pairs = (
        zip(actual, expected, strict=True)
        if isinstance(expected, list | tuple)
        else [(actual, expected)]
    )
    errors = [error_in_eps(a, e, eps, condition=condition, scale=scale) for a, e in pairs]
    return max(errors, default=0.0)


def is_loose(budget: float, worst: float) -> bool:
    """Say whether a budget is so far above the worst measured error that it must be tightened.

    Equal bits say nothing of how far rounding goes: some compilers round as NumPy does.
    """
    return worst > 0 and budget > max(LOOSE * worst, ALWAYS_ALLOWED)
