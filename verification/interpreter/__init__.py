"""Evaluating what JAX traced by NumPy, so that a wrong version is tried without compiling it.

A program that is compiled takes seconds before its first result, and one that is traced a tenth of
a second. What is evaluated is the same traced program; sums may run in another order. It stands in
for the compiler only where a wrong version is sought, and a check counts there only if the right
version passes it in the same way.
"""

from verification.interpreter.evaluation import interpreted
from verification.interpreter.mode import compiled, interpreting, interprets

__all__ = ["compiled", "interpreted", "interpreting", "interprets"]
