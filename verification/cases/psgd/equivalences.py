"""Sentences about PSGD with Kronecker factors: computations that must agree."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import compiled
from verification.problems.factors import positive_definite
from verification.problems.matrices import gaussian
from verification.registry import production

__all__ = ["CHECKS"]

NAME = "psgd.kron.scale_by_kron"
SHAPES: dict[str, tuple[int, ...]] = {"a": (3, 4), "b": (5,), "c": (3, 4)}
STEPS = 3
SEED = 11
SAME = "the same operations, which the compiler may fuse into others"
AMPLIFIED = f"{SAME}; some steps, each with condition numbers of some tens"

Stream = list[dict[str, Any]]


def _stream(rng: np.random.Generator, shapes: Mapping[str, tuple[int, ...]]) -> Stream:
    import jax.numpy as jnp

    return [
        {leaf: jnp.asarray(rng.standard_normal(shape)) for leaf, shape in shapes.items()}
        for _ in range(STEPS)
    ]


def _last(stream: Stream, jitted: bool = True, **options: Any) -> Any:
    """Return the last update and the factors after some steps."""
    import jax
    import optax

    options = {"preconditioner_lr": 0.5, "b1": 0.5, **options}
    optimizer = production(NAME)(key=SEED, **options)
    state = optimizer.init(stream[0])
    update = compiled(optimizer.update) if jitted else optimizer.update
    for gradients in stream:
        updates, state = update(gradients, state, gradients)
    # They come kind by kind, whatever leaves there are.
    return updates, jax.tree.leaves(optax.tree.get(state, "Qs_preconditioners"))


def _run(**options: Any) -> Callable[[np.random.Generator], Any]:
    return lambda rng: _last(_stream(rng, SHAPES), **options)


def _one_leaf(jitted: bool) -> Callable[[np.random.Generator], Any]:
    return lambda rng: _last(_stream(rng, {"w": (3, 4)})[:2], jitted)


def _layers(scanned: bool, **options: Any) -> Callable[[np.random.Generator], Any]:
    """Return updates and factors of three layers kept as one leaf, or as three."""

    def run(rng: np.random.Generator) -> Any:
        import jax.numpy as jnp

        stream = _stream(rng, {"w0": (3, 4), "w1": (3, 4), "w2": (3, 4)})
        stream = [{**g, "w1": 5.0 * g["w1"]} for g in stream]
        if not scanned:
            updates, factors = _last(stream, **options)
            return [updates[leaf] for leaf in sorted(updates)], factors
        stacked = [{"w": jnp.stack([g["w0"], g["w1"], g["w2"]])} for g in stream]
        updates, factors = _last(stacked, scanned_layers={"w": True}, **options)
        return list(updates["w"]), factors

    return run


def _blocks(cut: bool) -> Callable[[np.random.Generator], Any]:
    """Return updates and factors of a leaf cut into blocks, or of four leaves."""

    def run(rng: np.random.Generator) -> Any:
        whole = _stream(rng, {"w": (4, 6)})
        options: dict[str, Any] = {"grad_clip_max_amps": None, "max_skew_triangular": 4.0}
        if cut:
            updates, factors = _last(whole, partition_large_dims=3, **options)
            return _quarters(updates["w"]), factors
        parts = [dict(zip("abcd", _quarters(g["w"]), strict=True)) for g in whole]
        updates, factors = _last(parts, **options)
        return [updates[leaf] for leaf in "abcd"], factors

    return run


def _quarters(array: Any) -> list[Any]:
    """Return the blocks of (4, 6) whose sides are three at most."""
    return [array[:3, :3], array[:3, 3:], array[3:, :3], array[3:, 3:]]


def _thin(shape: tuple[int, ...]) -> Callable[[np.random.Generator], Any]:
    def run(rng: np.random.Generator) -> Any:
        stream = [{"w": g["w"].reshape(shape)} for g in _stream(rng, {"w": (3, 4)})]
        updates, factors = _last(stream)
        return updates["w"].reshape(3, 4), factors

    return run


def _resumed(interrupted: bool) -> Callable[[np.random.Generator], Any]:
    """Return the update of a run whose state went through the host to another seed, or did not."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        import jax.numpy as jnp

        stream = _stream(rng, SHAPES)
        state = production("psgd.kron.kron")(0.01, key=SEED).init(stream[0])
        update = compiled(production("psgd.kron.kron")(0.01, key=SEED + interrupted).update)
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


def _coarse(kept: str) -> Callable[[np.random.Generator], Any]:
    """Return updates and state of gradients that bfloat16 has, kept in one dtype or another."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        import jax.numpy as jnp

        stream = [jax.tree.map(lambda g: g.astype("bfloat16"), g) for g in _stream(rng, SHAPES)]
        stream = [jax.tree.map(lambda g: g.astype(kept), g) for g in stream]
        optimizer = production(NAME)(key=SEED, preconditioner_lr=0.5)
        state, update, found = optimizer.init(stream[0]), compiled(optimizer.update), []
        for gradients in stream:
            updates, state = update(gradients, state, gradients)
            rounded = [jnp.asarray(u, "bfloat16") for u in jax.tree.leaves(updates)]
            found.append([np.asarray(one, "float32") for one in rounded])
        kept_of_it = [state.mu, state.Qs_preconditioners, state.Ls_lipschitz]
        return found, jax.tree.map(lambda one: np.asarray(one, "float32"), kept_of_it)

    return run


def _sharded(is_sharded: bool) -> Callable[[np.random.Generator], Any]:
    """Return the update with gradients cut over eight devices, or on one."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        from jax.sharding import Mesh, NamedSharding, PartitionSpec

        stream = _stream(rng, {"w": (16, 8)})
        if is_sharded:
            mesh = Mesh(np.asarray(jax.devices()[:8]), ("model",))
            rows = NamedSharding(mesh, PartitionSpec("model", None))
            stream = [jax.tree.map(lambda a: jax.device_put(a, rows), g) for g in stream]
        return jax.tree.map(np.asarray, _last(stream, max_skew_triangular=4.0))

    return run


def _fitted(mode: str, dtype: str) -> Callable[[np.random.Generator], Any]:
    """Return a fit of real numbers, kept as real or as complex ones."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        import jax.numpy as jnp

        row = production("psgd.geometry.geometry")(mode)
        factors = [positive_definite(rng, n, 4.0, False) for n in (4, 3)]
        if row.basis == "whitened":
            factors = [np.triu(q) for q in factors]
        gradient, noise = (gaussian(rng, (4, 3), False) for _ in range(2))
        probes = [[gaussian(rng, (4, n), False) for n in (4, 3)] for _ in range(2)]
        arrays = jax.tree.map(lambda a: jnp.asarray(a, dtype), (factors, gradient, noise, probes))

        def fit(factors: Any, gradient: Any, noise: Any, probes: Any) -> Any:
            draws = production("psgd.fitting.SliceDraws")(noise, *map(tuple, probes), 0.001)
            rule = production("psgd.fitting.Rule")(row, 0.3, damping=0.01)
            estimates = [jnp.asarray(0.5), jnp.asarray(50.0)]
            return production("psgd.fitting.update_factors")(
                factors, estimates, gradient, None, draws, rule
            )

        return jax.tree.map(np.real, compiled(fit)(*arrays))

    return run


CHECKS = (
    Equivalence(
        name=NAME,
        label="jitted = eager",
        left=_one_leaf(True),
        right=_one_leaf(False),
        budget=4.0,
        condition=10.0,
        reason=AMPLIFIED,
    ),
    Equivalence(
        name=NAME,
        label="two tensors at a time = one by one",
        left=_run(lax_map_scanned_layers=True, lax_map_batch_size=2),
        right=_run(lax_map_scanned_layers=True, lax_map_batch_size=1),
        budget=4.0,
        condition=10.0,
        reason=AMPLIFIED,
    ),
    Equivalence(
        name=NAME,
        label="P kept beside Q = P made anew",
        left=_run(cache_preconditioner=True, max_skew_triangular=4.0),
        right=_run(cache_preconditioner=False, max_skew_triangular=4.0),
        budget=4.0,
        condition=10.0,
        reason=AMPLIFIED,
    ),
    Equivalence(
        name=NAME,
        label="layers of one leaf = leaves, all at once",
        left=_layers(True, lax_map_scanned_layers=True, lax_map_batch_size=3),
        right=_layers(False),
        budget=4.0,
        condition=10.0,
        reason=f"tensors are numbered alike and draw alike; {AMPLIFIED}",
    ),
    Equivalence(
        name=NAME,
        label="layers of one leaf = leaves, EQ",
        left=_layers(True, preconditioner_mode="EQ"),
        right=_layers(False, preconditioner_mode="EQ"),
        budget=4.0,
        condition=10.0,
        reason=f"tensors are numbered alike and draw alike; {AMPLIFIED}",
    ),
    Equivalence(
        name=NAME,
        label="blocks of one leaf = leaves",
        left=_blocks(True),
        right=_blocks(False),
        budget=4.0,
        condition=10.0,
        reason=f"tensors are numbered alike and draw alike; {AMPLIFIED}",
    ),
    Equivalence(
        name=NAME,
        label="with axes of size one = without",
        left=_thin((1, 3, 1, 4)),
        right=_thin((3, 4)),
        budget=0.0,
        reason="the same program but for reshaping: equal bits",
    ),
    Equivalence(
        name=NAME,
        label="eight devices = one",
        left=_sharded(True),
        right=_sharded(False),
        budget=4.0,
        condition=10.0,
        reason="products are summed in another order, amplified",
        needs_devices=8,
    ),
    Equivalence(
        name="psgd.kron.kron",
        label="resumed = uninterrupted",
        left=_resumed(True),
        right=_resumed(False),
        budget=0.0,
        reason="the state holds everything: equal bits",
    ),
    Equivalence(
        name=NAME,
        label="gradients in bfloat16 = the same in float32",
        left=_coarse("bfloat16"),
        right=_coarse("float32"),
        budget=0.0,
        reason="both are worked on in float32: equal bits",
    ),
    *(
        Equivalence(
            name="psgd.fitting.update_factors",
            label=f"complex numbers that are real = real ones, {mode}",
            left=_fitted(mode, "complex128"),
            right=_fitted(mode, "float64"),
            budget=4.0,
            condition=4.0,
            reason="the same numbers; condition numbers of some units",
        )
        for mode in ("Q0.5EQ1.5", "EQ", "QEP", "NS")
    ),
)
