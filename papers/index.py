"""Write what is generated: the index of names, their citations, and the summary in README.md.

All of it follows from the notes and from verification/published.json, which `python -m verification
publish` writes. `--check` writes nothing and says what is out of date.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from verification import published
from verification.citation import bibtex, papers_of
from verification.registry import ROOT, Note, notes

__all__ = ["generated", "main", "render", "write"]

INDEX = ROOT / "papers" / "README.md"
CITATIONS = ROOT / "papers" / "citations.bib"
README = ROOT / "README.md"
PRODUCTION = "packages/rollfast/src/rollfast"
# A longer equation would push everything else out of sight.
LONGEST_EQUATION = 60
BEGIN, END = "<!-- published: begin -->", "<!-- published: end -->"
COLUMNS = (
    "equations of",
    "names",
    "checks passed",
    "worst float64 error / its budget",
    "worst float32 ratio / its budget",
    "faults caught",
)
HEAD = """# Index of names

One dotted name stands for an equation, its reference function, its production function and its
verification case. This table is written by `python -m papers.index`.

{run}

Error: the largest of production against the reference in float64, in machine epsilons, and the
budget of that check. Ratio: the largest error in float32 over that of the reference in float32.
Faults: planted in this function, caught of tried. Follows: keys of
[references.bib](references.bib); the function itself is `rollfast:NAME` in
[citations.bib](citations.bib), and `python -m verification cite NAME` prints both.

| name | equation | source | reference | production | error | budget | ratio | faults | follows |
|---|---|---|---|---|--:|--:|--:|--:|---|
"""
CITATIONS_HEAD = """% How each reference function is cited; written by `python -m papers.index`.
% What `related` names stands in references.bib.
"""


def equation(note: Note) -> str:
    """Return the equation of a note where it is short, else a link to it."""
    file, anchor = note.path.removeprefix("papers/"), note.name.replace(".", "")
    shown = note.equation
    if not shown or len(shown) > LONGEST_EQUATION or re.search(r"[|\n`]", shown):
        shown = file.removesuffix(".md")
    else:
        shown = f"$`{shown}`$"
    return f"[{shown}]({file}#{anchor})"


def row(note: Note, entry: dict[str, Any]) -> str:
    """Return the row of one name.

    Args:
        note: Section of its note.
        entry: What was published of it; nothing if it is newer than that.
    """
    path = note.name.rpartition(".")[0].replace(".", "/") + ".py"
    error, budget = entry.get("float64", (None, None))
    faults = entry.get("faults", (0, 0))
    cells = [
        f"`{note.name}`",
        equation(note),
        note.source.replace("|", "\\|"),
        f"[{path}](../reference/{path})",
        f"[{path}](../{PRODUCTION}/{path})",
        number(error),
        number(budget),
        number(entry.get("float32", (None,))[0]),
        f"{faults[0]}/{faults[1]}" if faults[1] else "–",
        ", ".join(f"`{paper.key}`" for paper in papers_of(note)) or "–",
    ]
    return f"| {' | '.join(cells)} |"


def number(value: float | str | None) -> str:
    """Return a number of the summary as text; a dash where there is none."""
    return "–" if value is None else f"{float(value):.3g}"


def of_budget(pair: list[Any] | None) -> str:
    """Return an error and its budget as text; a dash where there is none."""
    return f"{number(pair[0])} / {number(pair[1])}" if pair else "–"


def render(summary: dict[str, Any]) -> str:
    """Return the text of the index."""
    head = HEAD.format(run=provenance(summary))
    rows = [row(note, summary["names"].get(name, {})) for name, note in sorted(notes().items())]
    return head + "\n".join(rows) + "\n"


def citations() -> str:
    """Return the bibliography of all reference functions."""
    entries = [bibtex(name, papers=False) for name in sorted(notes())]
    return CITATIONS_HEAD + "".join(f"\n{entry}\n" for entry in entries)


def provenance(summary: dict[str, Any]) -> str:
    """Return with what the published numbers were measured, as a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    return (
        f"The numbers are those of `{summary['command']}` on {summary['date']}, seed "
        f"{summary['seed']}, with {versions}, on {summary['device']}."
    )


def summary_block(summary: dict[str, Any]) -> str:
    """Return the table of README.md, between its markers."""
    families: dict[str, list[dict[str, Any]]] = {}
    for name, entry in summary["names"].items():
        if name in notes():
            families.setdefault(published.family(name), []).append(entry)
    mutants = summary["mutants"]
    rows = [
        _family(f"[{one}](papers/{one}.md)", published.total(entries), mutants, mutants.get(one))
        for one, entries in sorted(families.items())
    ]
    every = [entry for entries in families.values() for entry in entries]
    tried = {key: sum(one.get(key, 0) for one in mutants.values()) for key in published.MUTANTS}
    columns = [*COLUMNS, "mutants killed"] if mutants else [*COLUMNS]
    lines = [
        BEGIN,
        "<!-- written by `python -m verification publish` -->",
        f"| {' | '.join(columns)} |",
        f"|---|{'--:|' * (len(columns) - 1)}",
        *rows,
        _family("**all**", published.total(every), mutants, tried),
        "",
        provenance(summary),
        *_reproduced(summary["reproductions"]),
        END,
    ]
    return "\n".join(lines)


def _reproduced(entries: list[dict[str, Any]]) -> list[str]:
    """Return the table of results that were measured again; nothing where there are none."""
    if not entries:
        return []
    rows = []
    for entry in entries:
        met, limits = entry["met"]
        said = f"{met}/{limits}" if entry["current"] else f"{met}/{limits}, of earlier sources"
        rows.append(f"| {entry['title']} | {entry['source']} | {said} |")
    return [
        "",
        "Results of papers, measured again. The report has the criteria, the curves, and what was",
        "changed after a first run.",
        "",
        "| result | source | criteria met |",
        "|---|---|--:|",
        *rows,
    ]


def _family(
    label: str, counts: dict[str, Any], mutants: dict[str, Any], tried: dict[str, int] | None
) -> str:
    """Return a row of the table; the last cell is there where any mutants were tried."""
    cells = [
        label,
        str(counts["names"]),
        f"{counts['passed']}/{counts['checks']}",
        of_budget(counts["float64"]),
        of_budget(counts["float32"]),
        f"{counts['faults'][0]}/{counts['faults'][1]}",
    ]
    if mutants:
        cells.append(_killed(tried) if tried else "–")
    return f"| {' | '.join(cells)} |"


def _killed(tried: dict[str, int]) -> str:
    """Return how many mutants were killed of those that are not argued to change nothing."""
    return f"{tried['killed']}/{tried['drawn'] - tried.get('argued', 0)}"


def with_block(text: str, block: str) -> str:
    """Return a document with the block between its markers renewed.

    Raises:
        ValueError: The markers are not there, once and in their order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in after:
        raise ValueError(f"the document must have {BEGIN} and then {END}, each once")
    return f"{before}{block}{after}"


def generated(summary: dict[str, Any]) -> dict[Path, str]:
    """Return what every generated document must say."""
    readme = README.read_text(encoding="utf-8")
    return {
        INDEX: render(summary),
        CITATIONS: citations(),
        README: with_block(readme, summary_block(summary)),
    }


def write() -> None:
    """Write every generated document."""
    for path, text in generated(published.read()).items():
        path.write_text(text, encoding="utf-8", newline="\n")


def main() -> int:
    """Write the documents, or compare them; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m papers.index", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if one is old")
    if not parser.parse_args().check:
        write()
        return 0
    old = [
        path.relative_to(ROOT).as_posix()
        for path, text in generated(published.read()).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in old:
        print(f"{path} is out of date; run: python -m papers.index")
    return int(bool(old))


if __name__ == "__main__":
    sys.exit(main())
