"""Whether any optimizer is the reference, the reference but for a convention, or another.

`verify` runs a transformation of Optax and judges it; `judge` judges what was recorded elsewhere,
and needs NumPy alone.
"""

from verification.conformance.judging import judge as judge
from verification.conformance.recording import Recording as Recording
from verification.conformance.verdict import Conformance as Conformance
from verification.conformance.verdict import Departure as Departure
from verification.conformance.verdict import Verdict as Verdict
from verification.conformance.verifying import verify as verify
