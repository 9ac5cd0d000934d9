"""Random one-token changes of the kernels, and how many of them the checks catch.

`python -m verification.mutation --count 60 --seed 0`. A mutant that survives is a hole in the
checks, or equal to what it was made of; either is printed with its line.
"""

import argparse
import ast
import copy
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from verification.mutants import source_of
from verification.runner import prepare

__all__ = ["KERNELS", "Mutant", "mutants"]

KERNELS = (
    "linalg.newton_schulz",
    "linalg.hermitian",
    "linalg.gram_newton_schulz",
    "trees.matrixize",
    "prism.shaping",
    "prism.direction",
    "prism.prism",
    "guards",
    "schedules",
    "schedule_free.weighting",
    "schedule_free.sequences",
    "schedule_free.wrapper",
    "schedule_free.methods",
)
OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
NAMES = {
    "minimum": "maximum",
    "maximum": "minimum",
    "sum": "max",
    "max": "sum",
    "sqrt": "square",
    "square": "sqrt",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "abs": "square",
    "zeros": "ones",
}


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Attributes:
        module: Dotted name below the package.
        line: Line of the change.
        change: What became of what.
        source: Source text of the module with the change.
    """

    module: str
    line: int
    change: str
    source: str


def mutants(module: str) -> Iterator[Mutant]:
    """Yield every one-token change of the bodies of a module's functions."""
    tree = ast.parse(source_of(module))
    positions = [i for i, node in enumerate(ast.walk(tree)) if _counts(node)]
    ignored = {id(node) for part in _ignored(tree) for node in ast.walk(part)}
    originals = list(ast.walk(tree))
    for position in positions:
        if id(originals[position]) in ignored:
            continue
        for option in range(len(_options(originals[position]))):
            changed = copy.deepcopy(tree)
            node = list(ast.walk(changed))[position]
            described = _options(node)[option]()
            line = getattr(originals[position], "lineno", 0)
            yield Mutant(module, line, described, ast.unparse(changed))


def _ignored(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what says nothing of numbers: messages, checks of options, annotations, docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise | ast.AnnAssign | ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from node.decorator_list
        elif isinstance(node, ast.FunctionDef):
            yield from (part for part in (node.returns, *node.decorator_list) if part)
            yield from (
                a.annotation for a in ast.walk(node.args) if isinstance(a, ast.arg) and a.annotation
            )
            yield from node.args.defaults
            yield from (default for default in node.args.kw_defaults if default)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id.startswith("check_"):
                yield node
        elif isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise):
            yield node.test
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node


def _counts(node: ast.AST) -> bool:
    return bool(_options(node))


def _options(node: ast.AST) -> list:
    """Return the changes that can be made to a node, each a function that makes it."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OPERATORS:
        return [lambda: _set_operator(node)]
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        return [lambda: _set_comparison(node)]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        return [lambda: _set_constant(node)]
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        return [lambda: _set_name(node)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        return [lambda: _drop_sign(node)]
    return []


def _set_operator(node: ast.BinOp | ast.BoolOp) -> str:
    old = type(node.op)
    node.op = OPERATORS[old]()
    return f"{old.__name__} to {OPERATORS[old].__name__}"


def _set_comparison(node: ast.Compare) -> str:
    old = type(node.ops[0])
    node.ops[0] = OPERATORS[old]()
    return f"{old.__name__} to {OPERATORS[old].__name__}"


def _set_constant(node: ast.Constant) -> str:
    old = node.value
    assert isinstance(old, bool | int | float)
    node.value = (not old) if isinstance(old, bool) else old + 1
    return f"{old!r} to {node.value!r}"


def _set_name(node: ast.Attribute) -> str:
    old = node.attr
    node.attr = NAMES[old]
    return f"{old} to {node.attr}"


def _drop_sign(node: ast.UnaryOp) -> str:
    old = type(node.op).__name__
    node.op = ast.UAdd() if isinstance(node.op, ast.USub) else node.op
    if isinstance(node.op, ast.Not):
        node.operand = ast.UnaryOp(ast.Not(), node.operand)
    return f"{old} dropped"


def judge(mutant: Mutant) -> tuple[Mutant, bool, str, float]:
    """Return (mutant, whether it was caught, by what, seconds)."""
    from verification.cases import all_checks
    from verification.conviction import by_relevance, convict

    found = convict(mutant.module, mutant.source, by_relevance(all_checks(), f"{mutant.module}."))
    return mutant, found.caught, found.by, found.seconds


def main() -> int:
    """Judge some mutants and print what survived; the exit status says if too many did."""
    parser = argparse.ArgumentParser(prog="python -m verification.mutation", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", action="append", help="modules to change; all kernels if none")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--at-least", type=float, default=0.9, help="share to be caught")
    given = parser.parse_args()
    every = [mutant for module in given.module or KERNELS for mutant in mutants(module)]
    chosen = random.Random(given.seed).sample(every, min(given.count, len(every)))
    prepare()
    caught = 0
    with ProcessPoolExecutor(given.processes, get_context("spawn"), prepare) as pool:
        for mutant, found, by, seconds in pool.map(judge, chosen):
            caught += found
            verdict = "caught" if found else "SURVIVED"
            where = f"{mutant.module}:{mutant.line} {mutant.change}"
            print(f"{verdict:8} {where} ({seconds:.1f} s) {by}", flush=True)
    print(f"{caught} of {len(chosen)} caught, drawn from {len(every)}")
    return int(caught < given.at_least * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
