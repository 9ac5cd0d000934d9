"""What is said of an optimizer that was held against a reference."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

__all__ = ["Conformance", "Departure", "Verdict"]


class Verdict(StrEnum):
    """What a comparison says; only the first two acquit."""

    EQUAL = "equal"
    CONVENTION = "equal up to convention"
    DIFFERENT = "different"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Departure:
    """Where an optimizer first leaves a reference by more than rounding can explain.

    Attributes:
        step: The step, from 1.
        quantity: "parameters", "evaluation", or what was raised.
        leaf: The leaf that is furthest away there.
        size: The distance, over the way that this leaf of the reference has gone so far.
        limit: The largest distance that is ascribed to rounding, in the same unit.
        last: The distance after the last step, over the way gone by then.
    """

    step: int
    quantity: str
    leaf: str
    size: float
    limit: float
    last: float

    def __str__(self) -> str:
        """Say all of it in a line."""
        if not self.leaf:
            return f"step {self.step}: {self.quantity}"
        return (
            f"step {self.step}, {self.quantity} of {self.leaf!r}: {self.size:.2g} of the way gone "
            f"so far (rounding explains {self.limit:.1g}); {self.last:.2g} at the end"
        )


@dataclass(frozen=True, kw_only=True)
class Conformance:
    """The verdict on one optimizer against one reference.

    Attributes:
        against: Dotted name of the reference.
        options: Its options.
        steps: The number of steps that were compared.
        verdict: See `Verdict`.
        conventions: Names of the rows under which the reference is equal, if it is.
        sentences: What the optimizer does under each, with who else does.
        departure: Where the free run leaves the reference as it stands; None if nowhere.
        forced: Where one step from the parameters of the reference leaves it; None if nowhere, or
            if the optimizer could not be run again.
        nearest: Rows under which the departure is later or much smaller, if no rows explain it.
        nearest_departure: Where it is then.
        indistinguishable: Names of rows that say the same as the verdict on these inputs.
        worst: The largest distance from what it is said to equal, over the limit.
        reason: Why nothing can be said, or a remark.
    """

    against: str
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int
    verdict: Verdict
    conventions: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    departure: Departure | None = None
    forced: Departure | None = None
    nearest: tuple[str, ...] = ()
    nearest_departure: Departure | None = None
    indistinguishable: tuple[str, ...] = ()
    worst: float = float("nan")
    reason: str = ""

    @property
    def conforms(self) -> bool:
        """Whether the optimizer is the reference, or the reference up to a convention."""
        return self.verdict in (Verdict.EQUAL, Verdict.CONVENTION)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for a report."""
        return {**_plain(asdict(replace(self, options={}))), "options": _plain(self.options)}

    def __str__(self) -> str:
        """Return the verdict as a few lines of text."""
        lines = [f"{self._headline()} ({self.against}, {self.steps} steps)"]
        lines += [f"  {sentence}" for sentence in self.sentences]
        if self.reason:
            lines.append(f"  {self.reason}")
        if self.departure is not None:
            plainly = "as it stands, " if self.conventions else ""
            lines.append(f"  free-running: {plainly}from {self.departure}")
        if self.forced is not None:
            lines.append(f"  teacher-forced: from {self.forced}")
        if self.nearest:
            lines.append(f"  nearest: with {_listed(self.nearest)}, {self.nearest_departure}")
        if self.conforms:
            lines.append(f"  worst distance: {self.worst:.2g} of what rounding explains")
        if self.indistinguishable:
            lines.append(f"  not told apart on this run: {_listed(self.indistinguishable)}")
        return "\n".join(lines)

    def _headline(self) -> str:
        named = _listed(self.conventions)
        if self.verdict is Verdict.CONVENTION:
            return f"EQUAL UP TO {named}"
        if self.verdict is Verdict.UNDECIDED:
            return "MISTRUSTED: undecided"
        explained = f", explained by {named}" if self.conventions else ""
        return f"{self.verdict.value.upper()}{explained}"


def _listed(names: tuple[str, ...]) -> str:
    return " + ".join(f"`{name}`" for name in names)


def _plain(value: Any) -> Any:
    """Return a value that JSON has; it has no infinity."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return str(value)
    finite = isinstance(value, int | float) and math.isfinite(value)
    return value if finite or value is None else repr(value)
