"""Every mutant of a module: one change of one node each."""

import ast
import importlib.util
import pkgutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from verification.mutants import source_of
from verification.mutation.operators import changes
from verification.registry import PRODUCTION

__all__ = ["FAMILIES", "Mutant", "modules_of", "mutants"]

FAMILIES = {
    "linalg": ("linalg",),
    "psgd": ("psgd",),
    "prism": ("prism",),
    "schedule_free": ("schedule_free", "schedules"),
    "support": ("guards", "trees"),
}
# An adapter to a package that need not be there.
LEFT_OUT = ("prism.equinox",)
STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return)


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Attributes:
        module: Dotted name below the package.
        function: Qualified name of the function around it; empty at the level of the module.
        line: Number of the line.
        text: The line, without the spaces around it.
        change: What became of what.
        lines: First and last line of what runs together with it.
        begin: Where the text that is replaced begins, (line, byte).
        end: Where it ends.
        new: What stands there instead.
    """

    module: str
    function: str
    line: int
    text: str
    change: str
    lines: tuple[int, int]
    begin: tuple[int, int]
    end: tuple[int, int]
    new: str

    @property
    def source(self) -> str:
        """Source text of the module with the change."""
        rows = source_of(self.module).encode().splitlines(keepends=True)
        before = b"".join(rows[: self.begin[0] - 1]) + rows[self.begin[0] - 1][: self.begin[1]]
        after = rows[self.end[0] - 1][self.end[1] :] + b"".join(rows[self.end[0] :])
        return (before + self.new.encode() + after).decode()

    @property
    def title(self) -> str:
        """Where it is, and what it is."""
        return f"{self.module}:{self.line} {self.change}"


def modules_of(family: str) -> list[str]:
    """Return the dotted names of a family's modules, below the package."""
    found = []
    for root in FAMILIES[family]:
        specification = importlib.util.find_spec(f"{PRODUCTION}.{root}")
        assert specification is not None
        places = specification.submodule_search_locations
        if places is None:
            found.append(root)
        else:
            found += [f"{root}.{info.name}" for info in pkgutil.iter_modules(list(places))]
    return [name for name in found if name not in LEFT_OUT]


@cache
def mutants(module: str) -> tuple[Mutant, ...]:
    """Return every mutant of a module, in the order of its text."""
    source = source_of(module)
    met: Counter[tuple[str, str, str]] = Counter()
    found = []
    for function, statement, node in _nodes(ast.parse(source)):
        lines = (statement.lineno, _last_line(statement))
        if isinstance(node, ast.stmt):
            options = [("statement skipped", "pass")]
        else:
            options = [
                (change, f"({ast.unparse(ast.fix_missing_locations(new))})")
                for change, new in changes(node, _optional_keywords())
                if ast.unparse(new) != ast.unparse(node)
            ]
        for change, new in options:
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            text = source.splitlines()[node.lineno - 1].strip()
            begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
            whole = f"{change} in `{_shown(node)}`"
            met[function, text, whole] += 1
            # The same change of another node of the line is another mutant.
            if met[function, text, whole] > 1:
                whole += f", number {met[function, text, whole]}"
            found.append(Mutant(module, function, node.lineno, text, whole, lines, begin, end, new))
    return tuple(found)


def _shown(node: ast.AST) -> str:
    shown = " ".join(ast.unparse(node).split())
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _last_line(statement: ast.stmt) -> int:
    """Return the last line of what runs at once: of a compound statement, its head."""
    body = getattr(statement, "body", None)
    if body:
        return max(statement.lineno, body[0].lineno - 1)
    return statement.end_lineno or statement.lineno


@cache
def _optional_keywords() -> frozenset[str]:
    """Return the names of all arguments of the package that have a default."""
    found = set()
    specification = importlib.util.find_spec(PRODUCTION)
    assert specification is not None
    assert specification.origin is not None
    for path in Path(specification.origin).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.arguments):
                given = [*node.posonlyargs, *node.args]
                found |= {a.arg for a in given[len(given) - len(node.defaults) :]}
                both = zip(node.kwonlyargs, node.kw_defaults, strict=True)
                found |= {a.arg for a, default in both if default is not None}
    return frozenset(found)


Found = tuple[str, ast.stmt, ast.expr | ast.stmt]


def _nodes(tree: ast.Module) -> Iterator[Found]:
    """Yield (function, statement, node) of what may be changed."""
    for statement in tree.body:
        yield from _of_statement(statement, "", set())


def _of_statement(statement: ast.stmt, function: str, bound: set[str]) -> Iterator[Found]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield from _of_definition(statement, function)
        return
    if _is_left_alone(statement, function):
        return
    if function and _can_be_skipped(statement, bound):
        yield function, statement, statement
    for expression in _expressions(statement):
        for node in _within(expression):
            yield function, statement, node
    for name in ("body", "orelse", "finalbody"):
        for inner in getattr(statement, name, []):
            yield from _of_statement(inner, function, bound)
    if isinstance(statement, ast.Assign):
        bound |= {n.id for t in statement.targets for n in ast.walk(t) if isinstance(n, ast.Name)}


def _of_definition(node: ast.FunctionDef | ast.ClassDef, around: str) -> Iterator[Found]:
    if node.name.startswith("check_") or node.name == "__post_init__":
        return
    name = f"{around}.{node.name}".removeprefix(".")
    bound = set()
    if isinstance(node, ast.FunctionDef):
        bound = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
    inside = name if isinstance(node, ast.FunctionDef) or around else node.name
    for statement in node.body:
        if isinstance(node, ast.FunctionDef) or isinstance(statement, ast.FunctionDef):
            yield from _of_statement(statement, inside, bound)


def _is_left_alone(statement: ast.stmt, function: str) -> bool:
    """Say whether a statement says nothing of numbers."""
    if isinstance(statement, ast.Raise | ast.Import | ast.ImportFrom | ast.Delete | ast.Pass):
        return True
    if isinstance(statement, ast.Assert):
        return True
    if isinstance(statement, ast.Expr):
        value = statement.value
        is_check = isinstance(value, ast.Call) and "check_" in ast.unparse(value.func)
        return isinstance(value, ast.Constant) or is_check
    if isinstance(statement, ast.If):
        return isinstance(statement.body[0], ast.Raise)
    if not function and isinstance(statement, ast.Assign):
        return any(ast.unparse(target) == "__all__" for target in statement.targets)
    return False


def _can_be_skipped(statement: ast.stmt, bound: set[str]) -> bool:
    if isinstance(statement, ast.AugAssign | ast.Expr):
        return True
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
        return False
    return statement.targets[0].id in bound


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """Yield the expressions of a statement itself, without annotations and targets."""
    for name in ("value", "test", "iter"):
        found = getattr(statement, name, None)
        if isinstance(found, ast.expr):
            yield found
    for item in getattr(statement, "items", []):
        yield item.context_expr


def _within(expression: ast.expr) -> Iterator[ast.expr]:
    """Yield the nodes of an expression; a message is none."""
    if isinstance(expression, ast.JoinedStr):
        return
    yield expression
    for child in ast.iter_child_nodes(expression):
        if isinstance(child, ast.expr):
            yield from _within(child)
        # That a length is asked for is a check, and changes no value.
        elif isinstance(child, ast.keyword) and child.arg == "strict":
            continue
        elif isinstance(child, ast.keyword | ast.comprehension):
            for part in ast.iter_child_nodes(child):
                if isinstance(part, ast.expr):
                    yield from _within(part)
