"""Limits and steps of what is spread over a mapped axis, evaluated without compiling."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.registry import production, reference

__all__ = ["CHECKS"]

NAME = "guards.clip_by_global_rms"
LIMITS = (0.4, 1.1)
KRON = "psgd.kron.scale_by_kron"
# Multiples whose squares have the mean one.
PARTS = (0.6 * 2**0.5, -0.8 * 2**0.5)
OPTIMIZERS = {
    "prism.prism.prism": (0.1,),
    "prism.prism.scale_by_prism": (),
    "psgd.kron.kron": (0.1,),
    KRON: (),
}


def _whole(rng: np.random.Generator) -> Any:
    arrays = [rng.standard_normal((6, 4)), rng.standard_normal((2, 5))]
    return interpreted(lambda x: production(NAME)(x, *LIMITS))(arrays)


def _shards(rng: np.random.Generator) -> Any:
    import jax

    arrays = [rng.standard_normal((6, 4)), rng.standard_normal((2, 5))]
    cut = [array.reshape(2, -1, array.shape[1]) for array in arrays]
    limited = jax.vmap(lambda x: production(NAME)(x, *LIMITS, "shards"), axis_name="shards")
    found = interpreted(limited)(cut)
    return [one.reshape(array.shape) for one, array in zip(found, arrays, strict=True)]


def _on_devices(name: str, spoiled: bool) -> Callable[[np.random.Generator], Any]:
    """Return the updates of two devices, of which one may have had a step that is no number."""

    def run(rng: np.random.Generator) -> Any:
        import jax

        optimizer = production(name)(*OPTIMIZERS[name], axis_name="devices")
        first = {"w": rng.standard_normal((2, 3, 4))}
        spoil = {"w": np.stack([np.full((3, 4), np.nan), first["w"][1]])}
        state = jax.vmap(optimizer.init)(first)
        update = interpreted(jax.vmap(optimizer.update, axis_name="devices"))
        for gradients in [spoil, first] if spoiled else [first]:
            updates, state = update(gradients, state, gradients)
        return updates

    return run


def _parts(rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """Return some gradients, of which devices have multiples."""
    return [
        {"a": rng.standard_normal((3, 4)), "b": rng.standard_normal(5)} for _ in range(len(PARTS))
    ]


def _kron(mode: str, scale: float | None, axis: str | None) -> Any:
    """Return Kron with gradients as they are: no mean, noise or limit."""
    return production(KRON)(
        b1=0.0,
        damping=None,
        grad_clip_max_amps=None,
        preconditioner_mode=mode,
        preconditioner_init_scale=scale,
        preconditioner_lr=0.5,
        axis_name=axis,
        key=7,
    )


def _multiples(mode: str) -> Callable[[np.random.Generator], Any]:
    """Return Q, L and P g of each device, of which each has a multiple of a gradient."""

    def run(rng: np.random.Generator) -> Any:
        import jax

        optimizer, found = _kron(mode, None, "devices"), []
        stream = [
            {leaf: np.multiply.outer(PARTS, array) for leaf, array in gradients.items()}
            for gradients in _parts(rng)
        ]
        state = jax.vmap(optimizer.init)(stream[0])
        update = interpreted(jax.vmap(optimizer.update, axis_name="devices"))
        for gradients in stream:
            updates, state = update(gradients, state, gradients)
            factors = jax.tree.leaves([state.Qs_preconditioners, state.Ls_lipschitz])
            for device, part in enumerate(PARTS):
                direction = {leaf: array[device] / part for leaf, array in updates.items()}
                found.append(([factor[device] for factor in factors], direction))
        return found

    return run


def _mean(mode: str) -> Callable[[np.random.Generator], Any]:
    """Return the same of one device with the gradient, and the mean of all scales at the start."""

    def run(rng: np.random.Generator) -> Any:
        import jax

        stream, found = _parts(rng), []
        first = list(stream[0].values())
        scales = [
            reference("psgd.fitting.whitening_scale")([part * array for array in first], None)
            for part in PARTS
        ]
        optimizer = _kron(mode, float(np.mean(scales)), None)
        state, update = optimizer.init(stream[0]), interpreted(optimizer.update)
        for gradients in stream:
            updates, state = update(gradients, state, gradients)
            factors = jax.tree.leaves([state.Qs_preconditioners, state.Ls_lipschitz])
            found += [(factors, updates)] * len(PARTS)
        return found

    return run


CHECKS = (
    *(
        Equivalence(
            name=KRON,
            label=f"devices with multiples of a gradient = the gradient, {mode}",
            left=_multiples(mode),
            right=_mean(mode),
            budget=4.0,
            condition=10.0,
            reason="a mean of multiples of a Gram matrix; amplified by some tens",
        )
        for mode in ("Q0.5EQ1.5", "EQ")
    ),
    *(
        Equivalence(
            name=name,
            label="a step that is no number on one device = no step on any",
            left=_on_devices(name, True),
            right=_on_devices(name, False),
            budget=0.0,
            reason="a skipped step leaves the state as it was",
        )
        for name in OPTIMIZERS
    ),
    Equivalence(
        name=NAME,
        label="shards of an axis = the whole",
        left=_shards,
        right=_whole,
        budget=4.0,
        reason="squares are summed in another order",
    ),
)
