"""Options of the Kronecker-factored optimizers, grouped and checked when they are built."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real

import jax.numpy as jnp

from rollfast import guards
from rollfast.options import (
    check_choice,
    check_count,
    check_dtype,
    check_flag,
    check_interval,
    check_positive_or_none,
    check_static,
)
from rollfast.psgd.draws import draw_decision
from rollfast.psgd.plan import MEMORY_SAVE_MODES
from rollfast.typing import Array, DTypeLike, Number, ScalarOrSchedule

__all__ = [
    "GradClipMode",
    "Limits",
    "Mapping",
    "Momentum",
    "Precision",
    "PreconditionerMode",
    "Structure",
    "Timing",
    "check_step_of_q",
]

# Largest step of Q, where not 2: I - μ E, by which P is multiplied, can lose positivity where
# ‖μ E‖ > 1, and ‖μ E‖ can be as large as the step.
_LARGEST_STEP = {"PRO4P": 1}


class PreconditionerMode(StrEnum):
    """Names of the geometries."""

    EQ = "EQ"
    QEP = "QEP"
    QEQ = "QEQ"
    Q0P5EQ1P5 = "Q0.5EQ1.5"
    QUAD = "QUAD"
    QUAD4P = "QUAD4P"
    PRO4P = "PRO4P"
    NS = "NS"
    EXP = "EXP"
    TAYLOR2 = "TAYLOR2"
    HYPER = "HYPER"


class GradClipMode(StrEnum):
    """Over what the root mean square of a direction is taken."""

    PER_TENSOR_RMS = "per_tensor_rms"
    GLOBAL_RMS = "global_rms"


def check_step_of_q(name: str, value: object, mode: str) -> None:
    """Raise unless a step of Q has a length that its geometry allows.

    That no factor becomes singular is argued for lengths below 1 alone.

    Args:
        name: Name of the argument, for the message.
        value: What was given; an array or a schedule passes, whatever its values.
        mode: Name of the geometry.

    Raises:
        ValueError: The number is outside of [0, 2], or of what the geometry allows.
    """
    check_interval(name, value, 0, 2, schedule=True)
    largest = _LARGEST_STEP.get(mode, 2)
    if isinstance(value, Real) and float(value) > largest:
        raise ValueError(
            f"{name}={value!r} is not allowed with preconditioner_mode={mode!r}; it must lie in "
            f"[0, {largest}]."
        )


@dataclass(frozen=True)
class Structure:
    """Which factors a tensor gets."""

    max_size: float
    max_skew: float
    min_ndim: int
    memory_save_mode: str | None
    merge_limit: int | None
    block_size: int | None
    matricize: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        for name, value in (
            ("max_size_triangular", self.max_size),
            ("max_skew_triangular", self.max_skew),
            ("min_ndim_triangular", self.min_ndim),
            ("merge_small_dims", self.merge_limit),
            ("partition_large_dims", self.block_size),
        ):
            check_static(name, value)
        check_interval("max_size_triangular", self.max_size, 0, float("inf"), infinite=True)
        check_interval("max_skew_triangular", self.max_skew, 0, float("inf"), infinite=True)
        check_count("min_ndim_triangular", self.min_ndim, 0)
        mode = self.memory_save_mode
        if not (mode is None or isinstance(mode, str)) or mode not in MEMORY_SAVE_MODES:
            raise ValueError(
                f"memory_save_mode={self.memory_save_mode!r} is not allowed; it must be one of "
                f"{list(MEMORY_SAVE_MODES)}."
            )
        check_count("merge_small_dims", self.merge_limit, none=True)
        check_count("partition_large_dims", self.block_size, none=True)
        check_flag("matricize", self.matricize)


@dataclass(frozen=True)
class Timing:
    """When the preconditioner moves."""

    probability: ScalarOrSchedule
    interval: ScalarOrSchedule | None

    def __post_init__(self) -> None:
        """Check the options."""
        check_interval("preconditioner_update_probability", self.probability, 0, 1, schedule=True)
        check_count("preconditioner_update_interval", self.interval, schedule=True, none=True)

    @property
    def frequency(self) -> float:
        """How often it moves in the long run, as far as that is known when it is built."""
        if isinstance(self.interval, Real):
            return 1 / float(self.interval)
        if self.interval is None and isinstance(self.probability, Real):
            return float(self.probability)
        return 0.0

    def is_due(self, key: Array, count: Array) -> Array:
        """Say whether the preconditioner is to move in a step.

        Args:
            key: Key of the optimizer.
            count: Steps taken before this one.
        """
        if self.interval is not None:
            interval = self.interval(count) if callable(self.interval) else self.interval
            return count % jnp.asarray(interval, count.dtype) == 0
        chance = self.probability(count) if callable(self.probability) else self.probability
        return draw_decision(key, count) < chance


@dataclass(frozen=True)
class Limits:
    """Limits on the direction."""

    amplitudes: tuple[Number, Number] | None
    mode: str
    axis_name: str | None
    max_norm: Number | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        check_positive_or_none("update_global_norm_clip", self.max_norm, infinite=True)
        check_choice("grad_clip_mode", self.mode, [mode.value for mode in GradClipMode])

    @property
    def of_tensor(self) -> Callable[[Array], Array] | None:
        """Limit on the direction of a leaf, or of one layer of it, alone; None for none."""
        if self.amplitudes is None or self.mode == GradClipMode.GLOBAL_RMS:
            return None
        max_rms, max_abs = self.amplitudes

        def limit(direction: Array) -> Array:
            return guards.clip_by_global_rms([direction], max_rms, max_abs, self.axis_name)[0]

        return limit

    def together(self, directions: list[Array]) -> list[Array]:
        """Return the directions of all leaves within the limits on all of them."""
        if self.amplitudes is not None and self.mode == GradClipMode.GLOBAL_RMS:
            directions = guards.clip_by_global_rms(directions, *self.amplitudes, self.axis_name)
        if self.max_norm is not None:
            directions = guards.clip_by_global_norm(directions, self.max_norm)
        return directions


@dataclass(frozen=True)
class Momentum:
    """What is preconditioned."""

    b1: Number
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_interval("b1", self.b1, 0, 1, open_high=True)
        check_flag("nesterov", self.nesterov)

    @property
    def is_kept(self) -> bool:
        """Whether there is a momentum; a `b1` that is injected may become positive."""
        return not (isinstance(self.b1, Real) and self.b1 == 0)


@dataclass(frozen=True)
class Mapping:
    """How tensors of one shape are taken: all at once, or some at a time."""

    in_turn: bool
    batch_size: int

    def __post_init__(self) -> None:
        """Check the options."""
        check_flag("lax_map_scanned_layers", self.in_turn)
        check_static("lax_map_batch_size", self.batch_size)
        check_count("lax_map_batch_size", self.batch_size)


@dataclass(frozen=True)
class Precision:
    """In what the factors are kept and products are made."""

    of_factors: DTypeLike | None
    of_update: str | None
    of_direction: str | None

    def __post_init__(self) -> None:
        """Check the dtype; the names of the precisions are those of an optimizer."""
        check_dtype("precond_dtype", self.of_factors)


KeyOrSeed = Array | int
