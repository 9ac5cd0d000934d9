"""Checks of options, made when an optimizer is built.

A value that is traced (an injected hyperparameter) cannot be compared in Python and passes.
"""

import math
from collections.abc import Collection
from numbers import Real

__all__ = ["check_choice", "check_interval", "check_positive_or_none"]


def check_interval(name: str, value: object, low: float, high: float, *, open_high: bool = False):
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
    inside = low <= value < high if open_high else low <= value <= high
    if not inside:
        bracket = ")" if open_high or math.isinf(high) else "]"
        raise ValueError(
            f"{name}={value!r} is not allowed; it must lie in [{low}, {high}{bracket}."
        )


def check_positive_or_none(name: str, value: object):
    """Raise unless a number is greater than zero; None means off and passes.

    Args:
        name: Name of the argument, for the message.
        value: What was given.

    Raises:
        ValueError: The number is zero, negative or not a number.
    """
    if isinstance(value, Real) and not value > 0:
        raise ValueError(f"{name}={value!r} is not allowed; it must be positive, or None for off.")


def check_choice(name: str, value: object, choices: Collection[str]):
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
