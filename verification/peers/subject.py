"""An optimizer of a peer, ready to be run by the probes."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from verification.peers import reproduction
from verification.peers.crew import Place
from verification.peers.gradients import evaluated
from verification.peers.side.run import Record, Run

__all__ = ["Entry", "Subject", "load"]

RATE = 1e-3
# A schedule of fewer steps has no plateau.
SHORTEST = 10


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of `peers.toml`, which says what each field means."""

    peer: str
    name: str
    factory: Any
    family: str
    kind: str = "optax"
    arguments: tuple[Any, ...] = ("$rate",)
    rate: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Any = None
    plain: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    under: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    curvature: bool = False
    kronecker: bool = True

    @property
    def scheduled(self) -> bool:
        """Whether its learning rate follows a schedule of its own."""
        return "$steps" in self.arguments


def load() -> dict[str, list[Entry]]:
    """Return a peer's name to its optimizers."""
    text = Path(__file__).with_name("peers.toml").read_text(encoding="utf-8")
    found = {}
    for peer, table in tomllib.loads(text).items():
        kind = table.get("kind", "optax")
        found[peer] = [
            Entry(peer=peer, name=name, kind=kind, **{k: _frozen(v) for k, v in row.items()})
            for name, row in table["optimizers"].items()
        ]
    return found


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _frozen(entry) for name, entry in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _filled(value: Any, rate: Any, steps: int) -> Any:
    """Return arguments with the learning rate and the number of steps in their places."""
    if isinstance(value, str):
        return {"$rate": rate, "$steps": steps}.get(value, value)
    if isinstance(value, Mapping):
        return {name: _filled(entry, rate, steps) for name, entry in value.items()}
    if isinstance(value, tuple):
        return tuple(_filled(entry, rate, steps) for entry in value)
    return value


class Subject:
    """An optimizer, the place where it runs, and what was learnt about it on the way."""

    def __init__(self, entry: Entry, place: Place):
        """Name the optimizer and where it runs."""
        self.entry, self.place = entry, place
        # Whether it takes nothing but one array; the first probe finds out.
        self.bare = False
        # Whether it does not even take ordinary steps.
        self.broken = False
        # Whether it takes complex numbers; the probe of that finds out.
        self.takes_complex = True
        self.last: Run | None = None
        self.texts = reproduction.Texts({}, {}, {})
        self._documented: dict[str, dict[str, Any]] | None = None

    @property
    def documented(self) -> dict[str, dict[str, Any]]:
        """Its options, see `side.documented`; none if they cannot be read."""
        if self._documented is None:
            answer = self.place.ask("documented", self.entry.factory)
            self._documented = answer if isinstance(answer, dict) else {}
        return self._documented

    def variants(self) -> list[tuple[str, str]]:
        """Return (option, value) for each value that an enumeration or a `Literal` allows."""
        return [
            (name, value)
            for name, said in self.documented.items()
            if said["listed"] and name not in ("weighting_mode", "grad_clip_mode")
            for value in said["values"]
        ]

    def run(
        self,
        gradients: Mapping[str, str],
        options: Mapping[str, Any] | None = None,
        *,
        plain: bool = False,
        dtypes: str | Mapping[str, str] = "float32",
        rate: Any = RATE,
        parameters: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Record:
        """Feed gradients to the optimizer.

        Args:
            gradients: Leaf -> text, see `gradients`.
            options: Further options.
            plain: Whether to leave away momentum and limits.
            dtypes: Of all leaves, or leaf -> dtype.
            rate: The learning rate.
            parameters: Leaf -> text of initial values; zeros if not given.
            extra: Further arguments of each update: name -> texts, or a tuple of values.
            **fields: Others of a `Run`.

        Raises:
            Failure: The process that should have answered has ended.
        """
        entry = self.entry
        fed = dict(list(gradients.items())[: 1 if self.bare else None])
        self.texts = reproduction.Texts(fed, parameters or {}, extra or {})
        arrays = {leaf: evaluated(text) for leaf, text in fed.items()}
        steps = len(next(iter(arrays.values())))
        named = {entry.rate: rate} if entry.rate else {}
        given = entry.plain if plain else {}
        start = {leaf: np.zeros(array.shape[1:], array.dtype) for leaf, array in arrays.items()}
        if parameters is not None:
            start = {leaf: evaluated(parameters[leaf]) for leaf in arrays}
        self.last = Run(
            factory=entry.factory,
            arguments=_filled(entry.arguments, rate, max(SHORTEST, steps)),
            options={**named, **entry.options, **given, **(options or {})},
            parameters=start,
            gradients=arrays,
            dtypes={leaf: dtypes if isinstance(dtypes, str) else dtypes[leaf] for leaf in arrays},
            evaluation=entry.evaluation,
            bare=self.bare,
            extra={
                name: {leaf: evaluated(text) for leaf, text in texts.items()}
                if isinstance(texts, Mapping)
                else texts
                for name, texts in (extra or {}).items()
            },
            **fields,
        )
        return self.place.ask("run", self.last)

    def reproduction(self, show: str = "print(update)") -> str:
        """Return a program of five lines that repeats the last run."""
        assert self.last is not None
        return reproduction.text(self.entry.kind, self.last, self.texts, show)
