"""What an optimizer is asked to do, and what it did."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Arrays", "Record", "Run", "one_line", "wide"]

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Run:
    """An optimizer, and the gradients that it is given.

    Attributes:
        factory: `module:function` of the peer.
        arguments: Its arguments by position, as `side.values` reads them.
        options: Its arguments by keyword, likewise.
        parameters: Leaf -> initial values, float64 or complex128.
        gradients: Leaf -> values with the steps as first axis.
        dtypes: Leaf -> name of the dtype of its parameters and gradients.
        evaluation: `module:function` that returns the parameters for evaluation, or None.
        evaluate: "all" steps, or the "last" alone.
        wide: Whether JAX has 64-bit types.
        bare: Whether the tree is its one leaf and no dict.
        extra: Arguments of each update by keyword: leaf -> values with the steps as first axis, or
            a tuple with an entry for each step.
        donate: Whether parameters and state are given away to each step.
    """

    factory: Any
    parameters: Arrays
    gradients: Arrays
    dtypes: Mapping[str, str]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Any = None
    evaluate: str = "all"
    wide: bool = False
    bare: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    donate: bool = False

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(next(iter(self.gradients.values())))


@dataclass(kw_only=True)
class Record:
    """What an optimizer did, in float64 or complex128.

    Attributes:
        parameters: Leaf -> values before the first step and after each.
        updates: Leaf -> what was added to them at each step.
        evaluation: Leaf -> parameters for evaluation after each step, or after the last; or None.
        update_dtypes: Leaf -> dtype of the last update.
        state: Place in the state -> dtype and shape at first, and after the last step.
        raised: What was raised, in one line; empty if nothing was.
        stage: Where it was raised: "import", "build", "init", "step 3" or "evaluation".
    """

    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    updates: dict[str, np.ndarray] = field(default_factory=dict)
    evaluation: dict[str, np.ndarray] | None = None
    update_dtypes: dict[str, str] = field(default_factory=dict)
    state: dict[str, tuple[str, str]] = field(default_factory=dict)
    raised: str = ""
    stage: str = ""

    def drifted(self) -> list[str]:
        """Places in the state whose dtype or shape is no longer that of the first."""
        return [place for place, (first, last) in self.state.items() if first != last]


def wide(value: Any) -> np.ndarray:
    """Return a value as float64 or complex128."""
    array = np.asarray(value)
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def one_line(error: BaseException) -> str:
    """Return the kind of an error, and the first line that it says, which names no place."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = re.sub(r"(?<![\w.])(/[\w.+-]+)+/", "", lines[0] if lines else "")
    return f"{type(error).__name__}: {said}".rstrip(": ")[:200]
