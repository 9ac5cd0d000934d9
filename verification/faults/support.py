"""Wrong versions of guards, schedules and reshaping."""

from verification.faults.fault import Fault, slip

SUPPORT = (
    slip(
        "trees.matrixize.to_matrices",
        "reduction axes before batch axes",
        "tensor.transpose(batch + reduction + output)",
        "tensor.transpose(reduction + batch + output)",
    ),
    slip(
        "trees.matrixize.from_matrices",
        "permutation for its inverse",
        ".transpose(inverse)",
        ".transpose(order)",
    ),
    slip(
        "guards.clip_by_tensor_rms",
        "norm for root mean square",
        "rms = global_norm(updates, axis_name) / jnp.sqrt(size)",
        "rms = global_norm(updates, axis_name)",
    ),
    slip(
        "guards.clip_by_tensor_rms",
        "limits in the other order",
        "clip_by_global_rms([update], max_rms, max_abs)",
        "clip_by_global_rms([update], max_abs, max_rms)",
    ),
    slip(
        "guards.clip_by_global_rms",
        "only growth is limited",
        "factor = 1 / jnp.maximum(rms / max_rms, 1)",
        "factor = jnp.maximum(1, max_rms / jnp.where(rms > 0, rms, 1))",
    ),
    slip(
        "guards.global_norm",
        "squares not summed over entries",
        "jnp.sum(functools.reduce(jnp.add, squares",
        "jnp.max(functools.reduce(jnp.add, squares",
    ),
    slip(
        "guards.global_norm",
        "squares that underflow",
        "jnp.isfinite(square) & (square > least)",
        "jnp.isfinite(square)",
    ),
    slip(
        "guards.spike_scale",
        "clipping and skipping exchanged",
        "if permissive else 0.0",
        "if not permissive else 0.0",
    ),
    Fault(
        "last step of the decay counted twice",
        "schedules.wsd_schedule",
        "(total_steps - step) / decay_steps",
        "(total_steps - 1 - step) / decay_steps",
        "the two readings of T, arXiv 2511.07767",
    ),
    slip("schedules.wsd_schedule", "warmup from zero", "warming = (step + 1)", "warming = step"),
    slip(
        "schedules.wsd_schedule", "other branch of the root", "1 - jnp.sqrt(1 - s)", "jnp.sqrt(s)"
    ),
)
