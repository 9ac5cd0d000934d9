"""How one reference function is cited, together with the papers that it follows.

Everything comes from what the repository says anyway: the authors from CITATION.cff, the version
from the package, the papers from the `Source:` line of the note and papers/references.bib.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from verification.registry import REFERENCE, ROOT, Note, notes

__all__ = ["FORMATS", "Paper", "authors", "bibliography", "bibtex", "cite", "key", "papers_of"]

BIBLIOGRAPHY = ROOT / "papers" / "references.bib"
SOFTWARE = ROOT / "CITATION.cff"
PACKAGE = ROOT / "packages" / "rollfast" / "src" / "rollfast" / "__init__.py"
ENTRY = re.compile(r"^@(\w+)\{([^,\s]+),\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^  (\w+) = \{(.*?)\},?\s*(?=^  \w+ = |\Z)", re.MULTILINE | re.DOTALL)
ARXIV = re.compile(r"\b(\d{4}\.\d{4,5})(?:v\d+)?\b")
# A source that begins so is that of a function beside it.
SAME_AS = re.compile(r"as `(\w+)`")
# One that says so is a whole table of sources.
TABLE = "below"
# Code and mathematics of a note; everything else in it is prose.
MARKED = re.compile(r"(`[^`]+`|\$[^$]+\$)")
TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
TEX |= {mark: f"\\{mark}" for mark in "&%$#_{}"}


@dataclass(frozen=True)
class Paper:
    """An entry of papers/references.bib."""

    key: str
    kind: str
    fields: Mapping[str, str]
    text: str

    @property
    def families(self) -> list[str]:
        """The family names of its authors; a group in braces has one name."""
        return [one.split(",")[0].strip("{} ") for one in self.fields["author"].split(" and ")]

    @property
    def number(self) -> str:
        """Its number at arXiv, with the version where the entry tells it; empty if it has none."""
        version = re.match(r"Version (\d+)", self.fields.get("note", ""))
        return self.fields.get("eprint", "") + (f"v{version[1]}" if version else "")


@cache
def bibliography() -> dict[str, Paper]:
    """Return the entries of papers/references.bib by key."""
    found = {}
    for match in ENTRY.finditer(BIBLIOGRAPHY.read_text(encoding="utf-8")):
        fields = {name: " ".join(value.split()) for name, value in FIELD.findall(match[3])}
        found[match[2]] = Paper(match[2], match[1], fields, match[0])
    return found


def papers_of(note: Note) -> list[Paper]:
    """Return the papers and programs that the source of a note names, in its order.

    A paper is known by its number at arXiv, a program by the last part of its address, and what
    has neither by the family name of its first author and the year in parentheses.
    """
    beside = SAME_AS.match(note.source)
    if beside:
        return papers_of(notes()[f"{note.name.rpartition('.')[0]}.{beside[1]}"])
    source = note.text if TABLE in note.source else note.source
    places = {}
    for paper in bibliography().values():
        place = _place(paper, source)
        if place is not None:
            places[paper.key] = place
    return [bibliography()[one] for one in sorted(places, key=lambda one: places[one])]


def _place(paper: Paper, source: str) -> int | None:
    """Return where a source names a paper, or None."""
    if "eprint" in paper.fields:
        starts = [m.start() for m in ARXIV.finditer(source) if m[1] == paper.fields["eprint"]]
        return min(starts, default=None)
    program = paper.fields.get("url", "").rstrip("/").rpartition("/")[2]
    named = re.search(rf"\b{re.escape(program)}\b", source) if "_" in program else None
    if named:
        return named.start()
    author = re.search(rf"\b{re.escape(paper.families[0])}\b", source)
    return author.start() if author and f"({paper.fields['year']})" in source else None


def key(name: str) -> str:
    """Return the key of a reference function in a bibliography."""
    return f"rollfast:{name}"


@cache
def version() -> str:
    """Return the version of the package, read without importing it."""
    found = re.search(r'^__version__ = "([^"]+)"$', PACKAGE.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{PACKAGE.name} of the package assigns no __version__")
    return found[1]


@cache
def authors() -> tuple[Mapping[str, str], ...]:
    """Return the authors of the software as CITATION.cff has them, each by `name` or in parts.

    Raises:
        ValueError: It names none in a form that is known here.
    """
    text = SOFTWARE.read_text(encoding="utf-8")
    block = re.search(r"^authors:\n((?:[ -].*\n)+)", text, re.MULTILINE)
    found = []
    for one in re.split(r"^ *- ", block[1] if block else "", flags=re.MULTILINE)[1:]:
        pairs = re.findall(r"([a-z-]+): *(?:\"([^\"]*)\"|([^,}\n]+))", one)
        fields = {name: quoted or bare.strip() for name, quoted, bare in pairs}
        if "name" not in fields and "family-names" not in fields:
            raise ValueError(f"CITATION.cff: author {one.strip()!r} has no name or family-names")
        found.append(fields)
    if not found:
        raise ValueError("CITATION.cff names no authors, one a line that begins with '- '")
    return tuple(found)


def _tex(text: str) -> str:
    """Return Markdown of a note as TeX: code in typewriter letters, mathematics as it is."""
    pieces = []
    for piece in MARKED.split(text):
        if piece.startswith("$") and piece.endswith("$") and len(piece) > 1:
            pieces.append(piece)
        elif piece.startswith("`") and piece.endswith("`") and len(piece) > 1:
            pieces.append(rf"\texttt{{{_escaped(piece.strip('`'))}}}")
        else:
            pieces.append(_escaped(piece))
    return "".join(pieces)


def _escaped(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in text)


def _said(note: Note) -> str:
    """Return the source as the end of a sentence."""
    return note.source.rstrip(".")


def _file(name: str) -> str:
    return f"{REFERENCE}/{name.rpartition('.')[0].replace('.', '/')}.py"


def bibtex(name: str, *, papers: bool = True) -> str:
    """Return the entry of a reference function, and those of the papers it follows.

    Args:
        name: Dotted name.
        papers: Whether to add the entries of the papers.
    """
    note = notes()[name]
    follows = papers_of(note)
    people = [
        f"{{{one['name']}}}"
        if "name" in one
        else ", ".join(one[part] for part in ("family-names", "given-names") if part in one)
        for one in authors()
    ]
    fields = {
        "author": " and ".join(people),
        "title": rf"rollfast reference, \texttt{{{_escaped(name)}}}",
        "version": version(),
        "howpublished": rf"\texttt{{{_escaped(_file(name))}}}",
        "note": rf"Equation in \texttt{{{_escaped(note.path)}}}. Source: {_tex(_said(note))}",
    }
    if follows:
        fields["related"] = ",".join(paper.key for paper in follows)
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items()]
    own = "\n".join([f"@software{{{key(name)},", *lines, "}"])
    return "\n\n".join([own, *(paper.text for paper in follows if papers)])


def plain(name: str) -> str:
    """Return the citation of a reference function as sentences."""
    people = ", ".join(
        one.get("name") or " ".join(one[part] for part in ("given-names", "family-names"))
        for one in authors()
    )
    note = notes()[name]
    lines = [f"{people}. rollfast reference, {name}, version {version()}. {_said(note)}."]
    for paper in papers_of(note):
        fields = {term: re.sub(r"[{}\\]", "", value) for term, value in paper.fields.items()}
        number = f", arXiv {paper.number}" if "eprint" in fields else ""
        named = paper.families
        group = " and ".join(named) if len(named) <= 2 else f"{named[0]} et al."
        lines.append(f"{group}, {fields['title']}, {fields['year']}{number}.")
    return "\n".join(lines)


def cff(name: str) -> str:
    """Return a citation file, format 1.2.0, of a reference function and the papers it follows."""
    note = notes()[name]
    content: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": f"The reference function {name} of rollfast. Source: {_said(note)}.",
        "type": "software",
        "title": f"rollfast reference, {name}",
        "version": version(),
        "authors": [dict(one) for one in authors()],
    }
    follows = papers_of(note)
    if follows:
        content["references"] = [_cff_paper(paper) for paper in follows]
    return "\n".join(_yaml(content))


def _cff_paper(paper: Paper) -> dict[str, Any]:
    fields = {term: re.sub(r"[{}]|\\(?=_)", "", value) for term, value in paper.fields.items()}
    kinds = {"article": "article", "book": "book", "inproceedings": "conference-paper"}
    found: dict[str, Any] = {
        "type": kinds.get(paper.kind, "article" if "eprint" in fields else "generic"),
        "title": fields["title"],
        "authors": [_cff_person(one) for one in paper.fields["author"].split(" and ")],
        "year": int(fields["year"]),
    }
    if "eprint" in fields:
        found["identifiers"] = [{"type": "other", "value": f"arXiv:{paper.number}"}]
    return found | {term: fields[term] for term in ("doi", "url") if term in fields}


def _cff_person(author: str) -> dict[str, str]:
    family, comma, given = author.partition(",")
    if not comma:
        # What BibTeX writes for those that are left out is no name by itself.
        return {"name": "and others" if family == "others" else family.strip("{} ")}
    return {"family-names": _letters(family), "given-names": _letters(given)}


def _letters(text: str) -> str:
    """Return a name with the accents of TeX as letters."""
    marks = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "~": "\u0303", "^": "\u0302"}
    accented = re.sub(r"\{?\\([\"'`~^])\{?(\w)\}?\}?", lambda m: m[2] + marks[m[1]], text.strip())
    return unicodedata.normalize("NFC", accented).strip("{} ")


def _yaml(value: Any, indent: str = "") -> list[str]:
    """Return plain values as lines of YAML; a text is quoted as JSON does it, which is YAML too."""
    lines = []
    pairs = value.items() if isinstance(value, dict) else (("-", one) for one in value)
    for name, one in pairs:
        lead = f"{indent}-" if name == "-" else f"{indent}{name}:"
        if not isinstance(one, dict | list):
            lines.append(f"{lead} {json.dumps(one, ensure_ascii=False)}")
            continue
        inner = _yaml(one, f"{indent}  ")
        if name == "-":
            # The first line of an item stands on the line of its dash.
            lines += [f"{lead} {inner[0].strip()}", *inner[1:]]
        else:
            lines += [lead, *inner]
    return lines


FORMATS = {"bibtex": bibtex, "cff": cff, "text": plain}


def cite(name: str, form: str = "bibtex") -> str:
    """Return the citation of a reference function.

    Args:
        name: Dotted name.
        form: Row of FORMATS.

    Raises:
        ValueError: There is no such name or format.
    """
    if name not in notes():
        raise ValueError(f"{name!r} is not a name; see: python -m verification list")
    if form not in FORMATS:
        raise ValueError(f"format {form!r} is not allowed; it must be one of {[*FORMATS]}")
    return FORMATS[form](name)
