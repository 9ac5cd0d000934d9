"""Wrong versions of PSGD with a preconditioner of one vector, and of Affine, as a whole."""

from verification.faults.fault import Fault, slip

METHOD = "psgd.flat_method"
XMAT, LRA = "psgd.xmat.scale_by_xmat", "psgd.lra.scale_by_lra"
DENSE, AFFINE = "psgd.dense.scale_by_dense_newton", "psgd.affine.scale_by_affine"
PSGD_JAX = "psgd_jax 0.1.5"


def _of_step(name: str, old: str, new: str) -> Fault:
    return slip(XMAT, name, old, new, module=METHOD)


PSGD_FLAT = (
    Fault(
        "scale at the first step or never",
        XMAT,
        "jax.lax.cond(pending, lambda: fitting",
        "jax.lax.cond(state.count == 0, lambda: fitting",
        f"{PSGD_JAX}: Newton's scale stays 1 unless the first step is a fit",
        module=METHOD,
    ),
    Fault(
        "scale that is given not applied",
        XMAT,
        "self.family.scaled(fitted, jnp.asarray(scale, start.dtype))",
        "fitted",
        f"{PSGD_JAX}: Newton's with a first step that is no fit",
        module=METHOD,
    ),
    Fault(
        "scale of a first gradient of zeros",
        XMAT,
        "tells = ~pending | (self.largest > 0)",
        "tells = jnp.asarray(True)",
        f"{PSGD_JAX}: a leaf whose first gradient is zero is not a number for ever",
        module="psgd.pair",
    ),
    Fault(
        "no running mean",
        XMAT,
        "jnp.minimum(steps / (steps + 1), b1)",
        "jnp.minimum(1.0 + 0 * steps, b1)",
        f"{PSGD_JAX} corrects the bias of an average, psgd_torch keeps a running mean",
        module="psgd.momentum",
    ),
    slip(
        XMAT,
        "look-ahead by β of this step",
        "now, then = decay(of.b1, count), decay(of.b1, count + 1)",
        "now, then = decay(of.b1, count), decay(of.b1, count)",
        module="psgd.momentum",
    ),
    slip(
        XMAT,
        "look-ahead kept",
        "guards.taken(sound, new, m",
        "guards.taken(sound, ahead, m",
        module="psgd.momentum",
    ),
    _of_step("gradient preconditioned instead of the momentum", "flatten(ahead)", "flatten(wide)"),
    _of_step(
        "gradient whitened instead of the momentum",
        "wide if self.options.fitting.whiten_grad else momentum",
        "wide",
    ),
    _of_step("always the new preconditioner", "if not fitting.update_first:", "if False:"),
    _of_step(
        "scale of P for that of Q",
        "self.family.scaled(self._wide(before, pair.gradients), scale), before",
        "self.family.scaled(self._wide(before, pair.gradients), scale**2), before",
    ),
    _of_step("probe not used in damping", "vector = noise = draws.probe", "vector = draws.probe"),
    slip(
        XMAT,
        "vectors left out of the scale",
        "jnp.ones_like(size) if vectors is None else _root_of_all(vectors)",
        "jnp.ones_like(size)",
        module="psgd.moments",
    ),
    slip(
        XMAT,
        "imaginary parts first",
        "sides = [leaf.real, leaf.imag]",
        "sides = [leaf.imag, leaf.real]",
        module="trees.flat",
    ),
    slip(
        "psgd.xmat.xmat",
        "all leaves decay",
        "optax.add_decayed_weights(weight_decay, mask)",
        "optax.add_decayed_weights(weight_decay)",
        module="psgd.descent",
    ),
    slip(
        LRA,
        "scale of P for that of Q",
        "d=scale.astype(fitted.d.dtype) * fitted.d",
        "d=scale.astype(fitted.d.dtype) ** 2 * fitted.d",
    ),
    slip(LRA, "norm at the start for its square", "_START**0.5", "_START"),
    slip(
        DENSE,
        "scale of Q for that of P",
        'power = 2 if self.geometry.basis == "direct" else 1',
        "power = 1",
    ),
    slip(
        DENSE,
        "P taken for Q",
        'if self.geometry.basis == "direct":\n            return fitted.Q @ vector',
        'if self.geometry.basis == "":\n            return fitted.Q @ vector',
    ),
    slip(
        DENSE,
        "vector drawn where it is integrated out",
        'return self.geometry.basis == "whitened"',
        "return True",
    ),
    slip(AFFINE, "one order for all", '"1st": (False, "1st")', '"1st": (False, "2nd")'),
    slip(
        "psgd.plan.dense_axes",
        "vectors of Affine diagonal",
        "Structure(max_size_triangular, max_skew_triangular, 1, None",
        "Structure(max_size_triangular, max_skew_triangular, 2, None",
        module="psgd.affine",
    ),
    slip(
        "psgd.plan.matrix_view",
        "order of the axes for its inverse",
        "back = sorted(range(len(order)), key=order.__getitem__)",
        "back = list(order)",
        module="psgd.layout",
    ),
    Fault(
        "matrices kept as tensors",
        "psgd.plan.matrix_view",
        "if structure.matricize and len(view) > 2:",
        "if structure.matricize and len(view) > 9:",
        f"the description of {PSGD_JAX}: three factors for (1024, 16, 64)",
        module="psgd.layout",
    ),
    slip(
        AFFINE,
        "limit on the norm left out",
        '"per_tensor_rms", None, update_global_norm_clip)',
        '"per_tensor_rms", None, None)',
    ),
    *(
        slip(
            name,
            "decay left out",
            "descend(preconditioned, learning_rate, weight_decay, mask)",
            "descend(preconditioned, learning_rate, 0.0, mask)",
        )
        for name in (
            "psgd.lra.low_rank_approximation",
            "psgd.dense.dense_newton",
            "psgd.affine.affine",
        )
    ),
)
