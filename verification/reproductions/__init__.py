"""Results of the papers, measured again with the package itself.

Each has criteria that were fixed before it was run. `python -m verification reproduce` runs them
and puts them into the report.
"""

from verification.reproductions.catalogue import REPRODUCTIONS, chosen, reproduce
from verification.reproductions.experiments import EXPERIMENTS, Experiment

__all__ = ["EXPERIMENTS", "REPRODUCTIONS", "Experiment", "chosen", "reproduce"]
