"""The Markdown of a note's section as HTML: paragraphs, lists, code and mathematics."""

import re
from html import escape

from verification.report import latex

_BLOCK = re.compile(
    r"```math\s*\n(?P<fenced_math>.*?)```"
    r"|```[^\n]*\n(?P<code>.*?)```"
    r"|\$\$(?P<dollars>.+?)\$\$"
    r"|\\\[(?P<brackets>.+?)\\\]",
    re.DOTALL,
)
_INLINE = re.compile(
    r"\$`(?P<ticked>[^`]+)`\$"
    r"|`(?P<code>[^`]+)`"
    r"|\$(?P<math>[^\s$](?:[^$]*[^\s$\\])?)\$(?!\d)"
    r"|\\\((?P<parens>.+?)\\\)"
    r"|\[(?P<link>[^\[\]]+)\]\([^()\s]+\)"
    r"|\*\*(?P<strong>[^*]+)\*\*"
    r"|(?<![\w*])\*(?P<em>[^\s*](?:[^*]*[^\s*])?)\*(?![\w*])"
)
_LIST_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.)\s+", re.MULTILINE)


def to_html(text: str) -> str:
    """Returns a note's section as HTML; all of its text is escaped.

    Text without any mark of mathematics or code is taken for a plain-text equation and is shown
    as it was written.
    """
    text = text.strip()
    if not _BLOCK.search(text) and not _INLINE.search(text):
        return _bare(text)
    pieces, end = [], 0
    for block in _BLOCK.finditer(text):
        pieces.append(_prose(text[end : block.start()]))
        end = block.end()
        if block["code"] is not None:
            pieces.append(f"<pre>{escape(block['code'].rstrip())}</pre>")
        else:
            source = block["fenced_math"] or block["dollars"] or block["brackets"]
            pieces.append(f'<div class="equation">{latex.to_html(source, display=True)}</div>')
    pieces.append(_prose(text[end:]))
    return "\n".join(piece for piece in pieces if piece)


def _bare(text: str) -> str:
    if "\\" in text:
        return f'<div class="equation">{latex.to_html(text, display=True)}</div>'
    return f'<pre class="equation">{escape(text)}</pre>' if text else ""


def _prose(text: str) -> str:
    return "\n".join(_paragraph(part) for part in re.split(r"\n\s*\n", text) if part.strip())


def _paragraph(text: str) -> str:
    text = text.strip()
    if text.startswith("|"):
        return _table(text.splitlines())
    if text.startswith("#"):
        return f"<p><strong>{inline(text.lstrip('#').strip())}</strong></p>"
    first = _LIST_ITEM.search(text)
    if first is None:
        return f"<p>{inline(text)}</p>"
    lead = f"<p>{inline(text[: first.start()])}</p>" if text[: first.start()].strip() else ""
    items = _LIST_ITEM.split(text[first.start() :])[1:]
    return lead + "<ul>" + "".join(f"<li>{inline(item.strip())}</li>" for item in items) + "</ul>"


def _table(lines: list[str]) -> str:
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in lines]
    rows = [[inline(cell.replace("\\|", "|").strip()) for cell in row] for row in rows]
    head = "".join(f'<th scope="col">{cell}</th>' for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[2:]
    )
    return f'<table class="note"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def inline(text: str) -> str:
    """Returns one run of prose with its code, mathematics and strong words marked up."""
    pieces, end = [], 0
    for match in _INLINE.finditer(text):
        pieces.append(escape(text[end : match.start()]))
        end = match.end()
        if match["code"] is not None:
            pieces.append(f"<code>{escape(match['code'])}</code>")
        elif match["strong"] is not None:
            pieces.append(f"<strong>{inline(match['strong'])}</strong>")
        elif match["link"] is not None:
            # Its target is relative to the note, and so means nothing here.
            pieces.append(inline(match["link"]))
        elif match["em"] is not None:
            pieces.append(f"<em>{inline(match['em'])}</em>")
        else:
            source = match["ticked"] or match["math"] or match["parens"]
            pieces.append(latex.to_html(source, display=False))
    pieces.append(escape(text[end:]))
    return "".join(pieces)
