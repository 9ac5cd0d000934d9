"""What the documents say is so: code runs, commands exist, links lead somewhere."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
EXECUTED = ("README.md", "packages/rollfast/README.md", "CONTRIBUTING.md")
SHELLS = {"bash", "console", "sh", "shell"}
# The two commands for a newcomer; continuous integration runs the second as it is printed.
COMMANDS = (
    "python -m pip install nox && python -m nox -s verify",
    "python -m pip install nox && python -m nox",
)


class Block(NamedTuple):
    """A fenced block of a document."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        """Name the place of the block."""
        return f"{self.document}:{self.line}"


def blocks() -> list[Block]:
    """Return the fenced blocks of all documents whose code is executed."""
    found = []
    for document in EXECUTED:
        text = (ROOT / document).read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(document, line, match[1], match[2]))
    return found


def run(arguments: list[str], folder: Path) -> None:
    """Run a command with this interpreter, on the CPU; fail with its output."""
    # A block runs in another folder, and may import what stands in the checkout alone.
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", [b for b in blocks() if b.language == "python"], ids=str)
def test_python_blocks_run(block, tmp_path):
    run(["-c", block.text], tmp_path)


def shell_lines() -> dict[str, str]:
    """Return every command of the shell blocks, and the first place of each."""
    lines: dict[str, str] = {}
    for block in blocks():
        if block.language in SHELLS:
            for line in block.text.splitlines():
                command = line.split(" #")[0].strip().removeprefix("$ ")
                if command and not command.startswith("#"):
                    lines.setdefault(command, str(block))
    return lines


def sessions() -> set[str]:
    """Return the names of the nox sessions, read from the noxfile."""
    names = set()
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            names.add(node.name)
            if ast.unparse(node.decorator_list[0]) == "on_every_python":
                names |= {f"{node.name}-{version}" for version in ("3.11", "3.12", "3.13")}
    return names


def check_command(words: list[str]) -> None:
    """Fail unless a command is of a known kind and what it names exists."""
    match words:
        case ["python", "-m", "pip", "install", *_] | ["git", "clone", *_] | ["cd", _]:
            pass
        case ["python", "-m", "nox", *options] | ["nox", *options]:
            named = [option for option in options if not option.startswith("-")]
            if "--" in options:
                named = [o for o in options[: options.index("--")] if not o.startswith("-")]
            assert set(named) <= sessions(), f"no such session: {set(named) - sessions()}"
        case ["python", "-m", "verification", "list" | "show" as name, *options]:
            run(["-m", "verification", name, *options], ROOT)
        case ["python", "-m", "verification", name, *_]:
            run(["-m", "verification", name, "--help"], ROOT)
        case ["python", "-m", "pytest", *options]:
            # Running tests from a test would repeat them; what they name is there at least.
            named = [name.split("::")[0] for name in options if "/" in name]
            assert all((ROOT / name).exists() for name in named), named
        case _:
            pytest.fail("this is no kind of command that the test knows how to check")


@pytest.mark.parametrize("command", shell_lines())
def test_commands_exist(command):
    for part in command.split("&&"):
        check_command(shlex.split(part))


def test_readme_prints_the_two_commands():
    lines = shell_lines()
    missing = [command for command in COMMANDS if not lines.get(command, "").startswith("README")]
    assert not missing, f"README.md does not print {missing}"


@pytest.mark.parametrize(
    "document",
    sorted(
        path.relative_to(ROOT).as_posix()
        for path in [*ROOT.glob("*.md"), *ROOT.glob("papers/*.md"), *ROOT.glob("packages/*/*.md")]
    ),
)
def test_links_lead_to_files(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    # Code and equations hold brackets that are no links.
    text = re.sub(r"```.*?```|\$\$.*?\$\$|`[^`]*`|\$[^$\n]*\$", "", text, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    broken = [
        link
        for link in links
        if "://" not in link and not ((ROOT / document).parent / link).exists()
    ]
    assert not broken, f"{document} links to files that do not exist: {broken}"
