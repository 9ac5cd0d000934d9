"""The package with a note before each statement of its functions, by which it says what runs."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager

from verification.mutants import rewritten

__all__ = ["note", "observed"]

Ran = dict[str, set[int]]
_RAN: Ran = {}
HEAD = f"import {__name__} as __observation__\n"


@contextmanager
def observed() -> Iterator[Ran]:
    """Import the package anew, and yield what fills with the lines that run, by module."""
    with rewritten(_noted):
        yield _RAN


def note(module: str, line: int) -> None:
    """Take down that a line runs."""
    _RAN.setdefault(module, set()).add(line)


def _noted(module: str, source: str) -> str:
    tree = ast.parse(source)
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        for node in ast.walk(function):
            for name in ("body", "orelse", "finalbody"):
                body = getattr(node, name, None)
                if isinstance(body, list) and not any(map(_is_note, body)):
                    noted = [one for part in body for one in (_note_before(part, module), part)]
                    setattr(node, name, noted)
    return HEAD + ast.unparse(tree)


def _note_before(statement: ast.stmt, module: str) -> ast.stmt:
    return ast.parse(f"__observation__.note({module!r}, {statement.lineno})").body[0]


def _is_note(statement: ast.stmt) -> bool:
    return ast.unparse(statement).startswith("__observation__.")
