"""A result of a paper measured again: its parts, each run by itself, and the entry they make."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verification.reproductions.criteria import Criterion, Curves

__all__ = ["Figure", "Part", "Reproduction", "clopper_pearson", "judged"]


@dataclass(frozen=True)
class Part:
    """What one part has measured.

    Attributes:
        curves: Label -> array, for the criteria. A series of the figure is one of them.
        facts: Anything else that the entry shows, in JSON's own types.
    """

    curves: Curves
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Reproduction:
    """A result of a paper, measured again.

    Attributes:
        title: Heading in the report.
        parts: Label of each part -> about how many seconds it takes. Long ones go first.
        measure: Runs the part of a label, in a process of its own.
        entry: All parts by label -> the entry of the report, without its seconds.
    """

    title: str
    parts: Mapping[str, float]
    measure: Callable[[str], Any]
    entry: Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """Which curves are drawn, and over what.

    Attributes:
        series: Labels of the curves.
        x_label: What the values of a curve follow each other in.
        y_label: What they are.
        stride: From one value to the next.
        y_scale: `log` or `linear`.
    """

    series: Sequence[str]
    x_label: str
    y_label: str
    stride: int = 1
    y_scale: str = "log"


def judged(
    texts: Mapping[str, str],
    criteria: Sequence[Criterion],
    curves: Curves,
    figure: Figure,
    **further: Any,
) -> dict[str, Any]:
    """Return the entry of the report: texts, rows of the criteria, the verdict and the curves.

    Args:
        texts: title, source, claim and criterion, as the report shows them.
        criteria: What has to hold.
        curves: Label -> array.
        figure: Which of them are drawn.
        **further: More of the entry, such as `tables`.
    """
    rows = [criterion.row(curves) for criterion in criteria]
    return {
        **texts,
        "passed": all(row["verdict"] == "PASS" for row in rows),
        "rows": rows,
        "series": {label: curves[label].tolist() for label in figure.series},
        "stride": figure.stride,
        "x_label": figure.x_label,
        "y_label": figure.y_label,
        "y_scale": figure.y_scale,
        **further,
    }


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval that holds a probability of success with at least some confidence.

    Args:
        successes: Number of trials that succeeded.
        trials: Number of trials.
        confidence: Of the interval.
    """
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = beta.ppf(tail, successes, trials - successes + 1)
    high = beta.ppf(1 - tail, successes + 1, trials - successes)
    return (
        0.0 if math.isnan(low) else float(low),
        1.0 if math.isnan(high) else float(high),
    )
