"""PSGD with Kronecker factors as a whole."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from verification.preconditioners import Preconditioned
from verification.problems import problem
from verification.problems.matrices import gaussian
from verification.problems.tensor_quadratic import SCANNED, hessian_product
from verification.states import counters, stored
from verification.trajectory import Field, Trajectory, updated_params

__all__ = ["CHECKS"]

SCALE, KRON = "psgd.kron.scale_by_kron", "psgd.kron.kron"
TASK, MANY = "few_tensors", "tensors"
REASON = "products with P and a fit of its factors, whose condition numbers are some tens"
# At float32, where production forms P = QᵀQ and the reference multiplies by Q twice: L, of products
# with it, is up to 15 eps off after 180 steps, and within the usual ratio where Q is applied twice.
FORMED: dict[str, Any] = {"ratio": 20.0, "ratio_reason": "P is formed, which loses more than QᵀQ x"}
UPDATES = Field("updates", lambda state, params, updates: updates)
COUNT = counters("count", "count")
# What production iterates loses more: a rounding for each Newton–Schulz iteration, three squarings
# that double a rounding each, Schulz's iteration.
ITERATED = {"NS": 8.0, "EXP": 4.0, "HYPER": 2.0}
GEOMETRIES = (
    *("QUAD4P", "EQ", "QEP", "QEQ", "Q0.5EQ1.5", "QUAD", "PRO4P", "NS", "EXP", "TAYLOR2"),
    "HYPER",
)


def _pair(params: dict[str, Any], step: int) -> dict[str, Any]:
    """Return a vector and its product with the Hessian."""
    rng = np.random.default_rng([3, step])
    vector = {
        leaf: gaussian(rng, np.shape(value), np.iscomplexobj(value))
        for leaf, value in sorted(params.items())
    }
    return {"vector": vector, "Hvp": hessian_product(0, vector)}


def _every_third(params: dict[str, Any], step: int) -> dict[str, Any]:
    del params
    return {"update_preconditioner": step % 3 == 1}


def _but_once(params: dict[str, Any], step: int) -> dict[str, Any]:
    del params
    return {"update_preconditioner": step != 2}


def _late_pair(params: dict[str, Any], step: int) -> dict[str, Any]:
    """Make the first products zero."""
    pair = _pair(params, step)
    products = {name: product * (step > 1) for name, product in pair["Hvp"].items()}
    return {**pair, "Hvp": products}


def _annealed(count: Any) -> Any:
    return 0.5 / (1.0 + 0.02 * count)


def _by_turns(count: Any) -> Any:
    """Return a probability that is nearly none in two steps of three, and not at the start."""
    return 0.95 / (1.0 + 1e3 * ((count + 1) % 3 > 0))


def _growing(count: Any) -> Any:
    """Return an interval of two steps, then of three, and so on."""
    return 2 + count // 8


def _when_grown(count: Any) -> Any:
    """Return the probability that says the same, since the reference has no such interval."""
    return 1.0 * (count % _growing(count) == 0)


def _spoiled(gradients: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """Make one step's gradient a spike and another's not a number."""
    factor = {6: 1e6, 9: np.nan}.get(step, 1.0)
    return {name: gradient * factor for name, gradient in gradients.items()}


def _late(gradients: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """Make the first gradients zero."""
    return {name: gradient * (step > 1) for name, gradient in gradients.items()}


def _paused(gradients: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """Make the first gradients zero, and one while the momentum is not."""
    return {name: gradient * (step not in (0, 1, 3)) for name, gradient in gradients.items()}


def _scaled(
    label: str,
    task: str = TASK,
    *,
    steps: int = 30,
    dtypes: tuple[str, ...] = ("float64",),
    spoil: Callable[..., Any] | None = None,
    extra: Callable[..., Any] | None = None,
    run: Mapping[str, Any] | None = None,
    **options: Any,
) -> Trajectory:
    """Return a trajectory of `scale_by_kron`."""
    if task in (TASK, MANY):
        options.setdefault("scanned_layers", SCANNED)
    both = Preconditioned(problem(task, 0).initial_parameters(), **options)
    momentum = (stored("mu"),) if options.get("b1", 0.9) else ()
    lost = ITERATED.get(options.get("preconditioner_mode", ""), 1.0)
    updates = Field(UPDATES.name, UPDATES.read, condition=lambda leaf: lost)
    return Trajectory(
        name=SCALE,
        label=label,
        problem=task,
        build=both.build,
        fields=(updates, *momentum, *both.fields(lost), COUNT),
        budget=16.0,
        reason=REASON,
        steps=steps,
        free=False,
        dtypes=dtypes,
        spoil=spoil,
        extra=extra,
        **(run or {}),
    )


def _whole(task: str, label: str, run: Mapping[str, Any], **options: Any) -> Trajectory:
    """Return a trajectory of `kron`."""
    both = Preconditioned(problem(task, 0).initial_parameters(), **options)
    return Trajectory(
        name=KRON,
        label=label,
        problem=task,
        build=both.build,
        fields=(Field("params", updated_params), UPDATES, stored("mu"), *both.fields(), COUNT),
        budget=16.0,
        reason=REASON,
        **run,
    )


def _geometry(mode: str, newton: bool) -> Trajectory:
    """Return 100 steps of one geometry on tensors of every kind."""
    return _scaled(
        f"{mode}, {'Newton' if newton else 'whitening'}",
        steps=100,
        extra=_pair if newton else None,
        preconditioner_mode=mode,
        preconditioner_lr=0.3,
        b1=0.9 if newton else 0.0,
    )


CHECKS = (
    # First those that tell most wrong versions apart.
    _scaled("momentum whitened, Q last", whiten_grad=False, update_preconditioner_first=False),
    _scaled(
        "half of the steps, rate that falls",
        preconditioner_init_scale=1.0,
        preconditioner_update_probability=0.5,
        preconditioner_lr=_annealed,
    ),
    _scaled(
        "scale given, Lipschitz constant of the step",
        preconditioner_init_scale=0.3,
        track_lipschitz=False,
        damping=None,
    ),
    _scaled(
        "axes cut", MANY, partition_large_dims=2, max_skew_triangular=4.0, grad_clip_max_amps=0.3
    ),
    _geometry("QUAD4P", False),
    _scaled("defaults", "digits_mlp", steps=20, dtypes=("float64", "float32"), run=FORMED),
    _scaled(
        "EQ, real gradients", "digits_conv", steps=20, preconditioner_mode="EQ", whiten_grad=False
    ),
    _scaled("diagonal of the longest", MANY, memory_save_mode="one_diag", min_ndim_triangular=1),
    _scaled(
        "all diagonal, global limit", MANY, memory_save_mode="all_diag", grad_clip_mode="global_rms"
    ),
    _scaled(
        "vectors cut alike, nothing tracked",
        MANY,
        steps=12,
        partition_large_dims=2,
        memory_save_mode="all_diag",
        track_lipschitz=False,
    ),
    _scaled(
        "axes merged", MANY, merge_small_dims=6, max_skew_triangular=4.0, grad_clip_max_amps=None
    ),
    _scaled(
        "P fitted, scale given",
        preconditioner_init_scale=0.3,
        preconditioner_mode="QUAD4P",
        damping=0.1,
        beta_lipschitz=0.5,
    ),
    _scaled("every fourth step", preconditioner_update_interval=4),
    _scaled(
        "every other step, then fewer",
        preconditioner_update_probability=_when_grown,
        only={"preconditioner_update_interval": _growing},
    ),
    _scaled("a probability by turns", preconditioner_update_probability=_by_turns),
    _scaled("when asked", extra=_every_third),
    _scaled("scale pending", preconditioner_update_probability=0.3, steps=12),
    _scaled("first gradients zero", spoil=_late),
    _scaled(
        "momentum whitened, asked for where gradients are zero",
        steps=12,
        spoil=_paused,
        extra=_but_once,
        whiten_grad=False,
    ),
    _scaled("first products zero", steps=12, extra=_late_pair),
    _scaled("spikes clipped", spoil=_spoiled, raw_global_grad_clip=5.0),
    _scaled(
        "spikes skipped",
        spoil=_spoiled,
        raw_global_grad_clip=20.0,
        permissive_spike_protection=False,
        only={"cache_preconditioner": False},
    ),
    *(
        _geometry(mode, newton)
        for mode in GEOMETRIES
        for newton in (False, True)
        if (mode, newton) != ("QUAD4P", False)
    ),
    _whole("digits_mlp", "defaults, decay", FORMED, learning_rate=0.01, weight_decay=0.1),
    _whole(
        TASK,
        "Newton, rate that falls",
        {"extra": _pair},
        # A number that float32 has.
        b1=0.875,
        learning_rate=lambda count: 0.1 / (1.0 + 0.1 * count),
        scanned_layers=SCANNED,
        preconditioner_lr=0.5,
        raw_global_grad_clip=1e3,
    ),
)
