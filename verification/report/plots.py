"""Line plots as inline SVG: value against step, several series, a budget, log or linear axis."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

from verification.report.summary import number

WIDTH, HEIGHT = 680, 300
LEFT, RIGHT, TOP, BOTTOM = 68, 14, 14, 46
COLOURS = 6
# More points than this are not distinguishable at this width.
MAX_POINTS = 400
# Rows outside the scale for values that a log axis has no place for.
_ROW = 22
# Width of a figure of a tick's number.
_FIGURE = 7


class Series(NamedTuple):
    """One line of a plot; role is 'line', 'control', 'budget' or 'band', values start at step 0.

    A budget with a single value is a horizontal line across the plot. A band lies between its
    values and its lower ones.
    """

    label: str
    values: Sequence[Any]
    role: str = "line"
    colour: int = 0
    lower: Sequence[Any] = ()


class Axes(NamedTuple):
    """What a plot says on and under its axes; `stride` steps lie between two values of a series."""

    title: str
    y_label: str
    x_label: str = "step"
    log: bool = True
    stride: int = 1


class _Scale(NamedTuple):
    low: float
    high: float
    log: bool
    zero_row: bool
    infinite_row: bool

    def y(self, value: float) -> float:
        top = TOP + (_ROW if self.infinite_row else 0)
        bottom = HEIGHT - BOTTOM - (_ROW if self.zero_row else 0)
        if not math.isfinite(value):
            return TOP + _ROW / 4
        if self.log and value <= 0:
            return HEIGHT - BOTTOM - _ROW / 4
        position = math.log10(value) if self.log else value
        position = min(max(position, self.low), self.high)
        return bottom - (position - self.low) / (self.high - self.low) * (bottom - top)


def plot(series: Sequence[Series], axes: Axes) -> str:
    """Returns a figure element: the SVG and its legend, or '' where there is nothing to draw.

    On a log axis zeros stand in a row of their own below the scale; values that are not finite
    stand above it, marked by a cross. A value of None leaves its point out.
    """
    drawn = [(one, thin(one.values)) for one in series]
    drawn = [(one, points) for one, points in drawn if points]
    if not any(one.role == "line" for one, _ in drawn):
        return ""
    values = [value for one, points in drawn for value in _values(one, points)]
    last = max(1, max(step for _, points in drawn for step, _ in points))
    scale = _scale(values, axes.log)
    lines = "".join(_line(one, points, last, scale) for one, points in drawn)
    thinned = any(len(one.values) > MAX_POINTS for one in series)
    return (
        f'<figure class="plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(_description(axes, drawn))}">'
        f"{_y_axis(scale, axes.y_label)}{_x_axis(last, axes)}{lines}</svg>"
        f"<figcaption><p>{escape(axes.title)}{_thin_note() if thinned else ''}</p>"
        f"{legend([one for one, _ in drawn])}</figcaption></figure>"
    )


def thin(values: Sequence[Any]) -> list[tuple[int, float]]:
    """Returns (step, value) pairs; of a long series only the largest value of each stretch."""
    points = [(step, number(value)) for step, value in enumerate(values)]
    known = [(step, value) for step, value in points if value is not None]
    size = -(-len(known) // MAX_POINTS)
    if size <= 1:
        return known
    stretches = [known[start : start + size] for start in range(0, len(known), size)]
    # A value that is not a number is the worst there can be.
    return [max(s, key=lambda p: math.inf if math.isnan(p[1]) else p[1]) for s in stretches]


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Returns about `count` multiples of 1, 2 or 5 times a power of ten within [low, high]."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Returns ticks for an axis from 10^low to 10^high, with 2 and 5 where decades are few."""
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if high - low <= 2:
        every = itertools.product(range(first - 1, last + 1), (1, 2, 5))
        ticks = [m * 10.0**decade for decade, m in every]
        return [t for t in ticks if low - 1e-9 <= math.log10(t) <= high + 1e-9]
    stride = max(1, -(-(last - first) // 6))
    return [10.0**decade for decade in range(first, last + 1, stride)]


def _scale(values: Iterable[float], log: bool) -> _Scale:
    values = list(values)
    finite = [value for value in values if math.isfinite(value)]
    infinite_row = len(finite) < len(values)
    if not log:
        low, high = min(finite, default=0.0), max(finite, default=1.0)
        margin = 0.05 * (high - low) or abs(high) or 1.0
        return _Scale(low - margin, high + margin, False, False, infinite_row)
    positive = [math.log10(value) for value in finite if value > 0]
    # Kept away from the ends of float64, where a power of ten overflows or vanishes.
    low = min(max(math.floor(min(positive, default=0)), -300), 299)
    high = min(math.ceil(max(positive, default=0)), 300)
    zero_row = any(value <= 0 for value in finite)
    return _Scale(low, max(high, low + 1), True, zero_row, infinite_row)


def _x(step: float, last: int) -> float:
    return LEFT + step / last * (WIDTH - LEFT - RIGHT)


def _values(one: Series, points: list[tuple[int, float]]) -> Iterator[float]:
    yield from (value for _, value in points)
    if one.role == "band":
        yield from (low for step, _ in points if (low := number(one.lower[step])) is not None)


def _band(one: Series, points: list[tuple[int, float]], last: int, scale: _Scale) -> str:
    """Return the area between both edges, with a stroke at each step that it was measured in."""
    css = f"band c{one.colour % COLOURS}"
    upper = [(_x(step, last), scale.y(high)) for step, high in points]
    lower = [(_x(step, last), scale.y(number(one.lower[step]) or 0.0)) for step, _ in points]
    edge = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *lower[::-1]])
    sparse = len(points) <= points[-1][0] - points[0][0] or len(points) == 1
    strokes = "".join(
        f'<path class="{css}" d="M{x:.1f} {high:.1f}V{low:.1f}"/>'
        for (x, high), (_, low) in zip(upper, lower, strict=True)
        if sparse
    )
    return (
        f'<polygon class="{css}" points="{edge}"><title>{escape(one.label)}</title></polygon>'
        f"{strokes}"
    )


def _line(one: Series, points: list[tuple[int, float]], last: int, scale: _Scale) -> str:
    if one.role == "band":
        return _band(one, points, last, scale)
    places = [(_x(step, last), scale.y(value)) for step, value in points]
    if one.role == "budget" and len(points) == 1:
        places = [(LEFT, places[0][1]), (WIDTH - RIGHT, places[0][1])]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    css = f"{one.role} c{one.colour % COLOURS}"
    marks = "".join(
        f'<path class="{css} mark" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"/>'
        for (x, y), (_, value) in zip(places, points, strict=False)
        if not math.isfinite(value)
    )
    if len(places) == 1:
        marks += f'<circle class="{css}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3"/>'
    return (
        f'<polyline class="{css}" points="{path}"><title>{escape(one.label)}</title></polyline>'
        f"{marks}"
    )


def _y_axis(scale: _Scale, label: str) -> str:
    if scale.log:
        ticks = log_ticks(scale.low, scale.high)
    else:
        ticks = linear_ticks(scale.low, scale.high, 5)
    places = [(f"{tick:.6g}", scale.y(tick)) for tick in ticks]
    places += [("0", scale.y(0.0))] if scale.zero_row else []
    places += [("inf, nan", scale.y(math.inf))] if scale.infinite_row else []
    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        for text, y in places
    ]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="label" transform="translate(13 {middle:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(label)}</text>'
    )
    return "".join(parts)


def _x_axis(last: int, axes: Axes) -> str:
    base, last = HEIGHT - BOTTOM, last * axes.stride
    ticks = sorted({round(tick) for tick in linear_ticks(0, last, 6)})
    parts = [
        f'<line class="axis" x1="{_x(t, last):.1f}" x2="{_x(t, last):.1f}" y1="{base}" '
        f'y2="{base + 4}"/><text class="tick" x="{_x(t, last):.1f}" y="{base + 17}" '
        f'text-anchor="{_side(_x(t, last), t)}">{t}</text>'
        for t in ticks
    ]
    return (
        f'<path class="axis" d="M{LEFT} {TOP}V{base}H{WIDTH - RIGHT}"/>{"".join(parts)}'
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(axes.x_label)}</text>'
    )


def _side(x: float, tick: int) -> str:
    """Return how a number is set under its tick: to the left of it where it would be cut off."""
    return "middle" if x + _FIGURE / 2 * len(str(tick)) <= WIDTH else "end"


def legend(series: Iterable[Series]) -> str:
    """Returns a list of labels, each with its line."""
    items = "".join(
        '<li><svg class="swatch" viewBox="0 0 28 8" aria-hidden="true">'
        f'<path class="{one.role} c{one.colour % COLOURS}" d="M1 4H27"/></svg>'
        f"{escape(one.label)}</li>"
        for one in series
    )
    return f'<ul class="legend">{items}</ul>'


def _thin_note() -> str:
    return f" (of more than {MAX_POINTS} steps, the largest value of each stretch is drawn)"


def _description(axes: Axes, drawn: Sequence[tuple[Series, list[tuple[int, float]]]]) -> str:
    ends = [
        f"{one.label}: {_told(one, *points[0])} at step {points[0][0] * axes.stride}, "
        f"{_told(one, *points[-1])} at step {points[-1][0] * axes.stride}"
        for one, points in drawn
        if not (one.role == "budget" and len(points) == 1)
    ]
    return f"{axes.title}. {axes.y_label} against {axes.x_label}. {'; '.join(ends)}"


def _told(one: Series, step: int, value: float) -> str:
    return f"{number(one.lower[step]):.3g} to {value:.3g}" if one.lower else f"{value:.3g}"
