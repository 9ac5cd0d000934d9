"""Paths in a plane over contours, as inline SVG."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from verification.report.plots import COLOURS, Series, legend, linear_ticks

__all__ = ["plot"]

WIDTH, HEIGHT = 680, 460
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 14, 32
_BESIDE = 4


class _Frame(NamedTuple):
    """Both ends of both axes."""

    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, point: Sequence[float]) -> str:
        """Returns the place of a point in the figure; what lies outside is cut off by the SVG."""
        across = (point[0] - self.x[0]) / (self.x[1] - self.x[0])
        up = (point[1] - self.y[0]) / (self.y[1] - self.y[0])
        # Far outside it would take many digits, and look no different.
        across, up = (min(max(share, -_BESIDE), _BESIDE) for share in (across, up))
        return (
            f"{LEFT + across * (WIDTH - LEFT - RIGHT):.1f},"
            f"{HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM):.1f}"
        )


def plot(plane: Mapping[str, Any] | None) -> str:
    """Returns a figure element: contours, paths with their legend, marks; '' for none.

    Args:
        plane: as schema.json has it, or None.
    """
    if not plane:
        return ""
    (left, right), (low, high) = plane["x"], plane["y"]
    frame = _Frame((left, right), (low, high))
    contours = "".join(_line(frame, line, "contour", "") for line in plane["contours"])
    paths = "".join(
        _line(frame, line, f"line c{index % COLOURS}", label)
        for index, (label, line) in enumerate(plane["paths"].items())
    )
    marks = "".join(_mark(frame, point) for point in plane.get("marks", []))
    labels = legend(Series(label, [], "line", i) for i, label in enumerate(plane["paths"]))
    inside = (
        f'<svg x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}" '
        f'viewBox="{LEFT} {TOP} {WIDTH - LEFT - RIGHT} {HEIGHT - TOP - BOTTOM}">'
        f"{contours}{paths}{marks}</svg>"
    )
    return (
        f'<figure class="plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(plane["caption"])}">{_axes(frame)}{inside}</svg>'
        f"<figcaption><p>{escape(plane['caption'])}</p>{labels}</figcaption></figure>"
    )


def _line(frame: _Frame, points: Sequence[Sequence[float]], css: str, label: str) -> str:
    places = " ".join(frame.place(point) for point in points)
    title = f"<title>{escape(label)}</title>" if label else ""
    return f'<polyline class="{css}" points="{places}">{title}</polyline>'


def _mark(frame: _Frame, point: Sequence[float]) -> str:
    x, y = frame.place(point).split(",")
    return f'<circle class="place" cx="{x}" cy="{y}" r="4"/>'


def _axes(frame: _Frame) -> str:
    parts = []
    for tick in linear_ticks(*frame.x, 6):
        x = frame.place((tick, frame.y[0])).split(",")[0]
        parts.append(
            f'<text class="tick" x="{x}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">'
            f"{tick:.6g}</text>"
        )
    for tick in linear_ticks(*frame.y, 6):
        y = float(frame.place((frame.x[0], tick)).split(",")[1])
        parts.append(
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.6g}</text>'
        )
    return f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>' + "".join(
        parts
    )
