"""Checks of options, made when an optimizer is built.

A value that is traced (an injected hyperparameter) cannot be compared in Python and passes.
"""

import math
from collections.abc import Collection
from numbers import Integral, Real

import jax

__all__ = [
    "check_choice",
    "check_count",
    "check_interval",
    "check_positive_or_none",
    "check_static",
]


def check_interval(
    name: str, value: object, low: float, high: float, *, open_high: bool = False
) -> None:
    """Raise unless a number lies in [low, high], or [low, high) with `open_high`.

    Args:
        name: Name of the argument, for the message.
        value: What was given; anything but a Python number passes unchecked.
        low: Smallest value allowed.
        high: Largest value allowed, or the first that is not.
        open_high: Whether `high` itself is excluded.

    Raises:
        ValueError: The number is outside of the interval, or not a number.
    """
    if not isinstance(value, Real):
        return
    number = float(value)
    inside = low <= number < high if open_high else low <= number <= high
    if not inside:
        bracket = ")" if open_high or math.isinf(high) else "]"
        raise ValueError(
            f"{name}={value!r} is not allowed; it must lie in [{low}, {high}{bracket}."
        )


def check_positive_or_none(name: str, value: object) -> None:
    """Raise unless a number is greater than zero; None means off and passes.

    Args:
        name: Name of the argument, for the message.
        value: What was given.

    Raises:
        ValueError: The number is zero, negative or not a number.
    """
    if isinstance(value, Real) and not float(value) > 0:
        raise ValueError(f"{name}={value!r} is not allowed; it must be positive, or None for off.")


def check_count(name: str, value: object) -> None:
    """Raise unless a number is a whole one, of at least one.

    Args:
        name: Name of the argument, for the message.
        value: What was given; anything but a Python number passes unchecked.

    Raises:
        ValueError: The number is not whole, or below one.
    """
    if isinstance(value, Real) and not (isinstance(value, Integral) and int(value) >= 1):
        raise ValueError(f"{name}={value!r} is not allowed; it must be a whole number from 1.")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise unless `value` is one of the named rows of a table.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        choices: Names of all rows.

    Raises:
        ValueError: There is no such row.
    """
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not allowed; it must be one of {sorted(choices)}.")


def check_static(name: str, value: object) -> None:
    """Raise if a number that says of what shape the state is is traced.

    Args:
        name: Name of the argument, for the message.
        value: What was given.

    Raises:
        ValueError: It is traced, as an injected hyperparameter is.
    """
    if isinstance(value, jax.core.Tracer):
        raise ValueError(
            f"{name} is traced, but says of what shape the state is; it must be a plain number, "
            f"under optax.inject_hyperparams by static_args=({name!r}, …)."
        )
