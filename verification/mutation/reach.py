"""Which checks run which lines of the package, and how long each takes.

Only what can be changed by a line is tried on it. The map is kept for as long as no source changes.
"""

import hashlib
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from verification.conviction import first_trial
from verification.mutation.observation import observed
from verification.registry import PRODUCTION, ROOT

__all__ = ["Reach", "digest", "reaches"]

# What decides which lines a check runs.
FOLDERS = (
    f"packages/{PRODUCTION}/src",
    "reference",
    "verification/cases",
    "verification/problems",
)


@dataclass(frozen=True)
class Reach:
    """What a check runs.

    Attributes:
        position: Of the check among all.
        seconds: What a first trial of it took.
        lines: Lines that it runs, by module below the package.
    """

    position: int
    seconds: float
    lines: dict[str, list[int]]

    def runs(self, module: str, first: int, last: int, *, anywhere: bool = False) -> bool:
        """Say whether the check runs any of some lines.

        Args:
            module: Dotted name below the package.
            first: The first of the lines.
            last: The last of them.
            anywhere: Whether any line of the module will do.
        """
        found = self.lines.get(module, [])
        return bool(found) if anywhere else any(first <= line <= last for line in found)


def reaches(seed: int) -> list[Reach]:
    """Return what every check runs, from an earlier run if nothing has changed since."""
    folder = Path(tempfile.gettempdir()) / f"{PRODUCTION}-verification"
    path = folder / f"reach-{seed}-{digest()[:16]}.json"
    if path.exists():
        return [Reach(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    found = _measured(seed)
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(entry) for entry in found]), encoding="utf-8")
    return found


def digest() -> str:
    """Return a digest of the sources on both sides, and of the checks and their problems."""
    found = hashlib.sha256()
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found.update(f"{path.relative_to(ROOT).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()


def _measured(seed: int) -> list[Reach]:
    from verification.cases import all_checks

    found = []
    with observed() as ran:
        for position, check in enumerate(all_checks()):
            ran.clear()
            start = time.perf_counter()
            first_trial(check).objection(seed)
            lines = {name: sorted(own) for name, own in ran.items()}
            found.append(Reach(position, time.perf_counter() - start, lines))
    return found
