"""Recurrences of the papers over the rational numbers, one entry at a time; nothing is rounded.

Averages are written as the sums over all steps that the recurrences stand for, where the papers
state such a form. Numbers come in as they are stored: `Fraction(0.9)` is the double next to 9/10.
"""

from collections.abc import Sequence
from fractions import Fraction

POWERS = {"theoretical": 0, "schedulet": 1, "practical": 2}


def stored(values) -> list[Fraction]:
    """Return numbers as the fractions that their doubles are."""
    return [Fraction(float(value)) for value in values]


def warmed(rate: float, steps: int, warmup_steps: int) -> list[Fraction]:
    """Return gamma min(1, t / T_warmup) for t = 1, 2, ... (arXiv 2405.15682v4, Algorithm 1)."""
    shares = [min(Fraction(1), Fraction(t, max(warmup_steps, 1))) for t in range(1, steps + 1)]
    return [Fraction(rate) * share for share in shares]


def weights(
    rates: Sequence[Fraction], mode: str, power: int = 0, largest: bool = False
) -> list[Fraction]:
    """Return w_t = t^r gamma_t^p, t from 1; of the largest rate so far, if `largest`."""
    found = []
    for index, rate in enumerate(rates):
        rate = max(rates[: index + 1]) if largest else rate
        found.append((index + 1) ** power * rate ** POWERS[mode])
    return found


def weighted_mean(values: Sequence[Fraction], shares: Sequence[Fraction]) -> Fraction:
    """Return sum w_i z_i / sum w_i."""
    total = sum((w * z for w, z in zip(shares, values, strict=True)), Fraction())
    return total / sum(shares, Fraction())


def schedule_free(
    start: Fraction,
    directions: Sequence[Fraction],
    rates: Sequence[Fraction],
    shares: Sequence[Fraction],
    b1: Fraction,
    decay: Fraction = Fraction(0),
) -> list[tuple[Fraction, Fraction, Fraction]]:
    """Return (x, y, z) after every step of z <- z - gamma (d + lambda y).

    x_t = sum_{i <= t} w_i z_i / sum_{i <= t} w_i,  y_t = (1 - beta) z_t + beta x_t:
    arXiv 2405.15682v4, Theorem 2 and equation (3).
    """
    y = z = start
    iterates, found = [], []
    for step, (direction, rate) in enumerate(zip(directions, rates, strict=True)):
        z -= rate * (direction + decay * y)
        iterates.append(z)
        x = weighted_mean(iterates, shares[: step + 1])
        y = (1 - b1) * z + b1 * x
        found.append((x, y, z))
    return found


def exponential_mean(values: Sequence[Fraction], decay: Fraction) -> Fraction:
    """Return sum_s (1 - beta) beta^(t - s) g_s, the moving average that starts at 0."""
    last = len(values) - 1
    terms = ((1 - decay) * decay ** (last - s) * g for s, g in enumerate(values))
    return sum(terms, Fraction())


def running_mean(values: Sequence[Fraction], largest_decay: Fraction) -> Fraction:
    """Return the mean of all values while t / (1 + t) is below a decay, then that moving average.

    With n the first t at which t / (1 + t) is over it, m_t = beta^(t - n + 1) mean(g_0 ... g_{n-1})
    + sum_{s >= n} (1 - beta) beta^(t - s) g_s.
    """
    n = next((t for t in range(len(values)) if Fraction(t, t + 1) > largest_decay), len(values))
    first, rest = values[:n], values[n:]
    begun = largest_decay ** len(rest) * sum(first) / n if n else Fraction(0)
    return begun + (exponential_mean(rest, largest_decay) if rest else 0)
