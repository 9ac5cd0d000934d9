"""Small pieces of HTML that the sections share. Everything that takes text escapes it."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

REPOSITORY = Path(__file__).resolve().parents[2]
_NUMBER = ' class="number"'


class Markup(str):
    """HTML that is ready to be placed; any other string is escaped first."""

    __slots__ = ()


def text(value: Any) -> str:
    """Returns a value as HTML: Markup as it is, None as a dash, anything else escaped."""
    if isinstance(value, Markup):
        return value
    return "–" if value is None or value == "" else escape(str(value))


def anchor(name: str) -> str:
    """Returns the id of a name's section: the name itself, blanks replaced as ids have none."""
    return "-".join(name.split())


def fragment(identifier: str) -> str:
    """Returns the link to an id of this page, ready to be placed."""
    return f"#{escape(quote(identifier, safe='/:'))}"


def self_link(label: str, identifier: str) -> Markup:
    """Returns a text that links to the id of what it heads, so that its address can be copied."""
    return Markup(f'<a class="self" href="{fragment(identifier)}">{escape(label)}</a>')


def name_link(name: str) -> Markup:
    """Returns a link to the section of a dotted name, breakable after each dot."""
    label = escape(name).replace(".", ".<wbr>").replace("_", "_<wbr>")
    return Markup(f'<a href="{fragment(anchor(name))}"><code>{label}</code></a>')


def badge(verdict: str) -> Markup:
    """Returns a verdict as a coloured word."""
    css = "-".join(verdict.lower().split())
    return Markup(f'<span class="badge {escape(css)}">{escape(verdict)}</span>')


def path_link(path: str | None, folder: Path) -> Markup:
    """Returns a repository path, linked where the report lies in the repository.

    Elsewhere a relative link would lead nowhere, so that only the path is shown.
    """
    if not path:
        return Markup("–")
    shown = f"<code>{escape(path)}</code>"
    folder = folder.resolve()
    if not folder.is_relative_to(REPOSITORY):
        return Markup(shown)
    up = "../" * len(folder.relative_to(REPOSITORY).parts)
    return Markup(f'<a href="{escape(up + quote(path, safe="/#"))}">{shown}</a>')


def table(
    caption: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[Any]],
    numeric: Sequence[int],
    ids: Sequence[str] = (),
) -> str:
    """Returns a captioned table whose first column heads its rows.

    Args:
        caption: what the table shows; also the label of its scrolling region.
        headings: one per column.
        rows: cells, escaped unless Markup.
        numeric: the columns set to the right in figures of equal width.
        ids: one per row; none where no row has one.
    """
    head = "".join(
        f'<th scope="col"{_NUMBER if column in numeric else ""}>{text(heading)}</th>'
        for column, heading in enumerate(headings)
    )
    attributes = [f' id="{escape(identifier)}"' for identifier in ids] or [""] * len(rows)
    body = "".join(
        f"<tr{attribute}>{_cells(row, numeric)}</tr>"
        for attribute, row in zip(attributes, rows, strict=True)
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><caption>{text(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _cells(row: Sequence[Any], numeric: Sequence[int]) -> str:
    cells = [f'<th scope="row">{text(row[0])}</th>']
    for column, cell in enumerate(row[1:], start=1):
        cells.append(f"<td{_NUMBER if column in numeric else ''}>{text(cell)}</td>")
    return "".join(cells)


def definitions(pairs: Sequence[tuple[str, Any]]) -> str:
    """Returns a list of terms and their descriptions; empty ones are left out."""
    items = [f"<dt>{text(term)}</dt><dd>{text(value)}</dd>" for term, value in pairs if value]
    return f"<dl>{''.join(items)}</dl>"
