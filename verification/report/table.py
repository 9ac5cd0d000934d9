"""The plain-text table that a run prints."""

import shlex
import textwrap
from typing import Any

from verification.report.summary import (
    NameSummary,
    check_of,
    describe_error,
    failures,
    format_number,
    primary_unit,
    summarise,
    survivors,
)

WIDTH = 110
INDENT = "    "
HEADINGS = ("name", "float64 eps", "float32", "bfloat16", "faults", "verdict")


def render_table(document: dict[str, Any]) -> str:
    """Returns the results as aligned ASCII text, at most 110 columns wide.

    One row per dotted name: the worst float64 error over its budget in eps, the float32 and
    bfloat16 errors as ratios to the control, faults caught of faults planted, and the verdict;
    then the totals, and every failure with the command that reproduces it.

    Args:
        document: the results document (schema.json describes it).

    Returns:
        The text, ending in a newline.
    """
    rows = [HEADINGS] + [_row(summary) for summary in summarise(document)]
    lines = _align(rows)
    lines.insert(1, "-" * max(len(line) for line in lines))
    lines += ["", *_wrap(_totals(document["summary"]), "")]
    for result in failures(document):
        lines += ["", *_failure(result)]
    for fault in survivors(document):
        text = f"NOT CAUGHT {fault['name']}: a fault planted in {fault['target']}"
        lines += ["", *_wrap(text, INDENT)]
    return "\n".join(lines) + "\n"


def ascii_text(text: Any) -> str:
    """Returns printable ASCII on one line; any other character becomes its escape."""
    spaced = " ".join(str(text).split())
    safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in spaced)
    return safe.encode("ascii", "backslashreplace").decode("ascii")


def _row(summary: NameSummary) -> tuple[str, ...]:
    cells = [_error_cell(summary, dtype) for dtype in ("float64", "float32", "bfloat16")]
    faults = f"{summary.caught}/{len(summary.faults)}" if summary.faults else "-"
    return (ascii_text(summary.name), *cells, faults, summary.verdict)


def _error_cell(summary: NameSummary, dtype: str) -> str:
    worst = summary.worst.get(dtype)
    if worst is None:
        return "-"
    error = format_number(worst.get("error"))
    if dtype == "float64":
        error += f" / {format_number(worst.get('budget'))}"
    # Without its unit, '0' bits of an equivalence would read as an error of 0 eps.
    unit = worst.get("unit") or "?"
    return error if unit == primary_unit(dtype) else f"{error} {unit}"


def _align(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    widths[0] = min(widths[0], WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1))
    lines = []
    for name, *numbers, verdict in rows:
        padded = [cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True)]
        cells = [_shorten(name, widths[0]).ljust(widths[0]), *padded, verdict]
        lines.append("  ".join(cells).rstrip())
    return lines


def _shorten(text: str, width: int) -> str:
    """Cuts the middle out: the ends of a dotted name tell the most."""
    if len(text) <= width:
        return text
    tail = (width - 3) // 2
    return text[: width - 3 - tail] + "..." + text[len(text) - tail :]


def _totals(summary: dict[str, int]) -> str:
    counts = [f"{summary[key]} {key}" for key in ("passed", "failed", "mistrusted", "skipped")]
    faults = f"{summary['faults_caught']}/{summary['faults_total']}"
    return f"{', '.join(counts)}; faults caught {faults}"


def _failure(result: dict[str, Any]) -> list[str]:
    heading = [result["verdict"], result["name"], check_of(result), result["dtype"]]
    lines = _wrap(" ".join(heading), INDENT)
    place = ", ".join(str(p) for p in (result.get("field"), result.get("where")) if p)
    lines += _wrap(f"{INDENT}{describe_error(result)}{' at ' if place else ''}{place}", INDENT)
    if result.get("detail"):
        lines += _wrap(f"{INDENT}{result['detail']}", INDENT)
    if result.get("reproduce"):
        lines += _wrap_command(result["reproduce"])
    return lines


def _wrap(text: str, indent: str) -> list[str]:
    lead = text[: len(text) - len(text.lstrip())]
    wrapper = textwrap.TextWrapper(
        width=WIDTH, initial_indent=lead, subsequent_indent=indent, drop_whitespace=True
    )
    return wrapper.wrap(ascii_text(text))


def _wrap_command(command: str) -> list[str]:
    """Breaks a command between words with a backslash, so that it can still be pasted."""
    try:
        words = shlex.split(ascii_text(command), posix=False)
    except ValueError:
        words = [ascii_text(command)]
    lines = [INDENT + "$"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > WIDTH - 2:
            lines[-1] += " \\"
            lines.append(INDENT + " ")
        lines[-1] += " " + word
    return lines
