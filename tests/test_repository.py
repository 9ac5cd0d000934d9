"""The rules of the repository that no linter knows."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("packages/rollfast/src", "reference", "verification", "benchmarks", "papers")
TESTS = ("packages/rollfast/tests", "tests")
GENERATED = ("__pycache__", "_cache/", "/report.html", "/report.json")
TEXT = {".bib", ".cff", ".html", ".json", ".md", ".py", ".toml", ".txt", ".typed", ".yml", ""}

# Who may import what outside of the standard library and itself. A test may also import pytest.
ALLOWED_IMPORTS = {
    "packages/rollfast/src": {"equinox", "jax", "optax", "rollfast"},
    "reference": {"numpy", "reference", "scipy"},
}
# Inside the package a module imports only from rows above its own, or from its own row.
LAYERS = (
    ("typing", "options"),
    ("linalg", "trees"),
    ("guards", "injected", "schedules"),
    ("psgd", "prism"),
    ("schedule_free",),
    ("optim", "affine", "low_rank_approximation", "xmat", "__init__"),
)
LARGEST_FILE = 400
LONGEST_FUNCTION = 60
MOST_ARGUMENTS = 8


class Module(NamedTuple):
    """A parsed source file, and its path from the root."""

    path: str
    lines: int
    tree: ast.Module

    def imports(self) -> list[str]:
        """The dotted names of all imports; `from a import b` counts as `a.b`."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found += [f"{node.module}.{alias.name}" for alias in node.names]
        return found

    def functions(self) -> list[ast.FunctionDef]:
        """Every function, nested ones and methods among them."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Parse the Python files under some folders."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not any(part in name for part in GENERATED):
                text = path.read_text(encoding="utf-8")
                found.append(Module(name, len(text.splitlines()), ast.parse(text)))
    return tuple(found)


def library(folder: str) -> list[Module]:
    """Return the modules of a source folder that are not its tests."""
    return [module for module in modules(folder) if "/tests/" not in module.path]


def layer(name: str) -> int:
    """Return the row of a module of the package, `rollfast.linalg.polar` for instance."""
    parts = name.split(".") + ["__init__"]
    rows = [row for row, names in enumerate(LAYERS) if parts[1] in names]
    assert rows, f"{name} has no row in LAYERS: say what it may import"
    return rows[0]


def report(problems: Iterable[str]) -> None:
    """Fail with all problems, one a line."""
    problems = list(problems)
    assert not problems, "\n".join(["", *problems])


@pytest.mark.parametrize("folder", ALLOWED_IMPORTS)
def test_imports_only_what_the_design_allows(folder):
    allowed = ALLOWED_IMPORTS[folder] | set(sys.stdlib_module_names)
    report(
        f"{module.path} imports {name}"
        for module in library(folder)
        for name in module.imports()
        if name.split(".")[0] not in allowed
    )


def test_optional_packages_are_imported_where_they_are_used():
    report(
        f"{module.path} imports equinox when it is imported itself"
        for module in library("packages/rollfast/src")
        for node in module.tree.body
        if isinstance(node, ast.Import | ast.ImportFrom) and "equinox" in ast.unparse(node).split()
    )


def test_tests_of_the_reference_see_no_production():
    report(
        f"{module.path} imports {name}"
        for module in modules("reference")
        for name in module.imports()
        if name.split(".")[0] in {"jax", "optax", "rollfast", "verification"}
    )


def test_imports_inside_the_package_go_one_way():
    problems = []
    for module in library("packages/rollfast/src"):
        here = module.path.removeprefix("packages/rollfast/src/").removesuffix(".py")
        here = here.replace("/", ".")
        for name in module.imports():
            if name.split(".")[0] == "rollfast" and layer(name) > layer(here):
                problems.append(f"{module.path} imports {name}, which is above it")
    report(problems)


def test_only_public_names_of_jax_and_optax():
    problems = []
    for module in modules(*SOURCES, *TESTS):
        names = module.imports()
        names += [ast.unparse(n) for n in ast.walk(module.tree) if isinstance(n, ast.Attribute)]
        problems += [
            f"{module.path} uses {name}"
            for name in names
            if re.match(r"(jax|jaxlib|jnp|optax)(\.\w+)*\._[a-z]", name)
        ]
    report(problems)


@pytest.mark.parametrize("folder", ALLOWED_IMPORTS)
def test_libraries_never_print(folder):
    report(
        f"{module.path}:{node.lineno} calls {ast.unparse(node.func)}"
        for module in library(folder)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "jax.debug.print"}
    )


def test_files_are_short():
    report(
        f"{module.path} has {module.lines} lines, more than {LARGEST_FILE}"
        for module in modules(*SOURCES, *TESTS)
        if module.lines > LARGEST_FILE
    )


def test_functions_are_short():
    problems = []
    for module in modules(*SOURCES, *TESTS):
        for function in module.functions():
            # Arguments have a rule of their own, and a docstring may be as long as it needs.
            body = function.body[1:] if ast.get_docstring(function) else function.body
            lines = function.end_lineno - body[0].lineno + 1 if body else 0
            if lines > LONGEST_FUNCTION:
                problems.append(f"{module.path}::{function.name} has a body of {lines} lines")
    report(problems)


def test_functions_have_few_arguments():
    optimizers = public_names()
    problems = []
    for module in modules(*SOURCES, *TESTS):
        for function in module.functions():
            arguments = function.args
            count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
            # The public optimizers have the options of their papers, by keyword.
            if count > MOST_ARGUMENTS and function.name not in optimizers:
                problems.append(f"{module.path}::{function.name} has {count} arguments")
    report(problems)


def public_names() -> set[str]:
    """Return what the package exports, read without importing it."""
    tree = ast.parse((ROOT / "packages/rollfast/src/rollfast/__init__.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError("rollfast/__init__.py assigns no __all__")


def text_files() -> list[Path]:
    """Return the text files at the root and in every source folder."""
    folders = [ROOT / folder for folder in (*SOURCES, *TESTS, ".ci")]
    paths = [*ROOT.iterdir(), *(ROOT / "packages/rollfast").iterdir()]
    paths += [path for folder in folders for path in folder.rglob("*")]
    return [
        path
        for path in paths
        if path.is_file()
        and path.suffix in TEXT
        and not any(part in path.relative_to(ROOT).as_posix() for part in GENERATED)
    ]


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of one machine", r"(?<![\w.)}*])/(home|root|Users|work|opt)/\w"),
        ("the host of a package registry", r"\b(pypi|pythonhosted|npmjs|anaconda)[.](org|com)\b"),
    ],
    ids=["paths", "registries"],
)
def test_no_text_is_tied_to_a_place(what, pattern):
    problems = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if re.search(pattern, line):
                problems.append(f"{path.relative_to(ROOT)}:{number} names {what}: {line.strip()}")
    report(problems)


def test_no_lock_files():
    locks = {
        "Pipfile.lock",
        "package-lock.json",
        "pdm.lock",
        "pixi.lock",
        "poetry.lock",
        "pylock.toml",
    }
    report(
        f"{path.relative_to(ROOT)} is a lock file" for path in text_files() if path.name in locks
    )


def test_every_named_requirement_is_pinned_once():
    pinned = []
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if match := re.match(r"([\w.-]+)==[\w.]+(; (python_version .*))?$", line):
            pinned.append((match[1].lower(), match[3]))
        else:
            assert not line or line.startswith("# "), f"constraints.txt: {line!r} pins no version"
    assert len(set(pinned)) == len(pinned), "constraints.txt pins a version twice"

    root = tomllib.loads((ROOT / "pyproject.toml").read_text())
    package = tomllib.loads((ROOT / "packages/rollfast/pyproject.toml").read_text())
    entries = [entry for group in root["dependency-groups"].values() for entry in group]
    entries += package["project"]["dependencies"]
    names = {re.split(r"[^\w.-]", entry)[0] for entry in entries if isinstance(entry, str)}
    missing = sorted(names - {name for name, _ in pinned})
    report(f"constraints.txt does not pin {name}" for name in missing)


def test_supported_pythons_agree():
    package = tomllib.loads((ROOT / "packages/rollfast/pyproject.toml").read_text())["project"]
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(package["classifiers"]))
    noxfile = ast.parse((ROOT / "noxfile.py").read_text())
    (tested,) = [
        ast.literal_eval(node.value)
        for node in noxfile.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PYTHONS"
    ]
    assert tuple(classified) == tested
    assert package["requires-python"] == f">={tested[0]}"
