"""What the package offers, and what it does when it is only imported."""

import inspect
import os
import re
import subprocess
import sys

import pytest

import rollfast
import rollfast.optim
from rollfast import kron, prism, schedule_free, schedule_free_kron, schedule_free_prism

NAMES = {
    "GradClipMode",
    "PreconditionerMode",
    "PrismDimensionNumbers",
    "WeightingMode",
    "affine",
    "dense_newton",
    "get_equinox_prism_spec",
    "hessian_helper",
    "kron",
    "low_rank_approximation",
    "precond_update_prob_schedule",
    "prism",
    "scale_by_affine",
    "scale_by_dense_newton",
    "scale_by_kron",
    "scale_by_lra",
    "scale_by_prism",
    "scale_by_xmat",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_kron",
    "schedule_free_prism",
    "schedule_free_sgd",
    "wsd_schedule",
    "xmat",
}
# The import path of the original package has the optimizers and what belongs to them.
OPTIM_NAMES = NAMES - {
    "PrismDimensionNumbers",
    "WeightingMode",
    "get_equinox_prism_spec",
    "wsd_schedule",
}
OPTIMIZER_NAMES = OPTIM_NAMES - {
    "GradClipMode",
    "PreconditionerMode",
    "hessian_helper",
    "precond_update_prob_schedule",
}
# Preconditioned directions, and the optimizers that step along them.
DIRECTIONS = {
    "scale_by_prism": "prism",
    "scale_by_kron": "kron",
    "scale_by_xmat": "xmat",
    "scale_by_lra": "low_rank_approximation",
    "scale_by_dense_newton": "dense_newton",
    "scale_by_affine": "affine",
}
SCHEDULE_NAMES = {"precond_update_prob_schedule", "wsd_schedule"}
# Where the wrapper gives an option of `prism` another name or default, and why.
RENAMED = {"b1": "prism_b1"}
OTHER_DEFAULTS = {
    "weight_decay": "Schedule-Free methods do not decay unless asked",
    "adam_b1": "the average takes the place of the first moment",
    "nesterov": "the interpolation takes the place of the look-ahead",
}


def defaults(function) -> dict[str, object]:
    parameters = inspect.signature(function).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def described(function) -> dict[str, str]:
    """The arguments that a docstring describes, each with its text in one line."""
    section = re.search(r"Args:\n(.*?)\n\s*\n", inspect.getdoc(function), re.DOTALL).group(1)
    entries = re.findall(r"^ {4}(\**\w+): (.*?)(?=^ {4}\S|\Z)", section, re.DOTALL | re.MULTILINE)
    return {name.lstrip("*"): " ".join(text.split()) for name, text in entries}


def test_public_names():
    assert set(rollfast.__all__) == NAMES
    assert set(rollfast.optim.__all__) == OPTIM_NAMES
    assert all(getattr(rollfast.optim, name) is getattr(rollfast, name) for name in OPTIM_NAMES)
    assert all(inspect.getdoc(getattr(rollfast, name)) for name in NAMES)


@pytest.mark.parametrize("name", sorted(OPTIMIZER_NAMES | SCHEDULE_NAMES | {"hessian_helper"}))
def test_every_argument_is_described(name):
    function = getattr(rollfast, name)
    assert list(described(function)) == list(inspect.signature(function).parameters)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_options_of_the_direction_are_those_of_the_optimizer(direction):
    name = DIRECTIONS[direction]
    renamed = {"weight_dimension_numbers": "prism_weight_dimension_numbers"}
    inner, outer = defaults(getattr(rollfast, direction)), defaults(getattr(rollfast, name))
    texts = described(getattr(rollfast, name))
    for option, default in inner.items():
        assert outer[renamed.get(option, option)] == default, option
        assert f"or `{direction}`" in texts[renamed.get(option, option)], option
    if name != "prism":
        mask = "weight_decay_mask" if name == "kron" else "mask"
        assert set(outer) == set(inner) | {"learning_rate", "weight_decay", mask}


@pytest.mark.parametrize("name", ["scale_by_lra", "scale_by_dense_newton", "scale_by_affine"])
def test_options_of_the_second_ancestor_are_the_same_everywhere(name):
    """Names and defaults; each has at most what says of what shape its preconditioner is."""
    common, own = defaults(rollfast.scale_by_xmat), defaults(getattr(rollfast, name))
    assert {option: own[option] for option in common} == common
    assert set(own) - set(common) <= {
        "uvd_rank_of_approximation",
        "preconditioner_mode",
        "max_size_triangular",
        "max_skew_triangular",
        "matricize",
    }


# As the second ancestor documents it: a module of the name of the function in it.
ANCESTRAL = {
    "xmat": "xmat",
    "low_rank_approximation": "low_rank_approximation",
    "affine": "affine",
}


@pytest.mark.parametrize("order", ["module first", "package first", "both in one line"])
def test_a_module_never_takes_the_place_of_its_function(order):
    """The import of a submodule binds its name in the package, after the function of that name."""
    lines = []
    for module, function in ANCESTRAL.items():
        imported = f"from rollfast.{module} import {function} as from_module_{function}"
        by_name = f"import rollfast.{module}"
        package = f"from rollfast import {function} as from_package_{function}"
        lines += {
            "module first": [imported, by_name, package],
            "package first": [package, by_name, imported],
            "both in one line": [f"import rollfast, rollfast.{module}", package, imported],
        }[order]
    lines.append("import importlib, rollfast, rollfast.optim")
    for module, function in ANCESTRAL.items():
        lines += [
            f"importlib.import_module('rollfast.{module}')",
            f"assert callable(rollfast.{function}), rollfast.{function}",
            f"assert rollfast.{function} is from_module_{function} is from_package_{function}",
            f"assert rollfast.{function} is rollfast.optim.{function}",
            f"rollfast.{function}(0.1)",
        ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_options_of_kron_and_schedule_free_are_those_of_schedule_free_kron():
    """All but the momentum of `kron`, and what asks for one."""
    outer, texts = defaults(schedule_free_kron), described(schedule_free_kron)
    inherited = {"kron": defaults(kron), "schedule_free": defaults(schedule_free)}
    inherited["schedule_free"]["sf_b1"] = inherited["schedule_free"].pop("b1")
    assert set(inherited["kron"]) - set(outer) == {"b1", "whiten_grad"}
    for source, options in inherited.items():
        for name in set(options) & set(outer) - {"learning_rate"}:
            assert outer[name] == options[name], name
            assert source in texts[name], name


@pytest.mark.parametrize(
    ("enumeration", "first"), [("GradClipMode", "per_tensor_rms"), ("PreconditionerMode", "EQ")]
)
def test_members_of_an_enumeration_are_names(enumeration, first):
    member = next(iter(getattr(rollfast, enumeration)))
    assert member == first
    assert str(member) == first


def test_options_of_prism_and_schedule_free_are_those_of_schedule_free_prism():
    outer, texts = defaults(schedule_free_prism), described(schedule_free_prism)
    inherited = {"prism": defaults(prism), "schedule_free": defaults(schedule_free)}
    inherited["schedule_free"]["sf_b1"] = inherited["schedule_free"].pop("b1")
    inherited["prism"]["prism_b1"] = inherited["prism"].pop("b1")
    for source, options in inherited.items():
        for name, default in options.items():
            if name == "learning_rate" or name not in outer:
                continue
            if name not in OTHER_DEFAULTS and name != "adam_learning_rate":
                assert outer[name] == default, name
                assert source in texts[name], name
    assert set(inherited["prism"]) - set(outer) <= {"learning_rate"}


def test_options_are_keyword_only():
    for name in OPTIMIZER_NAMES - {"schedule_free_eval_params"}:
        parameters = list(inspect.signature(getattr(rollfast, name)).parameters.values())
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert set(positional) <= {"base_optimizer", "learning_rate", "total_steps"}, name


def test_import_starts_no_backend():
    """With a platform that does not exist the import works, and the first array does not.

    Nor does it take an array, such as a key, to build an optimizer that draws random numbers.
    """
    program = (
        "import rollfast, rollfast.optim\n"
        "rollfast.kron(0.1, key=3)\n"
        "for name in ('xmat', 'low_rank_approximation', 'dense_newton', 'affine'):\n"
        "    getattr(rollfast, name)(0.1, seed=3)\n"
        "    getattr(rollfast, name)(0.1)\n"
        "rollfast.schedule_free_kron(0.1, 100)\n"
        "import jax\n"
        "try:\n"
        "    jax.devices()\n"
        "except RuntimeError:\n"
        "    print('no backend')\n"
    )
    environment = os.environ | {"JAX_PLATFORMS": "no_such_platform"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "no backend"


def test_import_does_not_need_equinox():
    program = (
        "import sys\n"
        "sys.modules['equinox'] = None\n"
        "import rollfast\n"
        "try:\n"
        "    rollfast.get_equinox_prism_spec({})\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "pip install equinox" in done.stdout, done.stderr
