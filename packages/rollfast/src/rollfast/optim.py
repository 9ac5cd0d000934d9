"""The optimizers under one import path, `from rollfast.optim import prism`."""

from rollfast.prism.prism import prism, scale_by_prism
from rollfast.psgd.affine import affine, scale_by_affine
from rollfast.psgd.dense import dense_newton, scale_by_dense_newton
from rollfast.psgd.hessian import hessian_helper
from rollfast.psgd.kron import kron, scale_by_kron
from rollfast.psgd.lra import low_rank_approximation, scale_by_lra
from rollfast.psgd.options import GradClipMode, PreconditionerMode
from rollfast.psgd.probability import precond_update_prob_schedule
from rollfast.psgd.xmat import scale_by_xmat, xmat
from rollfast.schedule_free.methods import (
    schedule_free_adamw,
    schedule_free_kron,
    schedule_free_prism,
    schedule_free_sgd,
)
from rollfast.schedule_free.wrapper import schedule_free, schedule_free_eval_params

__all__ = [
    "GradClipMode",
    "PreconditionerMode",
    "affine",
    "dense_newton",
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
    "xmat",
]
