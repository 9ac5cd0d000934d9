"""Optimizers for JAX, each cross-checked against a float64 reference of its paper's equations."""

# Modules of the names of functions come from an earlier package. Whoever imports one of them would
# put it in the place of the function, were it not imported here before.
from rollfast.affine import affine, scale_by_affine
from rollfast.low_rank_approximation import low_rank_approximation, scale_by_lra
from rollfast.prism.dimension_numbers import PrismDimensionNumbers
from rollfast.prism.equinox import get_equinox_prism_spec
from rollfast.prism.prism import prism, scale_by_prism
from rollfast.psgd.dense import dense_newton, scale_by_dense_newton
from rollfast.psgd.hessian import hessian_helper
from rollfast.psgd.kron import kron, scale_by_kron
from rollfast.psgd.options import GradClipMode, PreconditionerMode
from rollfast.psgd.probability import precond_update_prob_schedule
from rollfast.schedule_free.methods import (
    schedule_free_adamw,
    schedule_free_kron,
    schedule_free_prism,
    schedule_free_sgd,
)
from rollfast.schedule_free.weighting import WeightingMode
from rollfast.schedule_free.wrapper import schedule_free, schedule_free_eval_params
from rollfast.schedules import wsd_schedule
from rollfast.xmat import scale_by_xmat, xmat

__version__ = "0.1.0"

__all__ = [
    "GradClipMode",
    "PreconditionerMode",
    "PrismDimensionNumbers",
    "WeightingMode",
    "affine",
    "dense_newton",
    "get_equinox_prism_spec",
    "hessian_helper",
    "kron",
    "low_rank_approximation",
    "precond_update_prob_schedule",
    "prism",
    "scale_by_affine",
    "scale_by_dense_newton",
    "scale_by_kron",
    "scale_by_lra",
    "scale_by_prism",
    "scale_by_xmat",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_kron",
    "schedule_free_prism",
    "schedule_free_sgd",
    "wsd_schedule",
    "xmat",
]
