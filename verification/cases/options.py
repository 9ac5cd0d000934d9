"""Options that one optimizer hands to another."""

from verification.handed_on import handed_on

__all__ = ["CHECKS"]

METHODS, WRAPPER = "schedule_free.methods", "schedule_free.wrapper.schedule_free"
PARTS = {
    "psgd.kron.kron": "psgd.kron.scale_by_kron",
    "psgd.affine.affine": "psgd.affine.scale_by_affine",
    "psgd.xmat.xmat": "psgd.xmat.scale_by_xmat",
    "psgd.lra.low_rank_approximation": "psgd.lra.scale_by_lra",
    "psgd.dense.dense_newton": "psgd.dense.scale_by_dense_newton",
}
BUILT = {"learning_rate": 0.5, "total_steps": 10}

CHECKS = (
    *(handed_on(whole, part) for whole, part in PARTS.items()),
    *(
        handed_on(whole, "psgd.descent.descend", renamed={"weight_decay_mask": "mask"})
        for whole in PARTS
    ),
    handed_on(
        "prism.prism.prism",
        "prism.prism.scale_by_prism",
        apart=("mu_dtype", "axis_name", "raw_global_grad_clip", "permissive_spike_protection"),
        given={"mu_dtype": None, "learning_rate": 0.5},
    ),
    handed_on(
        f"{METHODS}.schedule_free_kron", "psgd.kron.kron", apart=("learning_rate",), given=BUILT
    ),
    handed_on(
        f"{METHODS}.schedule_free_prism",
        "prism.prism.prism",
        renamed={"prism_b1": "b1"},
        apart=("learning_rate", "adam_learning_rate"),
        given=BUILT,
    ),
    *(
        handed_on(
            f"{METHODS}.{name}",
            WRAPPER,
            apart=("learning_rate",),
            fixed={"use_max_learning_rate": True},
            given=given,
        )
        for name, given in (
            ("schedule_free_sgd", {}),
            ("schedule_free_adamw", {"bias_correction": "denominator"}),
        )
    ),
    *(
        handed_on(
            f"{METHODS}.{name}",
            WRAPPER,
            renamed={"sf_b1": "b1"},
            apart=("learning_rate",),
            given=BUILT,
        )
        for name in ("schedule_free_kron", "schedule_free_prism")
    ),
    *(
        handed_on(
            f"{METHODS}.{name}",
            "schedules.wsd_schedule",
            renamed={"learning_rate": "peak_lr"},
            given=BUILT,
        )
        for name in ("schedule_free_kron", "schedule_free_prism")
    ),
)
