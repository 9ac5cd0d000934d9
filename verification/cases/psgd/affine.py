"""PSGD Affine as a whole; its kernels are those of Kron."""

from typing import Any

from verification.flat_preconditioners import (
    AffinePreconditioned,
    every_third,
    first_two_zero,
    hessian_pair,
    spoiled,
)
from verification.problems import problem
from verification.states import counters, stored
from verification.trajectory import Field, Trajectory, updated_params

__all__ = ["CHECKS"]

SCALE, ALIAS = "psgd.affine.scale_by_affine", "psgd.affine.affine"
REASON = "products with P and a fit of its factors, whose condition numbers are some tens"
NEWTON = {"extra": hessian_pair}
LONG = {"steps": 100}


def _checked(
    label: str, task: str = "few_tensors", run: dict[str, Any] | None = None, **options: Any
) -> Trajectory:
    """Return a trajectory, of the whole optimizer where a learning rate is given."""
    both = AffinePreconditioned(problem(task, 0).initial_parameters(), **options)
    whole = "learning_rate" in options
    fields = [Field("updates", lambda state, params, updates: updates)]
    if whole:
        fields.insert(0, Field("params", updated_params))
    if options.get("b1", 0.9):
        fields.append(stored("mu"))
    further = {"dtypes": ("float64",), "steps": 30, "free": False, **(run or {})}
    return Trajectory(
        name=ALIAS if whole else SCALE,
        label=label,
        problem=task,
        build=both.build,
        fields=(*fields, *both.fields(), counters("count", "count")),
        budget=16.0,
        reason=REASON,
        **further,
    )


CHECKS = (
    # First those that tell most wrong versions apart.
    _checked(
        "1st, matrices, some factors diagonal",
        run=LONG,
        matricize=True,
        max_skew_triangular=1.0,
        step_normalizer_order="1st",
        nesterov=True,
        grad_clip_max_amps=(0.5, 2.0),
    ),
    _checked(
        "whitening, P last",
        run=LONG,
        whiten_grad=False,
        update_preconditioner_first=False,
        precond_lr=0.3,
    ),
    _checked("Newton", run=NEWTON | LONG, b1=0.0, precond_lr=0.5),
    _checked(
        "2nd, half of the steps, scale of second moments",
        run=LONG,
        step_normalizer_order="2nd",
        preconditioner_update_probability=0.5,
        precond_init_moment="2nd",
        update_global_norm_clip=1.5,
    ),
    _checked(
        "1st, Newton, scale of second moments",
        run=NEWTON | LONG,
        step_normalizer_order="1st",
        precond_init_moment="2nd",
    ),
    _checked(
        "small factors dense, first gradients zero, when asked",
        "tensors",
        {"spoil": first_two_zero, "extra": every_third},
        max_size_triangular=3,
    ),
    _checked(
        "spikes skipped, scale given, every second step",
        run={"spoil": spoiled},
        precond_init_scale=0.3,
        damping=None,
        raw_global_grad_clip=20.0,
        permissive_spike_protection=False,
        preconditioner_update_interval=2,
    ),
    _checked(
        "decay",
        "logistic",
        {"dtypes": ("float64", "float32"), "steps": 20, "free": True},
        learning_rate=0.01,
        weight_decay=0.1,
        # A number that float32 has.
        b1=0.875,
    ),
    _checked(
        "Newton, rate that falls",
        run={**NEWTON, "steps": 20},
        learning_rate=lambda count: 0.1 / (1.0 + 0.1 * count),
        precond_lr=0.5,
    ),
)
