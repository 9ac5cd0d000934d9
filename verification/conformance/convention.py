"""What a convention is: a row that says how the reference would read under it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Convention", "Edit"]


class Edit(NamedTuple):
    """A text of the reference, and what stands there under a convention.

    Attributes:
        module: Dotted name of the module below `reference`.
        old: Text that stands there, replaced wherever it does.
        new: Text in its place.
    """

    module: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Convention:
    """A choice on which implementations are known to differ.

    Attributes:
        name: A few words, to be quoted.
        sentence: What the optimizer does under it.
        source: The paper or the released code that does so. A row without one is a mistake that
            is known by name: it explains a difference, and excuses nothing.
        edits: How the source of the reference differs.
        options: How the options of the reference differ.
    """

    name: str
    sentence: str
    source: str = ""
    edits: tuple[Edit, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
