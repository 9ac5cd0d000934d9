"""The precision of matrix products."""

import contextlib

import jax

__all__ = ["matmul_precision"]


def matmul_precision(
    precision: str | None,
) -> contextlib.AbstractContextManager[None]:
    """Return the context in which products have a precision.

    Args:
        precision: As `jax.default_matmul_precision` takes it; None for what is set outside, which
            a None given there would undo.
    """
    if precision is None:
        return contextlib.nullcontext()
    return jax.default_matmul_precision(precision)
