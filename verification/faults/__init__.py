"""Wrong versions of production that the checks must catch, as edits of its source.

Each is a bug that was released somewhere, or a slip of the same kind. The text to replace must
stand in the module exactly once, so an entry cannot outlive the code that it breaks.
"""

from verification.faults.fault import Fault
from verification.faults.prism import PRISMS
from verification.faults.psgd import PSGD
from verification.faults.psgd_flat import PSGD_FLAT
from verification.faults.psgd_flat_kernels import KERNELS
from verification.faults.psgd_kernels import LINALG, RULES
from verification.faults.psgd_steps import STEPS
from verification.faults.schedule_free import SCHEDULE_FREE
from verification.faults.support import SUPPORT

__all__ = ["CATALOGUE", "Fault"]

CATALOGUE: tuple[Fault, ...] = (
    *SCHEDULE_FREE,
    *PRISMS,
    *LINALG,
    *RULES,
    *PSGD,
    *STEPS,
    *KERNELS,
    *PSGD_FLAT,
    *SUPPORT,
)
