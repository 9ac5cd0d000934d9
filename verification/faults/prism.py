"""Wrong versions of PRISM and Newton–Schulz."""

from verification.faults.fault import Fault, slip

SCALE = "prism.prism.scale_by_prism"
PRISM = "prism.prism.prism"
SHAPING = "prism.shaping"
NEWTON = "linalg.newton_schulz"

PRISMS = (
    Fault(
        "raw gradient orthogonalized instead of the momentum",
        SCALE,
        "target = shaping.nesterov(mu, gradient, self.b1) if ahead else mu",
        "target = gradient",
        "optax muon before e9f838f9, right at the first step only",
        module="prism.direction",
    ),
    Fault(
        "multiplied by the norm instead of divided",
        f"{NEWTON}.newton_schulz",
        "return scaled * (1 / jnp.where(norm > 0, norm, 1))",
        "return scaled * jnp.where(norm > 0, norm, 1)",
        "HeavyBall 2.0.0 to 2.1.1",
    ),
    Fault(
        "conjugate missing",
        f"{NEWTON}.newton_schulz",
        "gram = hermitian_product(x, x.conj().T)",
        "gram = hermitian_product(x, x.T)",
        "optax muon before 17e3e7ae",
    ),
    Fault(
        "as many iterations as rows",
        f"{NEWTON}.newton_schulz",
        "for index in range(iterations):\n            carry",
        "for index in range(min(iterations, len(rows))):\n            carry",
        "optax 0.2.8 muon(ns_coeffs=…)",
    ),
    Fault(
        "arbitrary directions for zero singular values",
        f"{NEWTON}.polar",
        "(left * (values > cutoff)) @ right",
        "left @ right",
        "the usual polar factor, on a matrix without full rank",
    ),
    Fault(
        "momentum corrected for its start one step late",
        f"{SHAPING}.corrected_momentum",
        "momentum / (1 - b1**count)",
        "momentum / (1 - b1**(count + 1))",
        "optax 415: counts that start at one",
    ),
    Fault(
        "momentum without the factor 1 - β",
        f"{SHAPING}.momentum",
        "return b1 * previous + (1 - b1) * gradient",
        "return b1 * previous + gradient",
        "two conventions of momentum",
    ),
    Fault(
        "rate of the matrices for all leaves",
        PRISM,
        "learning_rate if adam_learning_rate is None else adam_learning_rate",
        "learning_rate",
        "optax 0.2.8 muon: one rate for both branches",
    ),
    Fault(
        "decay not multiplied by the rate",
        PRISM,
        "            optax.add_decayed_weights(weight_decay, weight_decay_mask),\n"
        "            optax.scale_by_learning_rate(rates[name]),",
        "            optax.scale_by_learning_rate(rates[name]),\n"
        "            optax.add_decayed_weights(weight_decay, weight_decay_mask),",
        "Odyssey 5674, PyTorch 38853",
    ),
    Fault(
        "rows and columns exchanged",
        SCALE,
        "return _as_tuple(self.reduction_axis), _as_tuple(self.output_axis)",
        "return _as_tuple(self.output_axis), _as_tuple(self.reduction_axis)",
        "optax 1249: transposed layout",
        module="prism.dimension_numbers",
    ),
    slip(
        SCALE,
        "innovation from the momentum ahead",
        "return target, shaping.innovation(gradient, mu)",
        "return target, shaping.innovation(gradient, target)",
        module="prism.direction",
    ),
    slip(
        SCALE,
        "stored momentum shrunk",
        "mu = [m.astype(old.dtype)",
        "mu = [(0.95 * m).astype(old.dtype)",
    ),
    slip(
        SCALE,
        "spike not taken out of the momentum",
        "limited = jax.tree.map(lambda g: (g * scale).astype(g.dtype), updates)",
        "pass",
        module="guards",
    ),
    slip(
        f"{SHAPING}.nesterov",
        "β and 1 - β exchanged",
        "return b1 * momentum + (1 - b1) * gradient",
        "return (1 - b1) * momentum + b1 * gradient",
    ),
    slip(
        f"{SHAPING}.innovation",
        "sign of the innovation",
        "return gradient - momentum",
        "return gradient + momentum",
    ),
    slip(
        f"{SHAPING}.corrected_nesterov",
        "one correction for both terms",
        "(1 - b1 ** (count + 1))",
        "(1 - b1**count)",
    ),
    slip(
        f"{SHAPING}.augment",
        "γ squared",
        "[target, gamma * innovation]",
        "[target, gamma**2 * innovation]",
    ),
    slip(
        f"{SHAPING}.shape_exact",
        "bottom block",
        "polar(augment(target, innovation, gamma))[: target.shape[0]]",
        "polar(augment(target, innovation, gamma))[target.shape[0] :]",
    ),
    slip(
        f"{SHAPING}.shape",
        "γ missing",
        "stacked = target if without else augment(target, innovation, gamma)",
        "stacked = target if without else augment(target, innovation, 1.0)",
    ),
    slip(
        f"{SHAPING}.shape",
        "recursion with W for W²",
        "gram = hermitian_product(hermitian_product(gram, factor), factor)",
        "gram = hermitian_product(gram, factor)",
        module="linalg.gram_newton_schulz",
    ),
    slip(
        f"{SHAPING}.shape",
        "Gram matrix without a conjugate",
        "_factors(hermitian_product(adjoint_multiplier(stacked), stacked), rows)",
        "_factors(hermitian_product(stacked.T, stacked), rows)",
        module="linalg.gram_newton_schulz",
    ),
    slip(
        f"{SHAPING}.shape",
        "first row of coefficients for all iterations",
        "row = rows[min(index, len(rows) - 1)]\n        if growth",
        "row = rows[0]\n        if growth",
        module="linalg.gram_newton_schulz",
    ),
    slip(f"{NEWTON}.coefficients", "no margin for rounding", "_SAFETY = 1.01", "_SAFETY = 1.0"),
)
