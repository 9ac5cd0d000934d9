"""The weight of each iterate in the average."""

__all__ = ["averaging_coefficient", "averaging_weight"]

_LEARNING_RATE_POWER = {"theoretical": 0, "schedulet": 1, "practical": 2}


def averaging_weight(
    learning_rate: float, count: int, mode: str, averaging_power: float = 0.0
) -> float:
    """Return the weight of the iterate that step `count` produces.

    w_t = (t + 1)^r gamma_t^p  with p = 0, 1, 2 for "theoretical", "schedulet", "practical".

    Args:
        learning_rate: gamma_t, the rate of the step, or the largest rate so far.
        count: t, from 0.
        mode: "theoretical", "schedulet" or "practical".
        averaging_power: r.

    Returns:
        w_t >= 0.

    Raises:
        ValueError: if the mode is none of these.

    Source: practical: arXiv 2405.15682v4, Algorithm 1 and equation (23). r: the released
    schedulefree; its share is that of equation (20), (r + 1) / (t + r + 1), for r = 0 and 1, and
    tends to it for others. schedulet: arXiv 2511.07767v1, equation (6) and Theorem 2.1 of the
    reviewed submission (secondary source).
    theoretical: arXiv 2405.15682v4, equation (5), with c = 1 at the first step.
    """
    if mode not in _LEARNING_RATE_POWER:
        allowed = ", ".join(repr(known) for known in _LEARNING_RATE_POWER)
        raise ValueError(f"weighting_mode is {mode!r}; allowed are {allowed}")
    return (count + 1) ** averaging_power * learning_rate ** _LEARNING_RATE_POWER[mode]


def averaging_coefficient(weight: float, weight_sum: float) -> float:
    """Return the share of the newest iterate in the average.

    c_{t+1} = w_t / sum_{i <= t} w_i, and 0 while that sum is 0.

    Args:
        weight: w_t.
        weight_sum: the sum of all weights so far, w_t included.

    Returns:
        c_{t+1}, in [0, 1].

    Source: arXiv 2405.15682v4, Theorem 2, equations (9) to (12).
    """
    return weight / weight_sum if weight_sum != 0 else 0.0
