"""Checks of options, made when an optimizer is built.

A number that is an array may be traced (an injected hyperparameter), which cannot be compared in
Python: of an array only the kind is checked.
"""

import math
from collections.abc import Collection
from numbers import Integral, Real

import jax
import jax.numpy as jnp

from rollfast.typing import DTypeLike

__all__ = [
    "check_choice",
    "check_count",
    "check_dtype",
    "check_flag",
    "check_interval",
    "check_number",
    "check_positive_or_none",
    "check_precision",
    "check_static",
]


def check_interval(
    name: str,
    value: object,
    low: float,
    high: float,
    *,
    open_high: bool = False,
    infinite: bool = False,
    schedule: bool = False,
    none: bool = False,
) -> None:
    """Raise unless a number lies in [low, high], or [low, high) with `open_high`.

    Args:
        name: Name of the argument, for the message.
        value: What was given; an array passes, whatever its value.
        low: Smallest value allowed.
        high: Largest value allowed, or the first that is not.
        open_high: Whether `high` itself is excluded.
        infinite: Whether infinity is a value, where `high` is infinite.
        schedule: Whether a function of the step may stand for the number.
        none: Whether None may.

    Raises:
        ValueError: The number is outside of the interval, or it is not a number.
    """
    if _stands_for_number(value, schedule, none):
        return
    if isinstance(value, Real):
        number = float(value)
        inside = low <= number < high if open_high else low <= number <= high
        if inside and (infinite or math.isfinite(number)):
            return
    bracket = ")" if open_high or (math.isinf(high) and not infinite) else "]"
    _refuse(name, value, f"must lie in [{low}, {high}{bracket}" + _or_else(schedule, none))


def check_number(name: str, value: object, *, schedule: bool = False, none: bool = False) -> None:
    """Raise unless a number is finite, of either sign.

    Such is a learning rate: a negative one climbs, and is no error in Optax either.

    Args:
        name: Name of the argument, for the message.
        value: What was given; an array passes, whatever its value.
        schedule: Whether a function of the step may stand for the number.
        none: Whether None may.

    Raises:
        ValueError: The number is infinite, or it is not a number.
    """
    if _stands_for_number(value, schedule, none):
        return
    if not isinstance(value, Real) or not math.isfinite(float(value)):
        _refuse(name, value, "must be a finite number" + _or_else(schedule, none))


def check_positive_or_none(name: str, value: object, *, infinite: bool = False) -> None:
    """Raise unless a number is greater than zero, and finite; None means off and passes.

    Args:
        name: Name of the argument, for the message.
        value: What was given; an array passes, whatever its value.
        infinite: Whether infinity is a value.

    Raises:
        ValueError: The number is zero, negative or infinite, or it is not a number.
    """
    if _stands_for_number(value, none=True):
        return
    if isinstance(value, Real) and float(value) > 0 and (infinite or math.isfinite(float(value))):
        return
    _refuse(name, value, f"must be positive{' and finite' * (not infinite)}, or None for off")


def check_count(
    name: str, value: object, low: int = 1, *, schedule: bool = False, none: bool = False
) -> None:
    """Raise unless a number is a whole one, of at least `low`.

    Args:
        name: Name of the argument, for the message.
        value: What was given; an array passes, whatever its value.
        low: Smallest value allowed.
        schedule: Whether a function of the step may stand for the number.
        none: Whether None may.

    Raises:
        ValueError: The number is not whole, or too small, or it is not a number.
    """
    if _stands_for_number(value, schedule, none):
        return
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < low:
        _refuse(name, value, f"must be a whole number from {low}" + _or_else(schedule, none))


def check_flag(name: str, value: object, *, none: bool = False) -> None:
    """Raise unless a value is True or False, of Python or of NumPy.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        none: Whether None is a value.

    Raises:
        ValueError: It is something else; an array of JAX is, since it may be traced.
    """
    if isinstance(value, bool) or (none and value is None):
        return
    is_array = isinstance(value, jax.Array) or getattr(value, "shape", None) != ()
    if is_array or getattr(value, "dtype", None) != jnp.dtype(bool):
        _refuse(name, value, "must be True or False" + _or_else(none=none))


def check_choice(
    name: str, value: object, choices: Collection[str], unlisted: Collection[str] = ()
) -> None:
    """Raise unless `value` is one of the named rows of a table.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        choices: Names of all rows.
        unlisted: Those among them that the message leaves out, since they repeat another.

    Raises:
        ValueError: There is no such row.
    """
    if not isinstance(value, str) or value not in choices:
        _refuse(name, value, f"must be one of {sorted(set(choices) - set(unlisted))}")


def check_dtype(name: str, value: DTypeLike | None) -> None:
    """Raise unless sums can be kept in a dtype.

    Args:
        name: Name of the argument, for the message.
        value: What was given; None stands for a dtype that depends on the leaf, and passes.

    Raises:
        ValueError: It is not the name of a dtype, or its numbers are not floating-point ones.
    """
    if value is None:
        return
    try:
        allowed = jnp.issubdtype(jnp.dtype(value), jnp.inexact)
    except (TypeError, ValueError):
        allowed = False
    if not allowed:
        which = "a floating-point dtype, such as 'float32' or 'bfloat16', real or complex"
        _refuse(name, value, f"must be {which}" + _or_else(none=True))


def check_precision(name: str, value: str | None) -> None:
    """Raise unless `jax.default_matmul_precision` takes a value.

    JAX alone knows what it takes, and is asked.

    Args:
        name: Name of the argument, for the message.
        value: What was given.

    Raises:
        ValueError: It takes something else.
    """
    try:
        with jax.default_matmul_precision(value):
            return
    except (TypeError, ValueError):
        _refuse(
            name,
            value,
            "must be None or what jax.default_matmul_precision takes: 'default', 'high', "
            "'highest', 'bfloat16', 'tensorfloat32', 'float32', or the name of an algorithm",
        )


def check_static(name: str, value: object) -> None:
    """Raise if a number that says how a step or its state is made up is an array.

    Args:
        name: Name of the argument, for the message.
        value: What was given.

    Raises:
        ValueError: It is an array, traced or not, as an injected hyperparameter is.
    """
    if _is_array(value):
        _refuse(
            name,
            value,
            "must be a plain number, since it is part of the structure, which is never traced; "
            f"under optax.inject_hyperparams it remains one by static_args=({name!r}, …)",
        )


def _is_array(value: object) -> bool:
    """Say whether something is an array; the scalars of NumPy are numbers."""
    return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, Real)


def _stands_for_number(value: object, schedule: bool = False, none: bool = False) -> bool:
    """Say whether a value is fit to stand for a number whose value is not known."""
    if value is None:
        return none
    if _is_array(value):
        # Injected numbers are complex where a parameter is.
        is_number = jnp.issubdtype(value.dtype, jnp.number)  # type: ignore[attr-defined]
        return is_number and value.shape == ()  # type: ignore[attr-defined]
    return schedule and callable(value)


def _or_else(schedule: bool = False, none: bool = False) -> str:
    """Return what else than a number is allowed, for a message."""
    return ", or be a schedule" * schedule + ", or be None" * none


def _refuse(name: str, value: object, allowed: str) -> None:
    raise ValueError(f"{name}={value!r} is not allowed; it {allowed}.")
