"""Schedule-Free SGD, AdamW and PRISM as wholes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.cases.prism.prism import CORRECTED, numbers_for, stepped_condition
from verification.cases.schedule_free.wrapper import SEQUENCES
from verification.problems import problem
from verification.states import stored
from verification.trajectory import Field, Trajectory, updated_params

NAME = "schedule_free.methods"
REASON = "a few roundings of each entry a step, relative to the norm of its leaf"

MOMENTS = (
    stored("base_mu", "mu", branch="prism"),
    stored("base_adam_mu", "mu", branch="adam"),
    stored("base_adam_nu", "nu", branch="adam"),
)


def _with(**options: Any) -> Callable[[Callable[..., Any], bool], Any]:
    return lambda factory, is_production: factory(**options)


def _prism(task: str, **options: Any) -> Callable[[Callable[..., Any], bool], Any]:
    def build(factory: Callable[..., Any], is_production: bool) -> Any:
        key = "prism_weight_dimension_numbers" if is_production else "dimension_numbers"
        numbers = numbers_for(problem(task, 0), is_production)
        return factory(0.02, 40, **{key: numbers}, **options)

    return build


def _spoiled(gradients: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """Make one step's gradient a spike and another's not a number."""
    factor = {6: 1e6, 9: np.nan}.get(step, 1.0)
    return {name: gradient * factor for name, gradient in gradients.items()}


CHECKS = (
    Trajectory(
        name=f"{NAME}.schedule_free_sgd",
        problem="digits_mlp",
        label="warmup and decay",
        build=_with(learning_rate=0.5, warmup_steps=8, weight_decay=0.01),
        fields=SEQUENCES,
        budget=8.0,
        reason=REASON,
    ),
    Trajectory(
        name=f"{NAME}.schedule_free_sgd",
        problem="complex_quadratic",
        label="schedulet, r = 0.5, complex",
        build=_with(
            learning_rate=0.1,
            b1=0.6,
            weighting_mode="schedulet",
            averaging_power=0.5,
            warmup_steps=3,
        ),
        fields=SEQUENCES,
        budget=8.0,
        reason=REASON,
    ),
    Trajectory(
        name=f"{NAME}.schedule_free_adamw",
        problem="digits_mlp",
        label="released",
        build=_with(learning_rate=0.01, warmup_steps=8, weight_decay=0.1, averaging_power=1.0),
        fields=(*SEQUENCES, stored("nu")),
        budget=8.0,
        reason=REASON,
        ratio=128.0,
        ratio_reason=CORRECTED,
    ),
    Trajectory(
        name=f"{NAME}.schedule_free_adamw",
        problem="digits_conv",
        label="paper",
        build=_with(
            learning_rate=0.01,
            b1=0.8,
            b2=0.97,
            eps=1e-6,
            warmup_steps=5,
            weight_decay=0.1,
            weighting_mode="theoretical",
            bias_correction="learning_rate",
        ),
        fields=(*SEQUENCES, stored("nu")),
        budget=8.0,
        reason=REASON,
        ratio=128.0,
        ratio_reason=CORRECTED,
    ),
    Trajectory(
        name=f"{NAME}.schedule_free_prism",
        problem="digits_conv",
        label="defaults",
        build=_prism("digits_conv"),
        fields=(
            Field("params", updated_params, condition=stepped_condition(0.02)),
            stored("z", condition=stepped_condition(0.02)),
            *SEQUENCES[3:],
            *MOMENTS,
        ),
        budget=8.0,
        reason=REASON,
        ratio=128.0,
        ratio_reason=CORRECTED,
    ),
    Trajectory(
        name=f"{NAME}.schedule_free_prism",
        problem="digits_mlp",
        label="spikes skipped",
        build=_prism(
            "digits_mlp",
            raw_global_grad_clip=5.0,
            permissive_spike_protection=False,
            weight_decay=0.1,
            adam_learning_rate=0.01,
            weighting_mode="practical",
            sf_b1=0.8,
            warmup_fraction=0.2,
            decay_fraction=0.5,
            gamma=0.5,
        ),
        fields=(
            Field("params", updated_params, condition=stepped_condition(0.02)),
            stored("z", condition=stepped_condition(0.02)),
            *SEQUENCES[3:],
            *MOMENTS,
        ),
        budget=8.0,
        reason=REASON,
        ratio=128.0,
        ratio_reason=CORRECTED,
        spoil=_spoiled,
        free=False,
    ),
)
