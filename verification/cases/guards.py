"""Checks of the limits on gradients and updates."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from verification.case import Case, Invariant, Sample
from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.problems import tensors
from verification.registry import production

NAME = "guards"


def _updates(rng: np.random.Generator) -> Iterator[Sample]:
    for index, (label, array) in enumerate(tensors(rng, cheap=True)):
        size = float(np.sqrt(np.mean(np.abs(array) ** 2)))
        max_rms, max_abs = ((0.5, 10.0), (2.0, 1.5), (0.4, 0.6))[index % 3]
        yield Sample(label, (array, max_rms * size, max_abs * size))


def _lists(rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
    for scale in (1.0, 1e-20, 1e20):
        yield [np.asarray(scale * rng.standard_normal(shape)) for shape in ((4, 3), (5,), ())]
    yield [rng.standard_normal((3, 2)) + 1j * rng.standard_normal((3, 2)), rng.standard_normal(4)]
    yield [rng.standard_normal(1)]


def _global(rng: np.random.Generator) -> Iterator[Sample]:
    for index, arrays in enumerate(_lists(rng)):
        entries = np.concatenate([np.ravel(array) for array in arrays])
        size = float(np.linalg.norm(entries / np.abs(entries).max()) * np.abs(entries).max())
        size /= np.sqrt(entries.size)
        limits = ((0.5, 10.0), (2.0, 1.2), (0.4, 0.6), (0.7, 1.0), (0.8, 10.0))[index]
        yield Sample(f"list {index}", (arrays, limits[0] * size, limits[1] * size))


def _norms(rng: np.random.Generator) -> Iterator[Sample]:
    for index, arrays in enumerate(_lists(rng)):
        yield Sample(f"list {index}", (arrays,))
    yield Sample("zero", ([np.zeros((4, 3)), np.zeros(5)],))
    # Long enough for one pass, with squares in range, below and above it.
    ones = np.where(rng.random(2**17) < 0.5, -1.0, 1.0)
    for scale in (3.0, 1e-160, 1e160):
        yield Sample(f"long {scale:g}", ([scale * ones],))
    yield Sample("long complex", ([(1 + 2j) * ones],))
    yield Sample("long and another", ([ones, np.full(5, 200.0)],))
    # The squares of all but one are flushed to zero by the CPU, and are together more than the
    # rounding of that one, which alone would be large enough to trust.
    yield Sample("long below one", ([np.append(1.2e-154 * ones, 2e-146)],))


def _long(rng: np.random.Generator) -> Iterator[Sample]:
    for index, arrays in enumerate(_lists(rng)):
        entries = np.concatenate([np.ravel(array) for array in arrays])
        largest = np.abs(entries).max()
        norm = float(np.linalg.norm(entries / largest) * largest)
        for share in (0.3, 2.0):
            yield Sample(f"list {index} limit {share:g}", (arrays, share * norm))
    yield Sample("zero", ([np.zeros((4, 3)), np.zeros(5), np.zeros(())], 1.0))


def _spikes(rng: np.random.Generator) -> Iterator[Sample]:
    del rng
    for norm in (0.5, 1.0, 3.0, 1e20):
        for permissive in (True, False):
            for limit in (0.25, 1.0, 2.5, None):
                label = f"norm {norm:g} limit {limit} permissive {permissive}"
                yield Sample(label, (np.asarray(norm), limit, permissive))
    for norm in (np.inf, np.nan):
        yield Sample(f"norm {norm}", (np.asarray(norm), 1.0, True))


def _over_limit(result: np.ndarray, sample: Sample, eps: float) -> float:
    _, _, max_abs = sample.arguments
    excess = float(np.max(np.abs(result), initial=0.0)) / max_abs - 1
    return max(0.0, excess) / eps


def _large(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return entries on both sides of what can still be squared, and added up."""
    sizes = 10.0 ** np.array([-200.0, 0.0, 150.0, 153.8, 153.9, 154.2, 200.0, 300.0])
    signs = np.where(rng.random(8) < 0.5, -1.0, 1.0)
    angles = np.exp(2j * np.pi * rng.random(8))
    return {"real": sizes * signs, "complex": sizes * angles}


def _limited(rng: np.random.Generator) -> Any:
    import jax
    import jax.numpy as jnp

    limit = production(f"{NAME}.limit_to_squares")()
    return limit.update(jax.tree.map(jnp.asarray, _large(rng)), limit.init({}))[0]


def _cut_at_half_of_the_root(rng: np.random.Generator) -> dict[str, np.ndarray]:
    most = np.sqrt(np.finfo(np.float64).max) / 2
    return {name: g * (most / np.maximum(np.abs(g), most)) for name, g in _large(rng).items()}


def _limits(rng: np.random.Generator) -> Any:
    del rng
    given = production(f"{NAME}.amplitudes")
    return [np.asarray(given(2.0)), np.asarray(given([2.0, 3.0]))]


def _guarded(twice: bool) -> Callable[[np.random.Generator], Any]:
    """Return gradients limited by a guard, or by the same in another without a limit."""

    def run(rng: np.random.Generator) -> Any:
        import optax

        guard = production(f"{NAME}.skip_unsound_steps")
        optimizer = guard(optax.trace(0.5), max_norm=1.0)
        if twice:
            optimizer = guard(optimizer)
        gradients = rng.standard_normal((4, 3))
        return interpreted(optimizer.update)(gradients, optimizer.init(gradients))[0]

    return run


CHECKS = (
    Equivalence(
        name=f"{NAME}.clip_by_global_rms",
        label="limits given as one number or as a list = a pair",
        left=_limits,
        right=lambda rng: [np.asarray([2.0, 10.0]), np.asarray([2.0, 3.0])],
        budget=0.0,
        reason="nothing is computed",
    ),
    Equivalence(
        name=f"{NAME}.spike_scale",
        label="a guard with a limit in one without = by itself",
        left=_guarded(True),
        right=_guarded(False),
        budget=0.0,
        reason="the same operations on the same numbers",
    ),
    Case(
        name=f"{NAME}.clip_by_tensor_rms",
        samples=_updates,
        budget=4.0,
        reason="a sum of squares, a root, a quotient and a product",
        invariants=(
            Invariant("modulus within limit", _over_limit, 2.0, "the limit itself is rounded"),
        ),
    ),
    Case(
        name=f"{NAME}.clip_by_global_rms",
        samples=_global,
        budget=4.0,
        reason="a sum of squares, a root, a quotient and a product",
    ),
    Case(
        name=f"{NAME}.clip_by_global_norm",
        samples=_long,
        budget=4.0,
        reason="a sum of squares, a root, a quotient and a product",
    ),
    Case(name=f"{NAME}.global_norm", samples=_norms, budget=4.0, reason="a sum and a root"),
    Case(name=f"{NAME}.spike_scale", samples=_spikes, budget=1.0, reason="one quotient"),
    Equivalence(
        name=f"{NAME}.limit_to_squares",
        label="modulus within half of the root of the largest number",
        left=_limited,
        right=_cut_at_half_of_the_root,
        budget=4.0,
        reason="a modulus, a quotient and a product",
    ),
)
