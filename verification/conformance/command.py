"""The command `check`: an optimizer by the name of its factory, held against a reference."""

import argparse
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "check", "resolved"]

DIFFERENT, MISUSED = 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    from verification.conformance.targets import TARGETS

    parser.add_argument("factory", help="module:function, or file.py:function, of the optimizer")
    parser.add_argument("--against", required=True, metavar="NAME", help=", ".join(TARGETS))
    parser.add_argument(
        "--options",
        metavar="JSON",
        help="arguments of both sides; by default those that it has of some that tell conventions "
        "apart. "
        '{"call": "module:function", ...} in place of a value is what that call returns',
    )
    parser.add_argument("--reference-options", metavar="JSON", help="those of the reference alone")
    parser.add_argument("--evaluation", help="module:function (state, parameters) -> parameters")
    parser.add_argument("--problem", default="real", help="where gradients come from")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--draws", choices=("unknown", "ours"), default="unknown")
    parser.add_argument("--strict", action="store_true", help="accept no convention")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def check(given: argparse.Namespace) -> int:
    """Run the command, and return the exit status: 0 conforms, 1 does not, 2 is misused."""
    from verification.conformance.optax_runs import float64
    from verification.conformance.targets import target
    from verification.conformance.verdict import Verdict
    from verification.conformance.verifying import verify

    try:
        row = target(given.against)
        with float64():
            found = _named(given.factory)
            if given.options is None:
                options = _accepted(row.options, found)
            else:
                options = _parsed("--options", given.options)
            theirs = options
            if given.reference_options is not None:
                theirs = _parsed("--reference-options", given.reference_options)
            options, theirs = resolved(options), resolved(theirs)
            if given.draws == "ours":
                from verification.conformance.draws import key_option

                options |= key_option(row)
            built = found if hasattr(found, "update") else _built(given.factory, found, options)
        verdict = verify(
            built,
            given.against,
            theirs,
            evaluation=_named(given.evaluation) if given.evaluation else None,
            problem=given.problem,
            steps=given.steps,
            draws=given.draws,
        )
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return MISUSED
    print(json.dumps(verdict.as_dict(), indent=1) if given.json else verdict)
    accepted = verdict.verdict is Verdict.EQUAL if given.strict else verdict.conforms
    return 0 if accepted else DIFFERENT


def resolved(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in which every {"call": "module:function", ...} has been called.

    Raises:
        ValueError: A name is not of the form module:function.
    """
    return {
        name: _called(value) if isinstance(value, Mapping) and "call" in value else value
        for name, value in options.items()
    }


def _accepted(options: Mapping[str, Any], factory: Any) -> dict[str, Any]:
    """Return the options that a factory has; what it lacks is left out on both sides."""
    parameters = inspect.signature(factory).parameters if callable(factory) else {}
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return dict(options)
    return {name: value for name, value in options.items() if name in parameters}


def _called(value: Mapping[str, Any]) -> Any:
    arguments = resolved({name: other for name, other in value.items() if name != "call"})
    return _named(value["call"])(**arguments)


def _built(name: str, factory: Any, options: Mapping[str, Any]) -> Any:
    try:
        return factory(**options)
    except TypeError as error:
        raise TypeError(
            f"{name} could not be called with {sorted(options)}: {error}. Give its arguments by "
            "--options, and those of the reference by --reference-options where they differ"
        ) from error


def _parsed(argument: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{argument} is {text!r}; it must be JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{argument} is {text!r}; it must be a JSON object")
    return found


def _named(name: str) -> Any:
    """Return what module:attribute or file.py:attribute names."""
    place, colon, attribute = name.rpartition(":")
    if not (place and colon and attribute):
        raise ValueError(f"{name!r} is not of the form module:function")
    if not place.endswith(".py"):
        return getattr(importlib.import_module(place), attribute)
    path = Path(place)
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if not path.exists() or specification is None or specification.loader is None:
        raise ImportError(f"there is no file {place!r}")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return getattr(module, attribute)
