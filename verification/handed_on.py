"""An optimizer that is made of others hands them the options that it has in common with them."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.registry import production

__all__ = ["handed_on"]


def handed_on(
    name: str,
    part: str,
    *,
    renamed: Mapping[str, str] | None = None,
    apart: tuple[str, ...] = (),
    fixed: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
) -> Equivalence:
    """Return the sentence that a function hands its options to another, each as it was given.

    The other is replaced by one that takes down its arguments; nothing is computed.

    Args:
        name: Dotted name of the function.
        part: Dotted name of the other, which stands in its module under its own name.
        renamed: Names of options that the other calls otherwise.
        apart: Options that both have and that are not handed on.
        fixed: Further arguments of the other, and what they always are.
        given: Arguments that the function needs, or that may not be any number.
    """

    def pairs() -> list[tuple[str, str]]:
        own = inspect.signature(production(name)).parameters
        names = {one: (renamed or {}).get(one, one) for one in own if one not in apart}
        known = inspect.signature(production(part)).parameters
        return [(one, other) for one, other in names.items() if other in known]

    def values() -> dict[str, Any]:
        # Different numbers that any option in an interval may have.
        return {one: 0.25 + 0.001 * number for number, (one, _) in enumerate(pairs())} | dict(
            given or {}
        )

    def left(rng: np.random.Generator) -> Any:
        del rng
        taken = _taken(production(name), part, values())
        wanted = [*pairs(), *((one, one) for one in fixed or {})]
        return {one: np.asarray(taken.get(other, np.nan), float) for one, other in wanted}

    def right(rng: np.random.Generator) -> Any:
        del rng
        wanted = {one: values()[one] for one, _ in pairs()} | dict(fixed or {})
        return {one: np.asarray(value, float) for one, value in wanted.items()}

    return Equivalence(
        name=name,
        label=f"options handed to {part.rpartition('.')[2]} = options given",
        left=left,
        right=right,
        budget=0.0,
        reason="nothing is computed: equal bits",
    )


def _taken(function: Callable[..., Any], part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with which a function calls another."""
    import optax

    signature, found = inspect.signature(production(part)), {}

    def take(*arguments: Any, **options: Any) -> Any:
        found.update(signature.bind(*arguments, **options).arguments)
        if signature.return_annotation == optax.Schedule:
            return optax.constant_schedule(0.5)
        return optax.with_extra_args_support(optax.identity())

    with _in_place(sys.modules[function.__module__], part.rpartition(".")[2], take):
        function(**values)
    return found


@contextmanager
def _in_place(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
