"""Going through a traced program, one equation after another."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verification.interpreter.rules import RULES

__all__ = ["evaluate", "interpreted"]


def interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is traced once for each set of shapes, and evaluated by NumPy."""
    import jax

    traced: dict[Any, Any] = {}

    # JAX keeps what it has traced by function: one that was there before production was replaced
    # would be remembered as it computed then.
    def anew(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    def call(*arguments: Any, **options: Any) -> Any:
        leaves, structure = jax.tree.flatten((arguments, options))
        key = structure, tuple(jax.typeof(leaf) for leaf in leaves)
        if key not in traced:
            program, shapes = jax.make_jaxpr(anew, return_shape=True)(*arguments, **options)
            traced[key] = program, jax.tree.structure(shapes)
        program, results = traced[key]
        with np.errstate(all="ignore"):
            return results.unflatten(evaluate(program, [_plain(leaf) for leaf in leaves]))

    return call


def evaluate(program: Any, arguments: Sequence[Any]) -> list[Any]:
    """Return the results of a traced program.

    Args:
        program: A closed jaxpr.
        arguments: NumPy arrays, or keys of JAX.
    """
    jaxpr = program.jaxpr
    values = dict(zip(jaxpr.constvars, map(_plain, program.consts), strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    for equation in jaxpr.eqns:
        given = [_value(variable, values) for variable in equation.invars]
        found = _results(equation, given)
        values.update(zip(equation.outvars, found, strict=True))
    return [_value(variable, values) for variable in jaxpr.outvars]


def _value(variable: Any, values: dict[Any, Any]) -> Any:
    # A literal has a value of its own.
    if hasattr(variable, "val"):
        return np.asarray(variable.val, variable.aval.dtype)
    return values[variable]


def _plain(value: Any) -> Any:
    """Return a value as a NumPy array, unless it is a key."""
    import jax

    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        return value
    return np.asarray(value)


def _results(equation: Any, given: list[Any]) -> Sequence[Any]:
    import jax

    name = equation.primitive.name
    # Newer versions of JAX say otherwise what a loop carries; they run it themselves.
    if name in CONTROL and not (name == "scan" and "num_consts" not in equation.params):
        return CONTROL[name](equation.params, given)
    # Keys are of JAX alone.
    if name in RULES and not any(isinstance(value, jax.Array) for value in given):
        found = RULES[name](equation.params, *given)
        if found is not None:
            return found if equation.primitive.multiple_results else [found]
    return _bound(equation, given)


def _bound(equation: Any, given: list[Any]) -> list[Any]:
    """Leave an equation to JAX, which compiles it once for each set of shapes."""
    import jax.numpy as jnp

    arrays = [
        jnp.asarray(value) if isinstance(value, np.generic | np.ndarray) else value
        for value in given
    ]
    found = equation.primitive.bind(*arrays, **equation.params)
    return [_plain(one) for one in (found if equation.primitive.multiple_results else [found])]


def _call(params: dict[str, Any], given: list[Any]) -> list[Any]:
    return evaluate(params["jaxpr"], given)


def _derived(params: dict[str, Any], given: list[Any]) -> list[Any]:
    return evaluate(params["call_jaxpr"], given)


def _cond(params: dict[str, Any], given: list[Any]) -> list[Any]:
    branches = params["branches"]
    return evaluate(branches[min(max(int(given[0]), 0), len(branches) - 1)], given[1:])


def _while(params: dict[str, Any], given: list[Any]) -> list[Any]:
    ends = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    for_condition, for_body, carried = given[: ends[0]], given[ends[0] : ends[1]], given[ends[1] :]
    while evaluate(params["cond_jaxpr"], [*for_condition, *carried])[0]:
        carried = evaluate(params["body_jaxpr"], [*for_body, *carried])
    return carried


def _scan(params: dict[str, Any], given: list[Any]) -> list[Any]:
    body, length = params["jaxpr"], params["length"]
    first = params["num_consts"]
    last = first + params["num_carry"]
    constants, carried, rows = given[:first], given[first:last], given[last:]
    order = range(length)[::-1] if params["reverse"] else range(length)
    kept: dict[int, list[Any]] = {}
    for step in order:
        found = evaluate(body, [*constants, *carried, *(row[step] for row in rows)])
        carried, kept[step] = found[: last - first], found[last - first :]
    outputs = body.out_avals[last - first :]
    if not length:
        return [*carried, *(np.zeros((0, *one.shape), one.dtype) for one in outputs)]
    columns = zip(*(kept[step] for step in range(length)), strict=True)
    return [*carried, *(np.stack(column) for column in columns)]


def _linear_solve(params: dict[str, Any], given: list[Any]) -> list[Any]:
    lengths = params["const_lengths"]
    skipped = lengths.matvec + lengths.vecmat
    constants = given[skipped : skipped + lengths.solve]
    sides = given[skipped + lengths.solve + lengths.transpose_solve :]
    return evaluate(params["jaxprs"].solve, [*constants, *sides])


CONTROL: dict[str, Callable[[dict[str, Any], list[Any]], list[Any]]] = {
    "jit": _call,
    "pjit": _call,
    "closed_call": _derived,
    "custom_jvp_call": _derived,
    "custom_vjp_call": _derived,
    "cond": _cond,
    "while": _while,
    "scan": _scan,
    "custom_linear_solve": _linear_solve,
}
