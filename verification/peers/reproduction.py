"""A run as a program that anybody can type where the peer is installed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from verification.peers.side.run import Run

__all__ = ["Texts", "text"]


class Texts(NamedTuple):
    """What was fed, as texts.

    Attributes:
        gradients: Leaf -> values with the steps as first axis.
        parameters: Leaf -> initial values; zeros where there is none.
        extra: Further argument of each update -> texts by leaf, or a tuple of values.
    """

    gradients: Mapping[str, str]
    parameters: Mapping[str, str]
    extra: Mapping[str, Any]


def text(kind: str, run: Run, texts: Texts, show: str) -> str:
    """Return a program of five lines.

    Args:
        kind: "optax" or "torch".
        run: What was run.
        texts: What it was fed.
        show: Its last line; it sees `update`, `state`, `parameters` and the modules.

    Returns:
        The program, or nothing for a factory that has no name.
    """
    if not isinstance(run.factory, str):
        return ""
    return (_torch if kind == "torch" else _optax)(run, texts, show)


def _call(path: str, arguments: Any, options: Mapping[str, Any]) -> str:
    given = [_value(value) for value in arguments]
    given += [f"{name}={_value(value)}" for name, value in options.items()]
    return f"{path.replace(':', '.')}({', '.join(given)})"


def _value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"({''.join(_value(entry) + ', ' for entry in value).rstrip()})"
    if isinstance(value, Mapping):
        if "call" in value:
            return _call(value["call"], value.get("arguments", ()), value.get("options", {}))
        if "get" in value:
            return str(value["get"]).replace(":", ".")
        return "{" + ", ".join(f"{k!r}: {_value(v)}" for k, v in value.items()) + "}"
    return repr(value)


def _modules(run: Run) -> list[str]:
    paths = [run.factory, *(_nested(run.arguments)), *(_nested(run.options))]
    return sorted({path.partition(":")[0] for path in paths})


def _nested(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        own = [value[key] for key in ("call", "get") if key in value]
        return own + [path for entry in value.values() for path in _nested(entry)]
    if isinstance(value, tuple | list):
        return [path for entry in value for path in _nested(entry)]
    return []


def _tree(run: Run, entries: Mapping[str, str]) -> str:
    if run.bare:
        return next(iter(entries.values()))
    return "{" + ", ".join(f"{leaf!r}: {entry}" for leaf, entry in entries.items()) + "}"


def _optax(run: Run, texts: Texts, show: str) -> str:
    standard = ["jax", "jax.numpy as jnp", "numpy as np", "optax"]
    modules = ", ".join(dict.fromkeys([*standard, *_modules(run)]))
    start = {
        leaf: f"jnp.asarray({texts.parameters[leaf]}, {run.dtypes[leaf]!r})"
        if leaf in texts.parameters
        else f"jnp.zeros({values.shape}, {run.dtypes[leaf]!r})"
        for leaf, values in run.parameters.items()
    }
    fed = {
        leaf: f"jnp.asarray(g{index}[t], {run.dtypes[leaf]!r})"
        for index, leaf in enumerate(texts.gradients)
    }
    names = "; ".join(f"g{i} = {entry}" for i, entry in enumerate(texts.gradients.values()))
    wide = "jax.config.update('jax_enable_x64', True); " if run.wide else ""
    given = ", ".join([_tree(run, fed), "state, parameters", *_further(run, texts)])
    # Another use of the optimizer, which gives its state away.
    use = f"jax.jit(optimizer.update, donate_argnums=1)({given})"
    before = [f"t = 0; {use}; state = optimizer.init(parameters)"] if run.donate else []
    made = [
        f"optimizer = {_call(run.factory, run.arguments, run.options)}",
        f"parameters = {_tree(run, start)}",
        "state = optimizer.init(parameters)",
        *before,
    ]
    step = [
        f"update, state = jax.jit(optimizer.update)({given})",
        "parameters = optax.apply_updates(parameters, update)",
    ]
    return _lines(modules, wide + names, made, run.steps, step, show)


def _further(run: Run, texts: Texts) -> list[str]:
    found = []
    for name, entry in texts.extra.items():
        if isinstance(entry, Mapping):
            leaves = {k: f"jnp.asarray({v}[t], {run.dtypes[k]!r})" for k, v in entry.items()}
            found.append(f"{name}={_tree(run, leaves)}")
        else:
            found.append(f"{name}={entry!r}[t]")
    return found


def _torch(run: Run, texts: Texts, show: str) -> str:
    modules = ", ".join(["numpy as np", "torch", *_modules(run)])
    names = "; ".join(f"g{i} = {entry}" for i, entry in enumerate(texts.gradients.values()))
    starts = ", ".join(
        f"torch.tensor({texts.parameters[leaf]}).to(torch.{run.dtypes[leaf]})"
        if leaf in texts.parameters
        else f"torch.zeros({tuple(values.shape)}, dtype=torch.{run.dtypes[leaf]})"
        for leaf, values in run.parameters.items()
    )
    call = _call(run.factory, ("$parameters", *run.arguments), run.options)
    fed = ", ".join(f"g{i}" for i in range(len(texts.gradients)))
    made = [
        f"parameters = [torch.nn.Parameter(p) for p in ({starts},)]",
        f"optimizer = {call.replace(repr('$parameters'), 'parameters')}",
        *(["optimizer.train()"] if run.evaluation else []),
    ]
    one = "setattr(p, 'grad', torch.tensor(g[t]).to(p.dtype))"
    step = [f"[{one} for p, g in zip(parameters, ({fed},))]", "optimizer.step()"]
    show = f"{'optimizer.eval(); ' if run.evaluation else ''}print(parameters)"
    return _lines(modules, names, made, run.steps, step, show)


def _lines(
    modules: str, fed: str, made: Sequence[str], steps: int, step: Sequence[str], show: str
) -> str:
    """Return a program of five lines."""
    loop = f"for t in range({steps}): {'; '.join(step)}"
    return "\n".join([f"import {modules}", fed, "; ".join(made), loop, show])
