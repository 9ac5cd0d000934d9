"""Whether functions under test are compiled or interpreted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from verification.interpreter.evaluation import interpreted

__all__ = ["compiled", "interpreting", "interprets"]

_INTERPRETS: ContextVar[bool] = ContextVar("interprets", default=False)


@contextmanager
def interpreting(wanted: bool = True) -> Iterator[None]:
    """Make `compiled` interpret what it is given, or compile it again."""
    token = _INTERPRETS.set(wanted)
    try:
        yield
    finally:
        _INTERPRETS.reset(token)


def interprets() -> bool:
    """Say whether `compiled` interprets."""
    return _INTERPRETS.get()


def compiled(function: Callable[..., Any], *, optimized: bool = False) -> Callable[..., Any]:
    """Return a function jitted, or interpreted where that was asked for.

    Args:
        function: Of arrays.
        optimized: Whether XLA optimizes it even where it is told to compile quickly.
    """
    import jax

    if _INTERPRETS.get():
        return interpreted(function)
    options = {"xla_backend_optimization_level": 3} if optimized else None
    # A function of its own: JAX would remember what another compiled of it, see `interpreted`.
    return jax.jit(lambda *given, **named: function(*given, **named), compiler_options=options)
