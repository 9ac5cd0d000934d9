"""The factors of all preconditioners of a tree: where they are kept, and how all of them move.

A slice is one layer of one block of one leaf. Slices are numbered leaf by leaf (names sorted),
within a leaf layer by layer, within a layer block by block.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from reference.optimizer import Leaves, State, keeps_dtype, value_at
from reference.psgd.fitting import (
    Rule,
    SliceDraws,
    newton_scale,
    second_moment_scale,
    update_factors,
    whitening_scale,
)
from reference.psgd.geometry import Geometry
from reference.psgd.plan import block_slices, dense_axes, matrix_view, view_shape

__all__: list[str] = []

Number = float | Callable[[int], float]
# Per slice one array per axis.
Factors = list[list[np.ndarray]]

# The number of vectors with which psgd_torch bounds a norm.
_PROBES = 32


class Table:
    """The rows of an option."""

    def __init__(self, option: str, rows: dict[str, Any]):
        self.option = option
        self.rows = rows

    def row(self, name: str) -> Any:
        """Return a row by its name; an error lists all names."""
        if name not in self.rows:
            names = ", ".join(repr(known) for known in self.rows)
            raise ValueError(f"{self.option} is {name!r}; allowed are {names}")
        return self.rows[name]


class StepDraws(NamedTuple):
    """The random numbers of one step.

    Attributes:
        decision: uniform in [0, 1); the preconditioner is fitted below the probability.
        slices: those of each slice, in the order of the slices.
    """

    decision: float
    slices: Sequence[SliceDraws]


class Structure(NamedTuple):
    """Which slices there are and which of their axes have dense factors.

    Attributes are options of `psgd.kron.scale_by_kron`, and `matricize` of
    `psgd.affine.scale_by_affine`.
    """

    max_size_triangular: float
    max_skew_triangular: float
    min_ndim_triangular: int
    memory_save_mode: str | None
    scanned_layers: frozenset[str]
    merge_small_dims: int | None
    partition_large_dims: int | None
    matricize: bool = False


class Block(NamedTuple):
    """One block of a leaf: where it lies in the view, its squeezed shape, its dense axes."""

    ranges: tuple[slice, ...]
    shape: tuple[int, ...]
    dense: tuple[bool, ...]


class Leaf:
    """The blocks of one leaf, and its layers if it is scanned."""

    def __init__(self, name: str, array: np.ndarray, structure: Structure):
        self.name = name
        self.shape = array.shape
        self.dtype = array.dtype
        self.scanned = name in structure.scanned_layers
        if self.scanned and not self.shape:
            raise ValueError(f"scanned_layers names {name!r}, which has no axis of layers")
        self.layers = self.shape[0] if self.scanned else 1
        self.axes = view_shape(self.shape[self.scanned :], structure.merge_small_dims)
        self.order = tuple(range(len(self.axes)))
        self.view = self.axes
        if structure.matricize and len(self.axes) > 2:
            self.order, *view = matrix_view(self.axes)
            self.view = tuple(view)
        self.blocks: list[Block] = []
        if array.size:
            for ranges in block_slices(self.view, structure.partition_large_dims):
                # The last piece of an axis may be a single entry.
                shape = view_shape(tuple(stop - start for start, stop in ranges))
                dense = dense_axes(
                    shape,
                    structure.max_size_triangular,
                    structure.max_skew_triangular,
                    structure.min_ndim_triangular,
                    structure.memory_save_mode,
                )
                self.blocks.append(Block(tuple(slice(*pair) for pair in ranges), shape, dense))

    def split(self, array: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the slices of an array of this shape."""
        for layer in array.reshape(self.layers, *self.axes):
            layer = layer.transpose(self.order).reshape(self.view)
            for block in self.blocks:
                yield layer[block.ranges].reshape(block.shape)

    def join(self, slices: Iterator[np.ndarray]) -> np.ndarray:
        """Return the array whose slices are the next ones."""
        array = np.zeros((self.layers, *self.view), self.dtype)
        for layer in array:
            for block in self.blocks:
                layer[block.ranges] = next(slices).reshape(layer[block.ranges].shape)
        moved = [self.axes[axis] for axis in self.order]
        back = [0, *(1 + self.order.index(axis) for axis in range(len(self.order)))]
        return array.reshape(self.layers, *moved).transpose(back).reshape(self.shape)

    def keys(self, block: int) -> list[str]:
        """Return where the state holds the factors of a block."""
        axes = range(len(self.blocks[block].shape))
        return [f"{self.name}/{block}/{axis}" for axis in axes]


class Layout:
    """All slices of a tree."""

    def __init__(self, leaves: Leaves, structure: Structure):
        unknown = sorted(structure.scanned_layers - set(leaves))
        if unknown:
            raise ValueError(f"scanned_layers names {unknown}; the leaves are {sorted(leaves)}")
        self.leaves = [Leaf(name, leaves[name], structure) for name in sorted(leaves)]

    def blocks(self) -> list[tuple[Block, np.dtype]]:
        """Return block and dtype of every slice."""
        return [
            (block, leaf.dtype)
            for leaf in self.leaves
            for _ in range(leaf.layers)
            for block in leaf.blocks
        ]

    def split(self, tree: Leaves) -> list[np.ndarray]:
        """Return all slices of a tree."""
        return [part for leaf in self.leaves for part in leaf.split(tree[leaf.name])]

    def join(self, slices: Sequence[np.ndarray]) -> Leaves:
        """Return the tree of all slices."""
        rest = iter(slices)
        return {leaf.name: leaf.join(rest) for leaf in self.leaves}

    def pack(self, values: Sequence[Sequence[np.ndarray]]) -> Leaves:
        """Return one array per leaf, block and axis from a list per slice.

        The arrays of a scanned leaf have its layers as their first axis.
        """
        rest, packed = iter(values), {}
        for leaf in self.leaves:
            layers = [[next(rest) for _ in leaf.blocks] for _ in range(leaf.layers)]
            for number in range(len(leaf.blocks)):
                for axis, key in enumerate(leaf.keys(number)):
                    arrays = [layer[number][axis] for layer in layers]
                    packed[key] = np.stack(arrays) if leaf.scanned else arrays[0]
        return packed

    def unpack(self, packed: Leaves) -> list[list[np.ndarray]]:
        """Return the list per slice of what `pack` made."""
        values = []
        for leaf in self.leaves:
            for layer in range(leaf.layers):
                for number in range(len(leaf.blocks)):
                    arrays = [packed[key] for key in leaf.keys(number)]
                    values.append([np.asarray(a[layer]) if leaf.scanned else a for a in arrays])
        return values

    def identity(self) -> list[list[np.ndarray]]:
        """Return the factors of the identity, dense ones of the dtype of the leaf, others real."""
        return [
            [
                np.eye(n, dtype=dtype) if dense else np.ones(n, _real(dtype))
                for n, dense in zip(block.shape, block.dense, strict=True)
            ]
            for block, dtype in self.blocks()
        ]

    def zero_lipschitz(self) -> list[list[np.ndarray]]:
        """Return a zero per factor, without axes."""
        return [[np.zeros((), _real(dtype)) for _ in block.shape] for block, dtype in self.blocks()]

    def draw(self, seed: int, count: int) -> StepDraws:
        """Draw the random numbers of step `count`."""
        generator = np.random.default_rng([seed, count])
        decision = generator.random()
        return StepDraws(decision, [_draw(generator, *entry) for entry in self.blocks()])


class Inputs(NamedTuple):
    """What a fit reads, as slices.

    Attributes:
        fitted: what Q is fitted to: gradients, momentum or Hessian-vector products.
        vector: the vectors of those products; None in a whitening fit.
        decided: whether to fit.
        ready: whether a pending scale can be computed.
    """

    fitted: list[np.ndarray]
    vector: list[np.ndarray] | None
    decided: bool
    ready: bool


def _fourth_moment_scale(vectors, fitted, damping):
    if vectors is None:
        return whitening_scale(fitted, damping)
    return newton_scale(vectors, fitted, damping)


def _second_moment_scale(vectors, fitted, damping):
    return second_moment_scale(vectors, fitted)


MOMENTS = Table("precond_init_moment", {"4th": _fourth_moment_scale, "2nd": _second_moment_scale})
# Whether norms are exact.
NORMS = Table("norm", {"bound": False, "exact": True})


class Fit(NamedTuple):
    """The options of the fit, and the fit of all slices.

    Attributes:
        normalizer: see `fitting.Rule`.
        moment: a row of `MOMENTS`, which a pending scale is taken by.
    """

    geometry: Geometry
    learning_rate: Number
    beta: float
    damping: float | None
    tracks_lipschitz: bool
    exact_norm: bool
    normalizer: str = "2nd"
    moment: Callable = _fourth_moment_scale

    def rescaled(self, factors: Factors, scale: float) -> Factors:
        """Multiply every Q by s: each factor by s^(1/k), or s^(2/k) if it is a factor of P."""
        power = 2 if self.geometry.basis == "direct" else 1
        return [[_scaled(q, scale ** (power / len(qs))) for q in qs] for qs in factors]

    def advance(
        self, state: State, layout: Layout, inputs: Inputs, drawn: StepDraws
    ) -> tuple[State, Factors, Factors]:
        """Scale the factors at the first chance, then fit them if that is decided.

        Returns:
            The changed fields of the state, the factors before the fit and those after it.
        """
        factors = layout.unpack(state["Qs_preconditioners"])
        lipschitz = layout.unpack(state["Ls_lipschitz"])
        pending = state["needs_scale_init"]
        if pending and inputs.ready:
            scale = self.moment(inputs.vector, inputs.fitted, self.damping)
            factors = self.rescaled(factors, float(scale))
            pending = False
        before = factors
        if inputs.decided and not pending:
            rate = value_at(self.learning_rate, state["count"])
            factors, lipschitz = self._moved(factors, lipschitz, inputs, drawn, rate)
        fields = {
            "Qs_preconditioners": layout.pack(factors),
            "Ls_lipschitz": layout.pack(lipschitz),
            "needs_scale_init": pending,
        }
        return fields, before, factors

    def _moved(
        self, factors: Factors, lipschitz: Factors, inputs: Inputs, drawn: StepDraws, rate: float
    ) -> tuple[Factors, Factors]:
        rule = Rule(
            self.geometry,
            rate,
            self.beta,
            self.damping,
            self.tracks_lipschitz,
            inputs.vector is not None,
            self.normalizer,
        )
        vectors = inputs.vector if inputs.vector is not None else [None] * len(factors)
        moved, tracked = [], []
        parts = zip(factors, lipschitz, inputs.fitted, vectors, drawn.slices, strict=True)
        for qs, ls, gradient, vector, draws in parts:
            if self.exact_norm:
                none = (None,) * len(qs)
                draws = draws._replace(norm_probes=none, rotation_probes=none)
            new_qs, new_ls = update_factors(qs, ls, gradient, vector, draws, rule)
            moved.append(new_qs)
            tracked.append(new_ls)
        return moved, tracked


@keeps_dtype
def _scaled(array: np.ndarray, scale: float) -> np.ndarray:
    return array * scale


def _real(dtype: np.dtype) -> np.dtype:
    return np.abs(np.zeros((), dtype)).dtype


def _normal(generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    real = generator.standard_normal(shape)
    if np.issubdtype(dtype, np.complexfloating):
        real = (real + 1j * generator.standard_normal(shape)) / np.sqrt(2)
    return real.astype(dtype)


def _draw(generator: np.random.Generator, block: Block, dtype: np.dtype) -> SliceDraws:
    noise = _normal(generator, block.shape, dtype)
    norm, rotation = (
        tuple(
            _normal(generator, (_PROBES, n), dtype) if dense else None
            for n, dense in zip(block.shape, block.dense, strict=True)
        )
        for _ in range(2)
    )
    return SliceDraws(noise, norm, rotation, generator.random())
