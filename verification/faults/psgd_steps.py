"""Wrong versions of a step of Kron: when it moves, in what it computes, what it is spread over."""

from verification.faults.fault import Fault, slip

SCALE, KRON = "psgd.kron.scale_by_kron", "psgd.kron.kron"
SF_SGD = "schedule_free.methods.schedule_free_sgd"
UPDATE = "psgd.fitting.update_factors"
ROLLFAST = "rollfast 0.1.0"
LATE = "optax 415: a count that starts at 1"
DONATED = "optax 1059: donation of what is used elsewhere"

DTYPES = (
    Fault(
        "fitted in float32 at most",
        "linalg.kronecker.gram",
        "unfolded = jnp.moveaxis(tensor, axis, 0)",
        "narrow = jnp.complex64 if jnp.iscomplexobj(tensor) else jnp.float32\n"
        "    unfolded = jnp.moveaxis(tensor.astype(narrow), axis, 0)",
        f"{ROLLFAST}: Gram matrix after a cast to float32, of float64 gradients too",
    ),
    Fault(
        "gradients in the dtype of the parameters",
        SCALE,
        "wide = to_accumulators(gradients)",
        "wide = gradients",
        "psgd_torch a8616f1: diagonal factors in the dtype of the gradient",
        module="psgd.method",
        first="gradients in bfloat16",
    ),
    Fault(
        "fitted to gradients in the dtype of the parameters",
        SCALE,
        "fitted = wide if self.fitting.whiten_grad else averaged",
        "fitted = gradients if self.fitting.whiten_grad else averaged",
        "psgd_torch a8616f1: diagonal factors in the dtype of the gradient",
        module="psgd.method",
        first="gradients in bfloat16",
    ),
    Fault(
        "momentum raised to the dtype of its sums",
        SCALE,
        "kept = [n.astype(m.dtype) for n, m in zip(momentum, mu, strict=True)]",
        "kept = list(momentum)",
        "torchtitan 4615, maxdiffusion 484: another dtype after a checkpoint than before",
        module="psgd.momentum",
        first="dtypes and shapes",
    ),
    Fault(
        "count with an axis",
        SCALE,
        "count=guards.taken(sound, count, state.count)",
        "count=guards.taken(sound, count, state.count)[None]",
        "optax 1042: a scalar of the state comes back in the shape (1,)",
        module="psgd.method",
        first="dtypes and shapes",
    ),
)

BUFFERS = (
    Fault(
        "key of the caller in the state",
        SCALE,
        "return jnp.copy(key)",
        "return key",
        "rollfast before 0c389ee: a donated state takes the caller's key with it",
        module="psgd.draws",
        first="buffers of the key",
    ),
    Fault(
        "one buffer for the L of all axes",
        SCALE,
        "[jnp.zeros(count, real) for _ in shape]",
        "[jnp.zeros(count, real)] * len(shape)",
        DONATED,
        module="psgd.preconditioner",
        first="buffers of the key",
    ),
    Fault(
        "identity for its own square",
        SCALE,
        "[q * q if d and",
        "[(q if isinstance(scale, float) and scale == 1 else q * q) if d and",
        DONATED,
        module="psgd.preconditioner",
        first="buffers of the key",
    ),
    Fault(
        "parameters for a copy of them",
        SF_SGD,
        "return jnp.array(leaf, dtype=kept, copy=True)",
        "return jnp.asarray(leaf, dtype=kept)",
        DONATED,
        module="trees.precision",
        first="buffers of the key",
    ),
    Fault(
        "key of the optimizer for that of the state",
        KRON,
        "step = Step(state.key, ",
        "step = Step(normalized_key(self.key), ",
        "maxdiffusion 484: what was restored is not what goes on",
        module="psgd.method",
        first="resumed",
    ),
)

TIMES = (
    Fault(
        "probability of the next step",
        SCALE,
        "self.probability(count) if",
        "self.probability(count + 1) if",
        f"{ROLLFAST}; {LATE}",
        module="psgd.options",
        first="by turns",
    ),
    Fault(
        "interval of the next step",
        SCALE,
        "self.interval(count) if",
        "self.interval(count + 1) if",
        LATE,
        module="psgd.options",
        first="every other step",
    ),
    Fault(
        "first step not a multiple of the interval",
        SCALE,
        "return count % jnp.asarray(interval",
        "return (count + 1) % jnp.asarray(interval",
        LATE,
        module="psgd.options",
        first="every fourth step",
    ),
    Fault(
        "step of Q of the next step",
        SCALE,
        "rate(state.count)",
        "rate(state.count + 1)",
        LATE,
        module="psgd.method",
        first="rate that falls",
    ),
    Fault(
        "learning rate of the next step",
        KRON,
        "optax.scale_by_learning_rate(learning_rate)",
        "optax.scale_by_learning_rate(\n"
        "        (lambda count: learning_rate(count + 1)) if callable(learning_rate)"
        " else learning_rate\n    )",
        LATE,
        module="psgd.descent",
        first="rate that falls",
    ),
    Fault(
        "running mean counted from 1",
        SCALE,
        "now, then = decay(of.b1, count), ",
        "now, then = decay(of.b1, count + 1), ",
        LATE,
        module="psgd.momentum",
    ),
)

SPIKES = (
    Fault(
        "a spike clipped, and skipped by Q alone",
        SCALE,
        "return step(measured=measured)",
        "if self.max_norm is not None and not self.permissive:\n"
        "                extra_args = {'update_preconditioner': measured.sound, **extra_args}\n"
        "                scale = spike_scale(norm, self.max_norm, True)\n"
        "                measured = Measured(scale > 0)\n"
        "            return step(measured=measured)",
        f"{ROLLFAST}: without permission leaves only Q, and clips always",
        module="guards",
        first="spikes skipped",
    ),
    slip(
        SCALE,
        "momentum fades in a step that is not taken",
        "guards.taken(sound, new, m.astype(new.dtype))",
        "new",
        module="psgd.momentum",
        first="spikes skipped",
    ),
    slip(
        SCALE,
        "a direction in a step that is not taken",
        "guards.zero_unless(sound, direction if limit is None else limit(direction))",
        "direction if limit is None else limit(direction)",
        module="psgd.method",
        first="spikes skipped",
    ),
    slip(
        SCALE,
        "gradients of zeros asked for a momentum that is none",
        "measured.largest if fitted is wide else None",
        "measured.largest",
        module="psgd.method",
        first="momentum whitened, asked for",
    ),
    slip(
        SCALE,
        "scale of a first momentum of zeros",
        "lambda: measured(pair.gradients) > 0",
        "lambda: jnp.ones_like(pending)",
        module="psgd.pair",
        first="momentum whitened, asked for",
    ),
    slip(
        SCALE,
        "scale of a first product of zeros",
        "tells = ~pending | jnp.all(largest > 0)",
        "tells = jnp.asarray(True)",
        module="psgd.pair",
        first="first products zero",
    ),
    slip(
        SCALE,
        "a step counted that is not taken",
        "count=guards.taken(sound, count, state.count)",
        "count=count",
        module="psgd.method",
        first="spikes skipped",
    ),
    slip(
        KRON,
        "schedule goes on in a step that is not taken",
        "(one, guards.taken(sound, other, state[1]))",
        "(one, other)",
        module="psgd.descent",
        first="one skipped",
    ),
)

DEVICES = (
    slip(
        SCALE,
        "Gram matrices of one device alone",
        "jax.lax.pmean((first, second), rule.axis_name)",
        "(first, second)",
        module="psgd.fitting",
        first="multiples of a gradient",
    ),
    slip(
        SCALE,
        "Gram matrices added up",
        "jax.lax.pmean((first, second), rule.axis_name)",
        "jax.lax.psum((first, second), rule.axis_name)",
        module="psgd.fitting",
        first="multiples of a gradient",
    ),
    slip(
        SCALE,
        "scale of one device alone",
        "return scale if axis_name is None else jax.lax.pmean(scale, axis_name)",
        "return scale",
        module="psgd.preconditioner",
        first="multiples of a gradient",
    ),
    slip(
        "guards.global_norm",
        "norm of one device alone",
        "squares = jax.lax.psum(squares, axis_name)",
        "squares = 1 * squares",
        first="shards of an axis",
    ),
    slip(
        "guards.clip_by_global_rms",
        "size on one device alone",
        "size = size * jax.lax.psum(1, axis_name)",
        "size = 1 * size",
        first="shards of an axis",
    ),
    slip(
        "guards.global_norm",
        "largest entry of one device alone",
        "return largest if axis_name is None else jax.lax.pmax(largest, axis_name)",
        "return largest",
        first="shards of an axis",
    ),
)

NUMBERS = (
    Fault(
        "one draw for the balance of all tensors",
        SCALE,
        "words = stream[begin:end].reshape(len(numbers), size)",
        "words = stream[begin:end].reshape(len(numbers), size).at[:, 0].set(stream[0])",
        f"{ROLLFAST}: one balance draw for all leaves",
        module="psgd.draws",
        first="bits in their order",
    ),
    Fault(
        "tensors balanced together",
        SCALE,
        "words = slice_words(step.key, step.number, kinds, rule.geometry, noisy)",
        "words = slice_words(step.key, step.number, kinds, rule.geometry, noisy)\n"
        "    first = words[0][0, 0]\n"
        "    words = [kind.at[:, 0].set(first) for kind in words]",
        f"{ROLLFAST}: one balance draw for all leaves",
        module="psgd.preconditioner",
    ),
    Fault(
        "damped with the probe of the product",
        UPDATE,
        "gradient = damped(gradient, noise, rule.damping)",
        "gradient = damped(gradient, probe if rule.newton else noise, rule.damping)",
        "psgd_torch a8616f1, `update_precond_kron_newton_eq`: an independent draw",
    ),
    Fault(
        "damped with another draw than the probe",
        UPDATE,
        "gradient = damped(gradient, noise, rule.damping)",
        "other = jnp.flip(noise) if rule.geometry.basis == 'whitened' else noise\n"
        "        gradient = damped(gradient, other, rule.damping)",
        "psgd_torch a8616f1, `update_precond_kron_whiten_eq`: the pair (v, g + d v)",
    ),
    Fault(
        "probe is another draw than the noise",
        UPDATE,
        'probe = noise if basis == "whitened" else None',
        'probe = jnp.flip(noise) if basis == "whitened" else None',
        "psgd_torch a8616f1, `update_precond_kron_whiten_eq`: the pair (v, g + d v)",
    ),
)

RANGE = (
    slip(
        UPDATE,
        "factors stay where a Gram matrix overflows",
        "return jnp.where(_largest(first) < _largest(second), factor, factor * least)",
        "return factor",
        module="psgd.overflow",
        first="overflows",
    ),
    slip(
        UPDATE,
        "factors made smaller where their inverses overflow",
        "jnp.where(_largest(first) < _largest(second), factor, factor * least)",
        "factor * least",
        module="psgd.overflow",
        first="overflows",
    ),
    slip(
        SCALE,
        "infinite factors stored",
        "jnp.where(fits, new, old), after, before",
        "new, after, before",
        module="psgd.overflow",
        first="does not hold",
    ),
)

STEPS = (*DTYPES, *BUFFERS, *TIMES, *SPIKES, *DEVICES, *NUMBERS, *RANGE)
