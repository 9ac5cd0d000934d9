"""Mutants that compute the same as what they were made of, each with the reason.

An entry names its module, its function, the text of the line and the change, so that it holds for
that line alone and for as long as the line stands. One that matches no mutant is an error.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from verification.mutation.mutant import Mutant, mutants

__all__ = ["Equivalents", "equivalents"]

FILE = Path(__file__).with_name("equivalents.toml")
KEYS = {"module", "function", "line", "changes", "reason"}

Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Equivalents:
    """The mutants that are argued to be equal.

    Attributes:
        reasons: By module, function, line and change.
    """

    reasons: dict[Key, str]

    def reason(self, mutant: Mutant) -> str:
        """Return why a mutant computes the same; empty if nothing says so."""
        return self.reasons.get(_key(mutant), "")


def _key(mutant: Mutant) -> Key:
    return mutant.module, mutant.function, mutant.text, mutant.change


@cache
def equivalents(path: Path = FILE) -> Equivalents:
    """Return what a file argues.

    Args:
        path: Of the file.

    Raises:
        ValueError: An entry lacks something, is there twice, or matches no mutant.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", [])
    reasons: dict[Key, str] = {}
    for entry in entries:
        # At the level of a module there is no function.
        if set(entry) != KEYS or not all(entry[key] for key in KEYS - {"function"}):
            raise ValueError(f"{entry} is not allowed; it must have {sorted(KEYS)}, all full")
        for change in entry["changes"]:
            key = entry["module"], entry["function"], entry["line"], change
            if key in reasons:
                raise ValueError(f"{key} is argued twice in {path.name}")
            reasons[key] = entry["reason"]
    known = _known(entry["module"] for entry in entries)
    for key in reasons:
        if key not in known:
            raise ValueError(f"{key} of {path.name} matches no mutant")
    return Equivalents(reasons)


def _known(modules: Iterable[str]) -> set[Key]:
    return {_key(mutant) for module in set(modules) for mutant in mutants(module)}
