"""Learning rate schedules."""

import math
from collections.abc import Callable

__all__ = ["wsd_schedule"]


def wsd_schedule(
    peak_lr: float,
    total_steps: int,
    warmup_fraction: float = 0.1,
    decay_fraction: float = 0.1,
    decay_shape: str = "linear",
) -> Callable[[int], float]:
    """Return the warmup-stable-decay schedule.

    With T = total_steps - 1 the last step, T_w = int(total_steps warmup_fraction) and
    T_c = total_steps - int(total_steps decay_fraction), the rate at step t is `peak_lr` times

        (t + 1) / (T_w + 1)                        t <= T_w
        1                                          T_w < t <= T_c
        s = (T - t + 1) / (T - T_c + 1)            t > T_c, "linear"
        1 - sqrt(1 - s)                            t > T_c, "sqrt"

    and 0 once s would be negative.

    Args:
        peak_lr: the rate of the stable part.
        total_steps: the number of steps.
        warmup_fraction: the fraction of the steps spent rising, in [0, 1].
        decay_fraction: the fraction of the steps spent falling, in [0, 1].
        decay_shape: "linear" or "sqrt".

    Returns:
        A function of the step t = 0, 1, ...

    Raises:
        ValueError: if a fraction is negative, if warmup and decay overlap, or
            if the shape is unknown.

    Source: linear: Schedulers for Schedule-free, arXiv 2511.07767v1 (number not seen). sqrt:
    Hagele et al., arXiv 2405.18392 (number not seen). The three phases: MiniCPM, arXiv 2404.06395,
    equation (1).
    """
    if decay_shape not in ("linear", "sqrt"):
        raise ValueError(f"decay_shape is {decay_shape!r}; allowed are 'linear', 'sqrt'")
    last = total_steps - 1
    warmup_end = int(total_steps * warmup_fraction)
    decay_start = total_steps - int(total_steps * decay_fraction)
    if warmup_end < 0 or decay_start > total_steps or warmup_end > decay_start:
        raise ValueError(
            f"warmup_fraction is {warmup_fraction} and decay_fraction is {decay_fraction}; allowed "
            "are fractions from 0, at most 1 together"
        )

    def schedule(count: int) -> float:
        if count <= warmup_end:
            return peak_lr * (count + 1) / (warmup_end + 1)
        if count <= decay_start:
            return peak_lr
        if count > last:
            return 0 * peak_lr
        if decay_shape == "linear":
            return peak_lr * (last - count + 1) / (last - decay_start + 1)
        return peak_lr * (1 - math.sqrt(1 - (last - count + 1) / (last - decay_start + 1)))

    return schedule
