"""Inputs and optimization problems on which reference and production are compared."""

from .catalogue import PROBLEMS as PROBLEMS
from .catalogue import problem as problem
from .definition import Problem as Problem
from .gradient_stream import GradientStream as GradientStream
from .matrices import Sample as Sample
from .matrices import matrices as matrices
from .matrices import round_to as round_to
from .matrices import scalars as scalars
from .matrices import tensors as tensors
from .matrices import vectors as vectors
