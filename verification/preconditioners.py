"""Factors and random numbers of PSGD, carried from one side to the other."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reference.psgd.state import Layout, Structure
from verification import registry
from verification.interpreter import interpreted, interprets
from verification.trajectory import Field

__all__ = ["SEED", "Draws", "Preconditioned", "quickly"]

SEED = 7
# Steps whose numbers are drawn at once.
CHUNK = 100
STRUCTURE = {
    "max_size_triangular": 8192,
    "max_skew_triangular": 1.0,
    "min_ndim_triangular": 2,
    "memory_save_mode": None,
    "scanned_layers": (),
    "merge_small_dims": None,
    "partition_large_dims": None,
}
FACTORS, ESTIMATES, NORMALS = "Qs_preconditioners", "Ls_lipschitz", "Ps_preconditioners"

Slices = tuple[tuple[tuple[int, ...], tuple[bool, ...], bool], ...]


def layout_of(params: Mapping[str, Any], options: Mapping[str, Any]) -> Layout:
    """Return the slices of a problem, as the reference numbers them."""
    chosen: dict[str, Any] = {
        name: options.get(name) or default for name, default in STRUCTURE.items()
    }
    chosen["scanned_layers"] = frozenset(chosen["scanned_layers"])
    return Layout(dict(params), Structure(**chosen))


class Draws:
    """The numbers that production draws in a step, for the reference."""

    def __init__(self, slices: Slices, mode: str, noisy: bool):
        """Keep what there is to draw.

        Args:
            slices: (shape, dense axes, whether complex) of every slice.
            mode: Name of the geometry.
            noisy: Whether gradients are damped.
        """
        self._kind = (slices, mode, noisy)

    def __call__(self, count: int) -> Any:
        """Return the draws of a step."""
        wide = bool(jax.config.read("jax_enable_x64"))
        draw = registry.production("psgd.draws.draw_step")
        slices, mode, noisy = self._kind
        row = registry.production("psgd.geometry.geometry")(mode)
        kind = (row.basis == "whitened", row.rotates)
        chunk = _drawn(draw, slices, kind, noisy, wide, interprets(), count // CHUNK)
        return jax.tree.map(lambda array: array[count % CHUNK], chunk)


@cache
def _drawn(
    draw: Callable[..., Any],
    slices: Slices,
    kind: tuple[bool, bool],
    noisy: bool,
    wide: bool,
    interprets: bool,
    chunk: int,
) -> Any:
    # All rows of a kind draw alike: those with a probe of their own, and those that rotate.
    table: Any = registry.production("psgd.geometry.GEOMETRIES")
    row = next(row for row in table.values() if (row.basis == "whitened", row.rotates) == kind)
    item = registry.production("psgd.draws.DrawnSlice")
    real, paired = ("float64", "complex128") if wide else ("float32", "complex64")
    items = [item(shape, dense, paired if pair else real) for shape, dense, pair in slices]
    counts = jnp.arange(chunk * CHUNK, (chunk + 1) * CHUNK)
    key = jax.random.PRNGKey(SEED)
    together = jax.vmap(lambda count: draw(key, count, items, row, noisy))
    return jax.tree.map(np.asarray, quickly(together, interprets)(counts))


def quickly(function: Callable[..., Any], interprets: bool) -> Callable[..., Any]:
    """Return a function that is used a few times only, where compiling takes longest."""
    if interprets:
        return interpreted(function)
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


class Preconditioned:
    """An optimizer with Kronecker factors on both sides, with the same options and numbers."""

    def __init__(self, params: Mapping[str, Any], *positional: Any, **options: Any):
        """Keep the options.

        Args:
            params: Of the problem.
            positional: Arguments by position, of both.
            options: Of both; a dictionary `only` is of production alone.
        """
        self._only = options.pop("only", {})
        self._positional, self._options = positional, options
        self._params = dict(params)
        self._layout = layout_of(params, options)

    def build(self, factory: Callable[..., Any], is_production: bool) -> Any:
        """Return the optimizer of one side, see `Trajectory`."""
        options = self._options
        scanned = options.get("scanned_layers")
        if is_production:
            flags = {} if scanned is None else {name: name in scanned for name in self._params}
            structure = {"scanned_layers": flags} if flags else {}
            return factory(*self._positional, **{**options, **structure, **self._only}, key=SEED)
        mode = options.get("preconditioner_mode", "Q0.5EQ1.5")
        noisy = options.get("damping", 1e-9) is not None
        slices = tuple(
            (block.shape, block.dense, bool(np.issubdtype(dtype, np.complexfloating)))
            for block, dtype in self._layout.blocks()
        )
        return factory(*self._positional, **options, draws=Draws(slices, mode, noisy))

    def fields(self, condition: float = 1.0, prefix: str = "") -> tuple[Field, ...]:
        """Return the fields of the preconditioner.

        Args:
            condition: Of the factors, see `Field`.
            prefix: Of their names in the reference's state.
        """
        kept = [self._stacked(prefix, FACTORS, condition)]
        if self._options.get("track_lipschitz", True):
            kept.append(self._stacked(prefix, ESTIMATES, 1.0))
        if self._options.get("preconditioner_init_scale") is None:
            kept.append(Field(f"{prefix}needs_scale_init", _pending, _set_pending))
        return tuple(kept)

    def _kinds(self) -> list[list[int]]:
        """Return the numbers of the slices in each stack of production.

        Slices of one shape, with factors of one kind, are in one stack: leaf by leaf, block by
        block, layer by layer.
        """
        kinds: dict[Any, list[int]] = {}
        first = 0
        for leaf in self._layout.leaves:
            count = len(leaf.blocks)
            for index, block in enumerate(leaf.blocks):
                numbers = [first + layer * count + index for layer in range(leaf.layers)]
                kinds.setdefault((block.shape, block.dense, leaf.dtype), []).extend(numbers)
            first += count * leaf.layers
        return list(kinds.values())

    def _stacked(self, prefix: str, name: str, condition: float) -> Field:
        """Return a field that production keeps in stacks."""

        def read(state: Any, params: Any, updates: Any) -> Any:
            del params, updates
            found: dict[int, list[np.ndarray]] = {}
            for numbers, axes in zip(self._kinds(), _flat(_found(state, name)), strict=True):
                arrays = [np.asarray(axis) for axis in axes]
                for row, number in enumerate(numbers):
                    found[number] = [array[row] for array in arrays]
            return self._layout.pack([found[number] for number in sorted(found)])

        def write(state: Any, value: Mapping[str, Any]) -> Any:
            slices = self._layout.unpack(dict(value))
            state = self._replaced(state, name, slices)
            if name == FACTORS:
                # What is kept beside Q belongs to it.
                squares = [[_squared(np.asarray(q)) for q in factors] for factors in slices]
                state = self._replaced(state, NORMALS, squares)
            return state

        return Field(prefix + name, read, write, lambda leaf: condition)

    def _replaced(self, state: Any, name: str, slices: Sequence[Sequence[np.ndarray]]) -> Any:
        kinds = iter(self._kinds())
        tree = _found(state, name)
        stacks = {
            leaf: [self._filled(axes, next(kinds), slices) for axes in tree[leaf]]
            for leaf in sorted(tree)
        }
        return _with(state, name, stacks)

    @staticmethod
    def _filled(
        axes: Sequence[Any], numbers: Sequence[int], slices: Sequence[Sequence[np.ndarray]]
    ) -> list[Any]:
        return [
            None if old is None else jnp.asarray(_stack(slices, numbers, axis), old.dtype)
            for axis, old in enumerate(axes)
        ]


def _flat(tree: Mapping[str, Any]) -> list[Any]:
    """Return what is kept of every kind, each at the leaf that has the first of it."""
    return [axes for leaf in sorted(tree) for axes in tree[leaf]]


def _found(state: Any, name: str) -> Any:
    """Return the field of that name in a state of nested tuples; None if there is none."""
    if not isinstance(state, tuple):
        return None
    if hasattr(state, name):
        return getattr(state, name)
    inside = (_found(part, name) for part in state)
    return next((value for value in inside if value is not None), None)


def _with(state: Any, name: str, value: Any) -> Any:
    """Return a state with another value in the field of that name."""
    if not isinstance(state, tuple):
        return state
    named: Any = state
    if hasattr(named, "_fields"):
        fields = {field: _with(getattr(named, field), name, value) for field in named._fields}
        return named._replace(**{**fields, name: value} if name in fields else fields)
    return tuple(_with(part, name, value) for part in state)


def _stack(slices: Sequence[Sequence[np.ndarray]], numbers: Sequence[int], axis: int) -> np.ndarray:
    return np.stack([slices[number][axis] for number in numbers])


def _squared(q: np.ndarray) -> np.ndarray:
    return q.conj().T @ q if q.ndim > 1 else q


def _pending(state: Any, params: Any, updates: Any) -> Any:
    del params, updates
    return float(_found(state, "needs_scale_init"))


def _set_pending(state: Any, value: Any) -> Any:
    return _with(state, "needs_scale_init", jnp.asarray(bool(value)))
