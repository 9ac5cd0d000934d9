"""PRISM as a whole."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification import compare
from verification.problems import problem
from verification.registry import production
from verification.states import counters, stored
from verification.trajectory import Field, Trajectory, updated_params

__all__ = ["CHECKS", "CORRECTED", "GRAM", "numbers_for", "shaped_condition", "stepped_condition"]

NAME = "prism.prism"
# βᵗ and 1 - βᵗ are rounded by production to the dtype of the rest, by the control not at all.
CORRECTED = "1 / (1 - βᵗ) roundings of a bias correction, PRISM's or Adam's; the control has none"
GRAM = "the control is the direct form; the Gram form squares its amplification"
REASON = "the amplification of Newton–Schulz, see prism.shaping.shape"


def numbers_for(task: Any, is_production: bool, wide: bool = False) -> Any:
    """Return the dimension numbers of a problem as each side takes them.

    Args:
        task: The problem; its matrices are tall.
        is_production: Whether for production, or for the reference.
        wide: Whether to exchange rows and columns, so that the matrices are wide.
    """
    numbers = {
        leaf: axes if axes is None or not wide else axes[::-1]
        for leaf, axes in task.dimension_numbers.items()
    }
    if not is_production:
        return numbers
    kind = production("prism.dimension_numbers.PrismDimensionNumbers")
    return {leaf: None if axes is None else kind(*axes) for leaf, axes in numbers.items()}


def shaped_condition(leaf: np.ndarray) -> float:
    """Return what five of Jordan's iterations on a Gram matrix amplify rounding by."""
    return 485.0**2 / max(compare.norm(leaf), 1e-3) if leaf.ndim > 1 else 1.0


def _direct_condition(leaf: np.ndarray) -> float:
    return max(1.0, 485.0 / max(compare.norm(leaf), 1e-3)) if leaf.ndim > 1 else 1.0


def stepped_condition(rate: float) -> Callable[[np.ndarray], float]:
    """Return what a step of that learning rate hands on of `shaped_condition`."""
    return lambda leaf: 1.0 + rate * shaped_condition(leaf)


def _build(task: str, **options: Any) -> Callable[[Callable[..., Any], bool], Any]:
    form, wide = options.pop("ns_form", None), options.pop("wide", False)

    def build(factory: Callable[..., Any], is_production: bool) -> Any:
        whole = factory.__name__ == "prism"
        key = "dimension_numbers"
        if is_production:
            key = "prism_weight_dimension_numbers" if whole else "weight_dimension_numbers"
        extra = {"ns_form": form} if form and is_production else {}
        numbers = numbers_for(problem(task, 0), is_production, wide)
        return factory(**{key: numbers}, **options, **extra)

    return build


def _direction(condition: Callable[[np.ndarray], float] | None) -> tuple[Field, ...]:
    return (
        Field("updates", lambda state, params, updates: updates, condition=condition),
        stored("mu"),
        counters("count", "count"),
    )


def _spoiled(gradients: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """Make one step's gradient a spike and another's infinite."""
    factor = {4: 1e6, 7: np.inf}.get(step, 1.0)
    return {name: gradient * factor for name, gradient in gradients.items()}


def _whole(condition: Callable[[np.ndarray], float]) -> tuple[Field, ...]:
    return (
        Field("params", updated_params, condition=lambda leaf: 1.0 + 0.02 * condition(leaf)),
        Field("updates", lambda state, params, updates: updates, condition=condition),
        stored("mu", branch="prism"),
        stored("adam_mu", "mu", branch="adam"),
        stored("adam_nu", "nu", branch="adam"),
        counters("count", "count"),
    )


CHECKS = (
    Trajectory(
        name=f"{NAME}.scale_by_prism",
        problem="digits_mlp",
        label="direct",
        build=_build("digits_mlp", ns_form="direct", gamma=0.7, b1=0.9),
        fields=_direction(_direct_condition),
        budget=4.0,
        reason=REASON,
        free=False,
    ),
    Trajectory(
        name=f"{NAME}.scale_by_prism",
        problem="digits_conv",
        label="gram, wide, spikes clipped, bias correction, no limit",
        build=_build(
            "digits_conv",
            ns_form="gram",
            wide=True,
            bias_correction=True,
            grad_clip_max_amps=None,
            raw_global_grad_clip=2.0,
        ),
        fields=_direction(shaped_condition),
        budget=8.0,
        reason=REASON,
        ratio=16.0,
        ratio_reason=CORRECTED,
        spoil=_spoiled,
        free=False,
    ),
    Trajectory(
        name=f"{NAME}.scale_by_prism",
        problem="digits_mlp",
        label="exact, Nesterov after shaping, tight limits",
        build=_build(
            "digits_mlp",
            ns_coeffs="exact",
            shape_nesterov=False,
            grad_clip_max_amps=(0.05, 0.12),
        ),
        fields=_direction(_direct_condition),
        budget=4.0,
        reason="the polar factor of a stack with σ₁/σᵣ of some hundreds",
        free=False,
    ),
    Trajectory(
        name=f"{NAME}.prism",
        problem="digits_mlp",
        label="defaults",
        build=_build("digits_mlp", learning_rate=0.02),
        fields=_whole(shaped_condition),
        budget=4.0,
        reason=REASON,
        ratio=512.0,
        ratio_reason=CORRECTED,
        growth=64.0,
        growth_reason=GRAM,
    ),
    Trajectory(
        name=f"{NAME}.prism",
        problem="digits_conv",
        label="decay, two rates, no Nesterov, polar express",
        build=_build(
            "digits_conv",
            learning_rate=0.02,
            adam_learning_rate=0.004,
            weight_decay=0.3,
            nesterov=False,
            bias_correction=True,
            ns_coeffs="polar_express",
            ns_iters=6,
            adam_b1=0.8,
            adam_b2=0.98,
            adam_eps=1e-4,
        ),
        fields=_whole(lambda leaf: 4.0 * shaped_condition(leaf)),
        budget=4.0,
        reason=REASON,
        ratio=32.0,
        ratio_reason=CORRECTED,
    ),
)
