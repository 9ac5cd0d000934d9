"""The optimizers under one import path, `from rollfast.optim import prism`."""

from rollfast.prism.prism import prism, scale_by_prism
from rollfast.schedule_free.methods import (
    schedule_free_adamw,
    schedule_free_prism,
    schedule_free_sgd,
)
from rollfast.schedule_free.wrapper import schedule_free, schedule_free_eval_params

__all__ = [
    "prism",
    "scale_by_prism",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_prism",
    "schedule_free_sgd",
]
