"""One dotted name, in the reference, in production, in the checks and in the notes."""

import ast
import importlib
import inspect

import pytest

from verification import registry
from verification.case import Case
from verification.cases import all_checks
from verification.trajectory import Trajectory

NAMES = registry.reference_names()


def public_functions(module):
    return {
        name
        for name in module.__all__
        if inspect.isfunction(getattr(module, name))
        and getattr(module, name).__module__ == module.__name__
    }


def test_there_are_names():
    assert len(NAMES) > 25


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_function_has_a_production_function(name):
    assert callable(registry.production(name))


def test_the_notes_have_a_section_for_every_name_and_no_other():
    assert set(registry.notes()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_section_has_an_equation_and_a_source(name):
    note = registry.notes()[name]
    assert note.equation
    assert note.source


def test_every_name_is_compared_with_its_reference():
    compared = {check.name for check in all_checks() if isinstance(check, Case | Trajectory)}
    assert compared == set(NAMES)


@pytest.mark.parametrize(("relative", "module"), list(registry.mirrored_modules()))
def test_production_has_no_public_function_without_reference(relative, module):
    mirror = importlib.import_module(f"rollfast.{relative}")
    beyond = public_functions(mirror) - set(module.__all__)
    # They act on trees or optimizers, or are a part of an equation.
    allowed = {
        "ANNEALED",
        "along",
        "amplitudes",
        "hessian_helper",
        "largest_modulus",
        "limit_to_squares",
        "normal_factor",
        "normalize",
        "schedule_free_eval_params",
        "skip_unsound_steps",
        "taken",
        "unguarded",
        "without_guard",
        "zero_unless",
    }
    assert beyond <= allowed


def test_titles_of_checks_are_unique():
    titles = [check.title for check in all_checks()]
    assert len(titles) == len(set(titles))


def test_checks_reach_production_only_through_the_registry():
    """A wrong version is loaded in place of a module; an import kept from before would miss it."""
    cases = importlib.import_module("verification.cases")
    for path in cases.__path__:
        for file in sorted(registry.Path(path).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert not (node.module or "").startswith("rollfast"), file
                elif isinstance(node, ast.Import):
                    assert not any(a.name.startswith("rollfast") for a in node.names), file
