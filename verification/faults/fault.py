"""A wrong version of production, as an edit of its source."""

from dataclasses import dataclass

__all__ = ["Fault", "slip"]


@dataclass(frozen=True)
class Fault:
    """One wrong version.

    Attributes:
        name: What is wrong with it.
        target: Dotted name of what it breaks; also says which checks are tried first.
        old: Text in the module of the target.
        new: Text in its place.
        source: Where the bug lived.
        also: Dotted names of further checks that may catch it.
        module: Module that holds the text, if it is not that of the target.
        first: Part of the titles of the checks to try first; nothing if others find it as soon.
    """

    name: str
    target: str
    old: str
    new: str
    source: str
    also: tuple[str, ...] = ()
    module: str = ""
    first: str = ""

    @property
    def edited(self) -> str:
        """Name of the edited module, below the package."""
        return self.module or self.target.rpartition(".")[0]


def slip(target: str, name: str, old: str, new: str, module: str = "", first: str = "") -> Fault:
    """Return a wrong version that was not seen anywhere, but is easily made."""
    return Fault(name, target, old, new, "a slip of the pen", module=module, first=first)
