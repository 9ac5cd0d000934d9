"""What may be changed about one node of a syntax tree."""

import ast
from collections.abc import Iterator

__all__ = ["changes"]

Change = tuple[str, ast.expr]

OPERATORS: dict[type[ast.AST], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
# To the operator next to it, and to the opposite.
COMPARISONS: dict[type[ast.AST], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
NAMES = {
    "abs": ("square",),
    "argmax": ("argmin",),
    "max": ("sum", "min"),
    "maximum": ("minimum",),
    "mean": ("sum",),
    "min": ("max",),
    "minimum": ("maximum",),
    "ones": ("zeros",),
    "ones_like": ("zeros_like",),
    "real": ("imag",),
    "sqrt": ("square",),
    "square": ("sqrt",),
    "sum": ("max", "mean"),
    "tril": ("triu",),
    "triu": ("tril",),
    "zeros": ("ones",),
    "zeros_like": ("ones_like",),
}
# Of arrays and of the modules that make them: what is left is the array itself.
DROPPED_METHODS = ("conj", "swapaxes", "transpose")
DROPPED_FUNCTIONS = ("conj", "swapaxes", "transpose", "abs", "flip", "tril", "triu")
DROPPED_ATTRIBUTES = ("T", "mT", "real")
# Both orders are the same, or Python itself would refuse the other.
SYMMETRIC = {
    *("minimum", "maximum", "min", "max", "isinstance", "issubclass", "getattr", "hasattr", "zip"),
    *("range", "replace", "partial", "astype", "reshape", "replicate", "issubdtype", "vmap"),
    *("logical_and", "logical_or", "result_type", "promote_types", "allclose", "swapaxes", "map"),
}
# Keywords of JAX that may be left out.
OPTIONAL = {"axis", "axes", "keepdims", "dtype", "length", "size", "lower", "trans", "precision"}
FLOAT_FACTOR = 1.01


def changes(node: ast.AST, optional: frozenset[str]) -> Iterator[Change]:
    """Yield (description, what to put in its place) of every change of a node.

    Args:
        node: Of an expression.
        optional: Keywords that some function of the package may be called without.
    """
    if isinstance(node, ast.BinOp):
        yield from _of_operation(node)
    elif isinstance(node, ast.BoolOp):
        yield from _of_junction(node)
    elif isinstance(node, ast.Compare):
        yield from _of_comparison(node)
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield f"{type(node.op).__name__} dropped", node.operand
    elif isinstance(node, ast.Attribute):
        yield from _of_attribute(node)
    elif isinstance(node, ast.Call):
        yield from _of_call(node, optional)
    elif isinstance(node, ast.IfExp):
        test = ast.UnaryOp(ast.Not(), node.test)
        yield "condition negated", ast.IfExp(test, node.body, node.orelse)


def _of_operation(node: ast.BinOp) -> Iterator[Change]:
    old = type(node.op)
    if old in OPERATORS and not (old is ast.BitOr and _is_of_types(node)):
        new = OPERATORS[old]
        yield f"{old.__name__} to {new.__name__}", ast.BinOp(node.left, new(), node.right)
    if old in (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.MatMult):
        part = "term" if old in (ast.Add, ast.Sub) else "factor"
        yield f"second {part} dropped of {old.__name__}", node.left
        if old in (ast.Add, ast.Mult, ast.MatMult):
            yield f"first {part} dropped of {old.__name__}", node.right
    if old in (ast.MatMult, ast.Sub, ast.Div):
        yield f"sides of {old.__name__} exchanged", ast.BinOp(node.right, node.op, node.left)


def _is_of_types(node: ast.BinOp) -> bool:
    """Say whether this is a union of types."""
    ends = ast.unparse(node.right).split("[")[0]
    return ends == "None" or ends in ("float", "int", "str") or ends.rpartition(".")[2].istitle()


def _of_junction(node: ast.BoolOp) -> Iterator[Change]:
    old = type(node.op).__name__
    other: ast.boolop = ast.Or() if old == "And" else ast.And()
    yield f"{old} to {type(other).__name__}", ast.BoolOp(other, node.values)
    for number in range(len(node.values)):
        left = [value for index, value in enumerate(node.values) if index != number]
        kept = left[0] if len(left) == 1 else ast.BoolOp(node.op, left)
        yield f"part {number} of {old} dropped", kept


def _of_comparison(node: ast.Compare) -> Iterator[Change]:
    old = type(node.ops[0])
    for new in COMPARISONS.get(old, ()):
        changed = ast.Compare(node.left, [new(), *node.ops[1:]], node.comparators)
        yield f"{old.__name__} to {new.__name__}", changed


def _of_constant(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield f"{value} to {not value}", ast.Constant(not value)
    elif isinstance(value, int):
        for new in (value + 1, value - 1):
            yield f"{value} to {new}", ast.Constant(new)
    elif isinstance(value, float):
        moved = value * FLOAT_FACTOR if value else 1.0
        yield f"{value!r} to {moved!r}", ast.Constant(moved)


def _of_attribute(node: ast.Attribute) -> Iterator[Change]:
    for new in NAMES.get(node.attr, ()):
        yield f"{node.attr} to {new}", ast.Attribute(node.value, new, ast.Load())
    if node.attr in DROPPED_ATTRIBUTES and not _is_module(node.value):
        yield f"{node.attr} dropped", node.value


def _is_module(node: ast.AST) -> bool:
    return ast.unparse(node) in ("jnp", "jax.numpy", "jax.lax", "np", "jnp.linalg", "math")


def _of_call(node: ast.Call, optional: frozenset[str]) -> Iterator[Change]:
    function, plain = node.func, not any(isinstance(a, ast.Starred) for a in node.args)
    name = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
    if isinstance(function, ast.Attribute) and plain:
        if _is_module(function.value):
            if name in DROPPED_FUNCTIONS and node.args:
                yield f"{name} dropped", node.args[0]
        elif name in DROPPED_METHODS:
            yield f"{name} dropped", function.value
    if plain and name == "where" and len(node.args) == 3:
        test, first, second = node.args
        yield "branches of where exchanged", ast.Call(function, [test, second, first], [])
    if plain and len(node.args) == 2 and name not in SYMMETRIC:
        yield f"arguments of {name} exchanged", ast.Call(function, node.args[::-1], node.keywords)
    ours = not (isinstance(function, ast.Attribute) and _is_module(function.value))
    for keyword in node.keywords:
        if keyword.arg in (optional if ours else OPTIONAL):
            left = [other for other in node.keywords if other is not keyword]
            yield f"{keyword.arg} of {name} dropped", ast.Call(function, node.args, left)
