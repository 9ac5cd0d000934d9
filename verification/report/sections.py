"""One section of the page per dotted name."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from verification.report import note, plots
from verification.report.identity import check_id
from verification.report.parts import (
    Markup,
    anchor,
    badge,
    definitions,
    path_link,
    self_link,
    table,
    text,
)
from verification.report.summary import NameSummary, check_of, format_number, number


def name_section(summary: NameSummary, folder: Path) -> str:
    """Returns the section of one name: equation, sources, results, plots and faults."""
    entry, identifier = summary.entry, escape(anchor(summary.name))
    facts = [
        ("Source", Markup(note.inline(entry.get("source") or ""))),
        ("Reference", path_link(entry.get("reference"), folder)),
        ("Production", path_link(entry.get("production"), folder)),
        ("Note", path_link(entry.get("note"), folder)),
        ("Faults caught", _faults_caught(summary)),
    ]
    return (
        f'<section class="name" id="{identifier}" data-name="{escape(summary.name)}" '
        f'data-verdict="{escape(summary.verdict)}">'
        f"<h3>{self_link(summary.name, anchor(summary.name))} {badge(summary.verdict)}</h3>"
        f"{note.to_html(entry.get('equation') or '')}{definitions(facts)}"
        f"{results_table(summary)}{figures(summary.results)}{_commands(summary)}"
        f"{_citation(entry)}"
        "</section>"
    )


def results_table(summary: NameSummary) -> str:
    """Returns the table of a name's results, one row per check, dtype and field."""
    if not summary.results:
        return "<p>No check of this name was run.</p>"
    headings = ["Check", "Dtype", "Field", "Error", "Budget", "Unit", "Verdict", "Where", "Why"]
    ids = [check_id(result) for result in summary.results]
    rows = [
        [
            self_link(check_of(result), identifier),
            result["dtype"],
            result.get("field"),
            format_number(result.get("error")),
            format_number(result.get("budget")),
            result.get("unit"),
            badge(result["verdict"]),
            result.get("where"),
            _why(result),
        ]
        for identifier, result in zip(ids, summary.results, strict=True)
    ]
    return table(f"Results of {summary.name}", headings, rows, (3, 4), ids)


def figures(results: Iterable[dict[str, Any]]) -> str:
    """Returns the error-against-step plots, one per check, dtype and unit.

    A group of more fields than can be told apart is split over several plots; a field with a
    control, whose budget moves, has a plot of its own.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for result in results:
        if result.get("series"):
            key = (check_of(result), result["dtype"], result.get("unit") or "")
            groups.setdefault(key, []).append(result)
    drawn = []
    for (check, dtype, unit), group in groups.items():
        controlled = any(result.get("control_series") for result in group)
        size = 1 if controlled else plots.COLOURS
        for start in range(0, len(group), size):
            part = group[start : start + size]
            title = f"{part[0]['name']}: {check}, {dtype}"
            axes = plots.Axes(title, _error_label(dtype, unit, controlled))
            drawn.append(plots.plot(_group_series(part, named=len(group) > 1), axes))
    drawn = [figure for figure in drawn if figure]
    return f'<div class="plots">{"".join(drawn)}</div>' if drawn else ""


def _error_label(dtype: str, unit: str, controlled: bool) -> str:
    if unit == "eps" or controlled:
        return f"error (eps of {dtype})"
    return {"bits": "bits that differ"}.get(unit, f"error ({unit})" if unit else "error")


def _group_series(results: list[dict[str, Any]], named: bool) -> list[plots.Series]:
    series, budgets = [], []
    for colour, result in enumerate(results):
        # A check's only series is over all its fields; 'field' then is that of the worst error.
        field = result.get("field") if named else None
        control = result.get("control_series") or []
        budget = number(result.get("budget"))
        if result.get("floor_series"):
            series.append(_floor(result, colour))
        series.append(plots.Series(field or "production", result["series"], "line", colour))
        if control:
            series.append(plots.Series("control", control, "control", colour))
        if budget is None:
            continue
        shown = format_number(budget)
        if result.get("unit") == "ratio to control" and control:
            # The budget is a multiple of the control, so that it moves with it.
            known = [number(value) for value in control]
            limits = [None if value is None else budget * value for value in known]
            series.append(plots.Series(f"budget ({shown} × control)", limits, "budget"))
        elif budget not in budgets:
            budgets.append(budget)
            series.append(plots.Series(f"budget ({shown})", [budget], "budget"))
    return series


def _floor(result: dict[str, Any], colour: int) -> plots.Series:
    """Return the band in which the reference lies when it is rounded at random."""
    points = {int(step): (low, high) for step, low, high in result["floor_series"]}
    lows, highs = (
        [points[step][side] if step in points else None for step in range(max(points) + 1)]
        for side in (0, 1)
    )
    label = f"reference rounded at random, {result.get('floor_runs')} runs"
    return plots.Series(label, highs, "band", colour, lows)


def _why(result: dict[str, Any]) -> Markup:
    parts = [text(result[key]) for key in ("reason", "detail") if result.get(key)]
    return Markup("<br>".join(parts) or "–")


def _faults_caught(summary: NameSummary) -> Markup | None:
    if not summary.faults:
        return None
    items = "".join(
        f"<li>{text(fault['name'])}: "
        + (f"caught by {text(fault.get('by'))}" if fault["caught"] else badge("NOT CAUGHT"))
        + "</li>"
        for fault in summary.faults
    )
    return Markup(f"{summary.caught} of {len(summary.faults)}<ul>{items}</ul>")


def _commands(summary: NameSummary) -> str:
    """The commands that run these checks again, each once."""
    commands = dict.fromkeys(r["reproduce"] for r in summary.results if r.get("reproduce"))
    if not commands:
        return ""
    return (
        "<details><summary>Reproduce</summary>"
        f"<pre>{escape(chr(10).join(commands))}</pre></details>"
    )


def _citation(entry: dict[str, Any]) -> str:
    """What a paper that uses this equation copies into its bibliography."""
    if not entry.get("citation"):
        return ""
    return (
        "<details><summary>Cite</summary>"
        f'<pre class="copy">{escape(entry["citation"])}</pre></details>'
    )
