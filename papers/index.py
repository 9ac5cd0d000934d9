"""Write papers/README.md, the index of all names; `--check` says whether it is up to date."""

import argparse
import sys

from verification.registry import ROOT, Note, notes

INDEX = ROOT / "papers" / "README.md"
PRODUCTION = "packages/rollfast/src/rollfast"
HEAD = """# Index of names

One dotted name stands for an equation, its reference function, its production function and its
verification case. This table is written by `python -m papers.index`.

| name | note | source | reference | production |
|---|---|---|---|---|
"""


def row(note: Note) -> str:
    """Return the row of one name."""
    path = note.name.rpartition(".")[0].replace(".", "/") + ".py"
    file = note.path.removeprefix("papers/")
    anchor = note.name.replace(".", "")
    source = note.source.replace("|", "\\|")
    links = [
        f"`{note.name}`",
        f"[{file.removesuffix('.md')}]({file}#{anchor})",
        source,
        f"[{path}](../reference/{path})",
        f"[{path}](../{PRODUCTION}/{path})",
    ]
    return f"| {' | '.join(links)} |"


def render() -> str:
    """Return the text of the index."""
    return HEAD + "".join(f"{row(notes()[name])}\n" for name in sorted(notes()))


def main() -> int:
    """Write the index, or compare it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m papers.index", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it is old")
    if not parser.parse_args().check:
        INDEX.write_text(render(), encoding="utf-8")
        return 0
    if INDEX.exists() and INDEX.read_text(encoding="utf-8") == render():
        return 0
    print("papers/README.md is out of date; run: python -m papers.index")
    return 1


if __name__ == "__main__":
    sys.exit(main())
