"""The low-rank approximation under the import path of an earlier package."""

from rollfast.psgd.lra import low_rank_approximation, scale_by_lra

__all__ = ["low_rank_approximation", "scale_by_lra"]
