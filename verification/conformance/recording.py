"""What an optimizer did on given gradients, whoever wrote it and wherever it ran."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Leaves", "Recording"]

Leaves = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The parameters of an optimizer along gradients that do not depend on it.

    Attributes:
        parameters: Those before the first step and those after each step.
        gradients: What was fed at each step, the same to whoever is compared.
        evaluation: The parameters for evaluation after each step, where the optimizer has such;
            Schedule-Free has its x. None leaves them out of the comparison.
        raised: What was raised, or nothing. The sequences then end before the step that raised.
    """

    parameters: Sequence[Leaves]
    gradients: Sequence[Leaves]
    evaluation: Sequence[Leaves] | None = None
    raised: str = ""

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ValueError: There is no step, the lengths do not fit, or a step has other leaves.
        """
        steps, taken = len(self.gradients), len(self.parameters) - 1
        if steps < 1:
            raise ValueError("gradients is empty; a recording has one step at least")
        if taken != steps and not (self.raised and 0 <= taken < steps):
            raise ValueError(
                f"parameters has {taken + 1} entries for {steps} gradients; it must have one more "
                "than there are gradients, or fewer if something was raised"
            )
        if self.evaluation is not None and len(self.evaluation) != taken:
            raise ValueError(
                f"evaluation has {len(self.evaluation)} entries; it must have one for each of the "
                f"{taken} steps taken"
            )
        wanted = _shapes(self.parameters[0])
        for name in ("parameters", "gradients", "evaluation"):
            for index, leaves in enumerate(getattr(self, name) or ()):
                if (found := _shapes(leaves)) != wanted:
                    raise ValueError(f"{name}[{index}] has {found}; it must have {wanted}")

    @property
    def steps(self) -> int:
        """The number of steps that were taken."""
        return len(self.parameters) - 1

    def save(self, path: str | Path) -> None:
        """Write everything into one file of NumPy's, for another process to judge."""
        arrays = {"raised": np.asarray(self.raised)}
        for name in ("parameters", "gradients", "evaluation"):
            for index, leaves in enumerate(getattr(self, name) or ()):
                arrays |= {f"{name}|{index}|{leaf}": value for leaf, value in leaves.items()}
        with Path(path).open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> "Recording":
        """Read what `save` wrote."""
        found: dict[str, dict[int, dict[str, np.ndarray]]] = {"parameters": {}, "gradients": {}}
        with np.load(path, allow_pickle=False) as arrays:
            raised = str(arrays["raised"])
            for key in arrays.files:
                if key != "raised":
                    name, index, leaf = key.split("|", 2)
                    found.setdefault(name, {}).setdefault(int(index), {})[leaf] = arrays[key]
        ordered = {name: [rows[index] for index in sorted(rows)] for name, rows in found.items()}
        return cls(**ordered, raised=raised)


def _shapes(leaves: Leaves) -> dict[str, tuple[int, ...]]:
    return {leaf: np.shape(value) for leaf, value in sorted(leaves.items())}
