"""Sentences about PRISM, and computations that must agree."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import compiled
from verification.registry import production

NAME = "prism.prism.scale_by_prism"
SHAPES = {"a": (6, 4), "b": (6, 4), "c": (4, 6), "d": (6, 4), "e": (5,)}
GAIN = 485.0


def _gradients(rng: np.random.Generator, shapes: dict[str, tuple[int, ...]] | None = None) -> Any:
    import jax.numpy as jnp

    shapes = SHAPES if shapes is None else shapes
    return [
        {leaf: jnp.asarray(rng.standard_normal(shape)) for leaf, shape in shapes.items()}
        for _ in range(3)
    ]


def _last_update(optimizer: Any, stream: list[Any], jitted: bool = True) -> Any:
    state = optimizer.init(stream[0])
    # Without optimization products of a stack are summed in another order than those of one matrix.
    update = compiled(optimizer.update, optimized=True) if jitted else optimizer.update
    for gradients in stream:
        updates, state = update(gradients, state, gradients)
    return updates, state


def _run(jitted: bool = True, **options: Any) -> Callable[[np.random.Generator], Any]:
    return lambda rng: _last_update(production(NAME)(**options), _gradients(rng), jitted)[0]


def _counted_iterations(traced: bool) -> Callable[[np.random.Generator], Any]:
    """Return the polar factor after some iterations, their number traced or not."""

    def run(rng: np.random.Generator) -> Any:
        newton_schulz = production("linalg.newton_schulz.newton_schulz")
        rows = production("linalg.newton_schulz.coefficients")("dion")
        matrix = rng.standard_normal((6, 4))
        if traced:
            jitted = compiled(lambda x, count: newton_schulz(x, rows, count))
            return [jitted(matrix, count) for count in (1, 3, 7)]
        return [newton_schulz(matrix, rows, count) for count in (1, 3, 7)]

    return run


def _computed_in_float32(exponent: int) -> Callable[[np.random.Generator], Any]:
    """Return the update of float64 leaves shaped in float32, at a scale that float32 has not."""

    def run(rng: np.random.Generator) -> Any:
        matrices: dict[str, tuple[int, ...]] = {
            leaf: shape for leaf, shape in SHAPES.items() if len(shape) == 2
        }
        stream = [
            {leaf: gradient * 2.0**exponent for leaf, gradient in gradients.items()}
            for gradients in _gradients(rng, matrices)
        ]
        return _last_update(production(NAME)(compute_dtype="float32"), stream)[0]

    return run


def _enormous(entry: float) -> Callable[[np.random.Generator], Any]:
    """Return updates and state of Adam's branch after one gradient with an enormous entry."""

    def run(rng: np.random.Generator) -> Any:
        import jax.numpy as jnp

        ordinary = jnp.asarray(rng.standard_normal(5))
        stream = [{"b": ordinary.at[2].set(entry)}, {"b": ordinary}]
        return _last_update(production("prism.prism.prism")(0.1), stream)

    return run


def _leaf_by_leaf(rng: np.random.Generator) -> Any:
    stream = _gradients(rng)
    found: dict[str, Any] = {}
    for leaf in SHAPES:
        alone = [{leaf: gradients[leaf]} for gradients in stream]
        found |= _last_update(production(NAME)(), alone)[0]
    return found


def _stacked(rng: np.random.Generator) -> Any:
    """Return the update of three layers kept as one array."""
    import jax.numpy as jnp

    numbers = production("prism.dimension_numbers.PrismDimensionNumbers")(1, 2)
    stream = _gradients(rng)
    stacked = [{"abd": jnp.stack([g["a"], g["b"], g["d"]])} for g in stream]
    optimizer = production(NAME)(weight_dimension_numbers=numbers, grad_clip_max_amps=None)
    return list(_last_update(optimizer, stacked)[0]["abd"])


def _separate(rng: np.random.Generator) -> Any:
    updates = _last_update(production(NAME)(grad_clip_max_amps=None), _gradients(rng))[0]
    return [updates[leaf] for leaf in ("a", "b", "d")]


def _muon(rng: np.random.Generator) -> Any:
    """Return Jordan's Muon, of its formula."""
    rows = production("linalg.newton_schulz.coefficients")("jordan")
    newton_schulz = production("linalg.newton_schulz.newton_schulz")
    stream = _gradients(rng)
    found = {}
    for leaf, shape in SHAPES.items():
        mu = np.zeros(shape)
        for gradients in stream:
            gradient = np.asarray(gradients[leaf])
            mu = 0.95 * mu + 0.05 * gradient
        ahead = 0.95 * mu + 0.05 * gradient
        found[leaf] = newton_schulz(ahead, rows, 5) if len(shape) == 2 else ahead
    return found


def _real(rng: np.random.Generator) -> Any:
    """Return the update of the same leaf given as real blocks."""
    stream = [{"w": _blocks(g["a"] + 1j * g["b"])} for g in _gradients(rng)]
    optimizer = production(NAME)(grad_clip_max_amps=None, ns_coeffs="exact")
    return _last_update(optimizer, stream)[0]["w"]


def _complex_exact(rng: np.random.Generator) -> Any:
    stream = [{"w": g["a"] + 1j * g["b"]} for g in _gradients(rng)]
    optimizer = production(NAME)(grad_clip_max_amps=None, ns_coeffs="exact")
    return _blocks(_last_update(optimizer, stream)[0]["w"])


def _blocks(array: Any) -> Any:
    import jax.numpy as jnp

    top = jnp.concatenate([array.real, -array.imag], axis=1)
    return jnp.concatenate([top, jnp.concatenate([array.imag, array.real], axis=1)])


def _sharded(is_sharded: bool) -> Callable[[np.random.Generator], Any]:
    """Return the update with gradients cut over eight devices, or on one."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        from jax.sharding import Mesh, NamedSharding, PartitionSpec

        stream = _gradients(rng, {"w": (16, 8), "v": (8, 16)})
        if is_sharded:
            mesh = Mesh(np.asarray(jax.devices()[:8]), ("model",))
            rows = NamedSharding(mesh, PartitionSpec("model", None))
            stream = [jax.tree.map(lambda a: jax.device_put(a, rows), g) for g in stream]
        return jax.tree.map(np.asarray, _last_update(production(NAME)(), stream)[0])

    return run


def _resumed(interrupted: bool) -> Callable[[np.random.Generator], Any]:
    """Return the update of a run whose state went through the host, or did not."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        import jax.numpy as jnp

        optimizer, stream = production("prism.prism.prism")(0.01), _gradients(rng)
        update = compiled(optimizer.update)
        state = optimizer.init(stream[0])
        for gradients in stream:
            if interrupted:
                leaves, structure = jax.tree.flatten(state)
                saved = [np.asarray(leaf).tobytes() for leaf in leaves]
                restored = [
                    jnp.asarray(np.frombuffer(data, leaf.dtype).reshape(leaf.shape))
                    for data, leaf in zip(saved, leaves, strict=True)
                ]
                state = structure.unflatten(restored)
            updates, state = update(gradients, state, gradients)
        return updates, state

    return run


def _counted(height: int, width: int, table: str, iterations: int) -> list[float]:
    """Return the flops of the products of both forms, counted in what is traced."""
    import jax
    import jax.numpy as jnp

    rows = production("linalg.newton_schulz.coefficients")(table)
    block = jnp.zeros((height, width), jnp.float32)

    def flops(form: str) -> float:
        shape = production("prism.shaping.shape")
        traced = jax.make_jaxpr(lambda t, d: shape(t, d, 1.0, rows, iterations, 0.0, form))
        return sum(map(_product_flops, traced(block, block).jaxpr.eqns))

    return [flops("direct"), flops("gram")]


def _product_flops(equation: Any) -> float:
    if equation.primitive.name == "dot_general":
        (left_axes, _), _ = equation.params["dimension_numbers"]
        left, out = equation.invars[0].aval, equation.outvars[0].aval
        return 2.0 * np.prod(out.shape) * np.prod([left.shape[axis] for axis in left_axes])
    inner = equation.params.get("jaxpr")
    return sum(map(_product_flops, inner.jaxpr.eqns)) if inner is not None else 0.0


def _modelled(height: int, width: int, table: str, iterations: int) -> list[float]:
    """Return the flops by which the form is chosen."""
    rows = production("linalg.newton_schulz.coefficients")(table)
    plan = production("linalg.gram_newton_schulz.segments")(rows, iterations, 2.0**-23)
    stacked = 2 * height
    direct = production("linalg.gram_newton_schulz.direct_flops")(stacked, width, iterations)
    flops = production("linalg.gram_newton_schulz.gram_flops")
    return [direct, flops(stacked, width, height, plan)]


def _chosen(height: int, width: int) -> list[float]:
    """Return the flops of what `auto` runs."""
    import jax
    import jax.numpy as jnp

    rows = production("linalg.newton_schulz.coefficients")("jordan")
    shape = production("prism.shaping.shape")
    block = jnp.zeros((height, width), jnp.float32)
    traced = jax.make_jaxpr(lambda t, d: shape(t, d, 1.0, rows, 5))(block, block)
    return [sum(map(_product_flops, traced.jaxpr.eqns))]


# Tall, square, wide, and very wide; few iterations, and enough for a restart.
COUNTED = [
    (48, 12, "jordan", 5),
    (16, 16, "jordan", 5),
    (16, 24, "polar_express", 6),
    (8, 40, "dion", 3),
    (12, 40, "jordan", 8),
    (40, 12, "jordan", 8),
    # Sides from 384 on, where a quarter of a Hermitian product is left out.
    (400, 384, "jordan", 5),
    (384, 400, "polar_express", 6),
    (128, 600, "jordan", 5),
    (257, 300, "jordan", 5),
]
CHOICES = [(48, 12), (16, 16), (8, 16), (8, 40), (256, 512), (512, 512)]

SAME = "the same operations, which the compiler may fuse into others, amplified by the iteration"
CHECKS = (
    Equivalence(
        name=NAME,
        label="leaves together = each leaf alone",
        left=_run(),
        right=_leaf_by_leaf,
        budget=0.0,
        reason="a bucket runs the body that a leaf alone runs: equal bits",
    ),
    Equivalence(
        name=NAME,
        label="jitted = eager",
        left=_run(),
        right=_run(jitted=False),
        budget=4.0,
        condition=GAIN,
        reason=SAME,
    ),
    Equivalence(
        name=NAME,
        label="Gram form = direct form",
        left=_run(ns_form="gram"),
        right=_run(ns_form="direct"),
        budget=4.0,
        condition=GAIN,
        reason="equal but for rounding, amplified by the slope of the iteration at zero",
    ),
    Equivalence(
        name=NAME,
        label="stacked layers = separate layers",
        left=_stacked,
        right=_separate,
        budget=4.0,
        condition=GAIN,
        reason=SAME,
    ),
    Equivalence(
        name=NAME,
        label="γ = 0 is Muon",
        left=_run(gamma=0.0, grad_clip_max_amps=None),
        right=_muon,
        budget=4.0,
        condition=GAIN,
        reason="Jordan's Muon of its formula, with the direct iteration",
    ),
    Equivalence(
        name=NAME,
        label="complex = twice as large and real",
        left=_complex_exact,
        right=_real,
        budget=16.0,
        reason="the polar factor commutes with the embedding; σ₁/σᵣ of some tens",
    ),
    Equivalence(
        name=NAME,
        label="eight devices = one",
        left=_sharded(True),
        right=_sharded(False),
        budget=4.0,
        condition=GAIN,
        reason="products are summed in another order, amplified",
        needs_devices=8,
    ),
    Equivalence(
        name="prism.shaping.shape",
        label="flops that are modelled = flops that are traced",
        left=lambda rng: [_modelled(*layout) for layout in COUNTED],
        right=lambda rng: [_counted(*layout) for layout in COUNTED],
        budget=0.0,
        reason="whole numbers far below 2⁵³",
    ),
    Equivalence(
        name="prism.shaping.shape",
        label="flops of the form chosen = the fewer of both",
        left=lambda rng: [_chosen(*layout) for layout in CHOICES],
        right=lambda rng: [[min(_counted(*layout, "jordan", 5))] for layout in CHOICES],
        budget=0.0,
        reason="whole numbers far below 2⁵³",
    ),
    Equivalence(
        name="linalg.newton_schulz.newton_schulz",
        label="traced number of iterations = number of Python",
        left=_counted_iterations(True),
        right=_counted_iterations(False),
        budget=4.0,
        condition=GAIN,
        reason=SAME,
    ),
    Equivalence(
        name=NAME,
        label="shaped in float32 at scale 2^-400 = at scale one",
        left=_computed_in_float32(-400),
        right=_computed_in_float32(0),
        budget=0.0,
        reason="a power of two is taken out before the cast: equal bits",
    ),
    Equivalence(
        name="prism.prism.prism",
        label="a gradient whose square overflows = the largest whose square does not",
        left=_enormous(1e300),
        right=_enormous(float(np.sqrt(np.finfo(float).max) / 2)),
        budget=4.0,
        reason="the limit itself is rounded",
    ),
    Equivalence(
        name="prism.prism.prism",
        label="resumed = uninterrupted",
        left=_resumed(True),
        right=_resumed(False),
        budget=0.0,
        reason="the state holds everything: equal bits",
    ),
)
