"""Wrong versions of PSGD with Kronecker factors."""

from verification.faults.fault import Fault, slip

SCALE = "psgd.kron.scale_by_kron"
KRON = "psgd.kron.kron"
SF_KRON = "schedule_free.methods.schedule_free_kron"
FITTING, FACTOR, PLAN = "psgd.fitting", "psgd.factor", "psgd.plan"
PROBABILITY = "psgd.probability.precond_update_prob_schedule"
ROLLFAST = "rollfast 0.1.0"

PSGD = (
    Fault(
        "unknown name is the default",
        "psgd.geometry.geometry",
        'check_choice("preconditioner_mode", name, GEOMETRIES, unlisted=["Q0p5EQ1p5"])\n'
        "    return GEOMETRIES[name]",
        "return GEOMETRIES.get(name, _DEFAULT)",
        f"{ROLLFAST}: any misspelt mode is Q0.5EQ1.5",
    ),
    Fault(
        "TAYLOR2 fitted to Q g",
        SCALE,
        'Geometry("TAYLOR2", "normal"',
        'Geometry("TAYLOR2", "direct"',
        f"{ROLLFAST} and 0.2.1: P is the inverse of E[gg'], not of its root",
        also=("psgd.geometry.geometry",),
        module="psgd.geometry",
    ),
    Fault(
        "share of the noise counts the layers",
        SCALE,
        "bucket.parts(pair.gradients, layouts),\n            None",
        "[part / max(bucket.layers) ** 0.5 for part in bucket.parts(pair.gradients, layouts)],"
        "\n            None",
        f"{ROLLFAST} and 0.2.1: N of a scanned leaf is that of all layers",
        module="psgd.preconditioner",
    ),
    Fault(
        "one draw for all layers",
        SCALE,
        "words = stream[begin:end].reshape(len(numbers), size)",
        "words = jnp.broadcast_to(stream[begin : begin + size], (len(numbers), size))",
        f"{ROLLFAST}: scanned layers share a key",
        module="psgd.draws",
    ),
    Fault(
        "scale of the first layer alone",
        SCALE,
        "jax.vmap(Sizes.root, (0, None))(chosen(parts, turn, width), power)",
        "jnp.repeat(Sizes.root(chosen(parts, turn, width)[0], power), width)",
        f"{ROLLFAST}: scale at the start of a scanned leaf",
        module="psgd.preconditioner",
    ),
    slip(
        SCALE,
        "square of a triangular factor for its QᴴQ",
        '"triangular": upper_normal_factor',
        '"triangular": lambda factor: factor @ factor',
        module="psgd.preconditioner",
    ),
    Fault(
        "momentum without its running mean",
        SCALE,
        "return jnp.minimum(steps / (steps + 1), b1)",
        "return jnp.minimum(0 * steps + 1, b1)",
        "two conventions of momentum",
        module="psgd.momentum",
    ),
    Fault(
        "gradient preconditioned instead of the momentum",
        SCALE,
        "self._directions(used, ahead, layouts, count, sound)",
        "self._directions(used, wide, layouts, count, sound)",
        "optax muon before e9f838f9: right without momentum only",
        module="psgd.method",
    ),
    slip(
        SCALE,
        "always the new preconditioner",
        "_Used(after, None) if first else _Used(before, correction)",
        "_Used(after, None)",
        module="psgd.method",
    ),
    slip(
        SCALE,
        "layers clipped together",
        "jax.vmap(way.finish) if layout.scanned else way.finish",
        "way.finish",
        module="psgd.directions",
    ),
    slip(
        SCALE,
        "probability for its complement",
        "return draw_decision(key, count) < chance",
        "return draw_decision(key, count) > chance",
        module="psgd.options",
    ),
    slip(
        SCALE,
        "scale of Q for that of P",
        '(2 if basis == "direct" else 1) / len(factors)',
        "1 / len(factors)",
        module="psgd.fitting",
    ),
    slip(
        SCALE,
        "one of two factors scaled before the fit",
        "gradient * scale * scale), probe",
        "gradient * scale), probe",
        module="psgd.fitting",
    ),
    slip(
        SCALE,
        "inverse scaled like the factor",
        "else probe / scale",
        "else probe * scale",
        module="psgd.fitting",
    ),
    slip(
        SCALE,
        "scale not shared out among the axes",
        "jnp.asarray(scale) ** (power / len(shape))",
        "jnp.asarray(scale) ** power",
        module="psgd.preconditioner",
    ),
    Fault(
        "decay not multiplied by the rate",
        KRON,
        "optax.chain(optax.add_decayed_weights(weight_decay, mask), stepped)",
        "optax.chain(stepped, optax.add_decayed_weights(weight_decay, mask))",
        "Odyssey 5674, PyTorch 38853",
        module="psgd.descent",
    ),
    slip(
        SF_KRON,
        "momentum besides the interpolation",
        "        b1=0.0,\n        weight_decay=weight_decay,",
        "        b1=0.9,\n        weight_decay=weight_decay,",
    ),
    slip(
        f"{FITTING}.damped",
        "no noise relative to the gradient",
        "(damping + jnp.finfo(gradient.dtype).eps * jnp.abs(gradient)) * noise",
        "damping * noise",
    ),
    slip(
        f"{FITTING}.terms",
        "share of the whole tensor",
        "jnp.asarray(tensor.size / tensor.shape[axis], real)",
        "jnp.asarray(tensor.size, real)",
    ),
    slip(
        f"{FITTING}.terms",
        "Qᵢ not applied to the probe",
        "second = _gram(factor, kronecker.along(factor, probe, axis), axis)",
        "second = _gram(factor, probe, axis)",
    ),
    Fault(
        "each axis sees the axes before it moved",
        f"{FITTING}.update_factors",
        "for axis, (first, second) in enumerate(pairs):\n",
        "for axis in range(len(factors)):\n"
        "        now = [*moved, *factors[axis:]]\n"
        "        first, second = terms(now, gradient, probe, basis)[axis]\n",
        "Gauss–Seidel for Jacobi, a known difference between implementations",
    ),
    slip(
        f"{FITTING}.update_factors",
        "never balanced",
        "balances = draws.balance < BALANCE_PROBABILITY",
        "balances = draws.balance < 0",
    ),
    slip(
        f"{FITTING}.update_factors",
        "step by the estimate of the step before",
        "/ jnp.where(estimate > 0, estimate, 1)",
        "/ jnp.where(estimates[axis] > 0, estimates[axis], 1)",
    ),
    Fault(
        "1 / mean(g⁴)⁸",
        f"{FITTING}.whitening_scale",
        "unit ** (-0.5) * fourth ** (-1 / 8)",
        "unit ** (-0.5) / fourth**8",
        "HeavyBall 55 and 58",
    ),
    slip(
        f"{FITTING}.newton_scale",
        "root for fourth root",
        "else jnp.sqrt(_root_of_all(vectors)) * scale",
        "else _root_of_all(vectors) * scale",
    ),
    slip(
        f"{FACTOR}.smoothness",
        "norm of the first term alone",
        "hermitian_norm_bound(first + second, probes)",
        "hermitian_norm_bound(first, probes)",
    ),
    slip(
        f"{FACTOR}.lipschitz",
        "smaller for larger",
        "return jnp.maximum(",
        "return jnp.minimum(",
    ),
    Fault(
        "damping added to every entry of the Gram matrix",
        f"{FACTOR}.relative_gradient",
        "return first - second * jnp.eye",
        "return first + 1e-9 - second * jnp.eye",
        f"{ROLLFAST} and 0.2.1: λ11' for λI",
    ),
    slip(
        f"{FACTOR}.relative_gradient",
        "scalar subtracted from every entry",
        "return first - second * jnp.eye(first.shape[0], dtype=first.dtype)",
        "return first - second",
    ),
    Fault(
        "axes of size one kept",
        f"{PLAN}.view_shape",
        "if size == 1:",
        "if size == 0:",
        f"{ROLLFAST}: a bias of shape (1, n) has two factors",
    ),
    slip(
        f"{PLAN}.view_shape",
        "merged up to below the limit",
        "view[-1] * size <= merge_limit",
        "view[-1] * size < merge_limit",
    ),
    slip(
        f"{PLAN}.block_slices",
        "pieces of equal length",
        "size if block_size is None else min(block_size, size)",
        "size if block_size is None else -(-size // -(-size // block_size))",
    ),
    slip(
        f"{PLAN}.dense_axes",
        "first of the longest",
        "key=lambda axis: (shape[axis], axis)",
        "key=lambda axis: (shape[axis], -axis)",
    ),
    slip(
        f"{PLAN}.dense_axes",
        "size for its square",
        "size**2 <= max_skew * total",
        "size <= max_skew * total",
    ),
    slip(
        PROBABILITY,
        "decay from the first step",
        "jnp.asarray(count, scalar_dtype()) - flat_start",
        "jnp.asarray(count, scalar_dtype())",
    ),
)
