"""What the signature and the documentation of an optimizer say about its options."""

import enum
import inspect
import re
import sys
import typing
from typing import Any

from verification.peers.side.values import named

__all__ = ["options"]

QUOTED = re.compile(r"""['"`]+([A-Za-z][\w.+-]*)['"`]+""")


def options(factory: Any) -> dict[str, dict[str, Any]]:
    """Return each option with the kind of its default and the strings that it is said to take.

    Args:
        factory: `module:function`, or the function.

    Returns:
        Name -> {"kind", "default", "values"}; `values` are the members of an enumeration, of a
        `Literal`, or what the documentation of a string option quotes.
    """
    function = named(factory)
    parameters = inspect.signature(function).parameters
    try:
        hints = typing.get_type_hints(function)
    except Exception:
        hints = {}
    found = {}
    for name, parameter in parameters.items():
        default = parameter.default
        if default is inspect.Parameter.empty or parameter.kind == parameter.VAR_KEYWORD:
            continue
        hint = hints.get(name, parameter.annotation)
        plain = _plain(default)
        found[name] = {
            "kind": type(plain).__name__,
            "default": plain if isinstance(plain, str | float | int | bool) else None,
            "text": isinstance(plain, str) or _takes_text(hint),
            "values": _values(name, function, hint),
            "listed": isinstance(default, enum.Enum) or bool(_literals(hint)),
        }
    return found


def _plain(default: Any) -> Any:
    return default.value if isinstance(default, enum.Enum) else default


def _takes_text(hint: Any) -> bool:
    return hint is str or str in typing.get_args(hint) or "Literal" in str(hint)


def _literals(hint: Any) -> list[str]:
    if typing.get_origin(hint) is typing.Literal:
        return [value for value in typing.get_args(hint) if isinstance(value, str)]
    return [value for part in typing.get_args(hint) for value in _literals(part)]


def _values(name: str, function: Any, hint: Any) -> list[str]:
    parameters = inspect.signature(function).parameters
    default = parameters[name].default
    if isinstance(default, enum.Enum):
        return [member.value for member in type(default) if isinstance(member.value, str)]
    if said := _literals(hint):
        return said
    if not (isinstance(default, str) or _takes_text(hint)) or "dtype" in name:
        return []
    quoted = QUOTED.findall(_paragraph(name, list(parameters), inspect.getdoc(function) or ""))
    # What is quoted may be another option, its value, or another function of the same package.
    whole = getattr(function, "func", function)
    module = sys.modules[whole.__module__]
    functions = {*dir(module), *_package(module)} - {whole.__name__}
    others = {str(_plain(p.default)) for other, p in parameters.items() if other != name}
    known = {*parameters, "None", "True", "False", *functions, *others}
    return sorted({value for value in quoted if value not in known})


def _package(module: Any) -> list[str]:
    return dir(sys.modules.get(module.__name__.partition(".")[0]))


def _paragraph(name: str, names: list[str], documentation: str) -> str:
    """Return what a documentation says about one argument."""
    following = rf"^ *(?:{'|'.join(map(re.escape, names))}|Returns)\b[^\n:]*:"
    pattern = rf"^ *{re.escape(name)}\b[^\n:]*:(.*?)(?={following}|\Z)"
    found = re.search(pattern, documentation, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""
