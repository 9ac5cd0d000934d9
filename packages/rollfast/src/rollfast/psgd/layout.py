"""Which tensors there are, with which factors, and which of them are alike.

A layout follows from shapes, dtypes and options alone; `init` and `update` derive the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from rollfast.psgd.draws import DrawnSlice
from rollfast.psgd.options import Structure
from rollfast.psgd.plan import block_slices, dense_axes, matrix_view, view_shape
from rollfast.trees.batching import group_by
from rollfast.trees.precision import storage_dtype
from rollfast.typing import Array, DTypeLike, PyTree, accumulator_dtype, is_absent

__all__ = ["Block", "Bucket", "LeafLayout", "buckets", "layout_of", "scanned_flags"]


@dataclass(frozen=True)
class Block:
    """A part of a leaf that one Kronecker product preconditions.

    Attributes:
        shape: Its shape.
        dense: Which axes have a dense factor.
        places: (start, stop) on every axis of the leaf's view.
    """

    shape: tuple[int, ...]
    dense: tuple[bool, ...]
    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LeafLayout:
    """One leaf as layers of blocks.

    Attributes:
        shape: Shape of the leaf.
        dtype: Dtype of its sums.
        scanned: Whether the first axis runs over layers.
        view: Shape of a layer, without axes of size one, small ones merged.
        axes: Sizes of the axes of a layer before some of them make the rows and the others the
            columns of a matrix, and their order then; None where the view is no such matrix.
        blocks: Parts of a layer.
        first: Number of its first tensor; they are counted layer by layer, block by block.
    """

    shape: tuple[int, ...]
    dtype: DTypeLike
    scanned: bool
    view: tuple[int, ...]
    blocks: tuple[Block, ...]
    first: int
    axes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @property
    def layers(self) -> int:
        """Number of layers, one of a leaf that is not scanned."""
        return self.shape[0] if self.scanned else 1

    @property
    def tensors(self) -> int:
        """Number of tensors, none of an empty leaf."""
        return self.layers * len(self.blocks)

    def split(self, leaf: Array) -> list[Array]:
        """Return the blocks of a leaf, each (layers, …)."""
        layers = self._viewed(leaf)
        if len(self.blocks) == 1:
            return [layers]
        every = slice(None)
        return [
            layers[(every, *(slice(start, stop) for start, stop in block.places))].reshape(
                self.layers, *block.shape
            )
            for block in self.blocks
        ]

    def join(self, blocks: Sequence[Array]) -> Array:
        """Undo `split`."""
        if len(self.blocks) == 1:
            return self._unviewed(blocks[0])
        layers = jnp.zeros((self.layers, *self.view), blocks[0].dtype)
        for block, part in zip(self.blocks, blocks, strict=True):
            starts = [start for start, _ in block.places]
            sizes = [stop - start for start, stop in block.places]
            piece = part.reshape(self.layers, *sizes)
            layers = jax.lax.dynamic_update_slice(layers, piece, (0, *starts))
        return self._unviewed(layers)

    def _viewed(self, leaf: Array) -> Array:
        if self.axes is not None:
            sizes, order = self.axes
            leaf = leaf.reshape(self.layers, *sizes).transpose(0, *(1 + axis for axis in order))
        return leaf.reshape(self.layers, *self.view)

    def _unviewed(self, layers: Array) -> Array:
        if self.axes is not None:
            sizes, order = self.axes
            back = sorted(range(len(order)), key=order.__getitem__)
            layers = layers.reshape(self.layers, *(sizes[axis] for axis in order))
            layers = layers.transpose(0, *(1 + axis for axis in back))
        return layers.reshape(self.shape)

    def numbers(self, block: int) -> list[int]:
        """Return the numbers of the tensors of a block, layer by layer."""
        return [self.first + layer * len(self.blocks) + block for layer in range(self.layers)]


def layout_of(
    leaves: Sequence[Array], scanned: Sequence[bool], structure: Structure
) -> list[LeafLayout]:
    """Return the layout of all leaves.

    Args:
        leaves: Arrays, or anything with a shape and a dtype.
        scanned: Which of them run over layers on their first axis.
        structure: Which factors a tensor gets.
    """
    layouts, first = [], 0
    for leaf, over_layers in zip(leaves, scanned, strict=True):
        shape = tuple(leaf.shape)
        view = view_shape(shape[1:] if over_layers else shape, structure.merge_limit)
        axes = None
        if structure.matricize and len(view) > 2:
            order, *sides = matrix_view(view)
            axes, view = (view, order), tuple(sides)
        blocks = () if 0 in shape else _blocks(view, structure)
        dtype = accumulator_dtype(leaf.dtype)
        layouts.append(LeafLayout(shape, dtype, over_layers, view, blocks, first, axes))
        first += layouts[-1].tensors
    return layouts


def _blocks(view: tuple[int, ...], structure: Structure) -> tuple[Block, ...]:
    blocks = []
    for places in block_slices(view, structure.block_size):
        # The last piece of an axis may be a single entry.
        shape = view_shape([stop - start for start, stop in places])
        dense = dense_axes(
            shape,
            structure.max_size,
            structure.max_skew,
            structure.min_ndim,
            structure.memory_save_mode,
        )
        blocks.append(Block(shape, dense, places))
    return tuple(blocks)


@dataclass(frozen=True)
class Bucket:
    """Tensors of one shape, with factors of one kind.

    Attributes:
        item: What there is to draw for each.
        entries: (leaf, block) of its members, each of one or more layers.
        layers: Number of layers of every entry.
        numbers: Numbers of all its tensors.
    """

    item: DrawnSlice
    entries: tuple[tuple[int, int], ...]
    layers: tuple[int, ...]
    numbers: tuple[int, ...] = field(repr=False)

    def parts(self, leaves: Sequence[Array], layouts: Sequence[LeafLayout]) -> list[Array]:
        """Return the tensors, those of a leaf in one stack."""
        return [layouts[leaf].split(leaves[leaf])[block] for leaf, block in self.entries]

    def factor_dtype(self, dense: bool, kept: DTypeLike | None) -> jnp.dtype:
        """Return the dtype in which a factor is kept; a diagonal is real."""
        wanted = self.item.dtype if kept is None else kept
        if not dense:
            return jnp.finfo(wanted).dtype
        return storage_dtype(self.item.dtype, wanted)


def buckets(layouts: Sequence[LeafLayout]) -> list[Bucket]:
    """Group all tensors by shape, factors and dtype."""
    entries = [
        (leaf, block) for leaf, one in enumerate(layouts) for block in range(len(one.blocks))
    ]
    kinds = []
    for leaf, index in entries:
        block = layouts[leaf].blocks[index]
        kinds.append(DrawnSlice(block.shape, block.dense, jnp.dtype(layouts[leaf].dtype)))
    groups = []
    for positions in group_by(kinds):
        members = tuple(entries[position] for position in positions)
        numbers = [number for leaf, block in members for number in layouts[leaf].numbers(block)]
        layers = tuple(layouts[leaf].layers for leaf, _ in members)
        groups.append(Bucket(kinds[positions[0]], members, layers, tuple(numbers)))
    return groups


def scanned_flags(scanned_layers: PyTree | None, tree: PyTree) -> list[bool]:
    """Say of every leaf whether its first axis runs over layers.

    Args:
        scanned_layers: Tree of booleans, whole or a prefix of the other; None for no leaf.
        tree: Parameters or gradients; leaves that are masked out of it are passed over.

    Raises:
        ValueError: A leaf without axes is said to be scanned, a flag is no boolean, or is for
            a place that the tree does not have.
    """
    flagged = dict(jax.tree_util.tree_flatten_with_path(scanned_layers)[0])
    _check_flags(flagged, tree)
    flags = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        given = [flagged[path[:end]] for end in range(len(path) + 1) if path[:end] in flagged]
        flag = bool(given[0]) if given else False
        if flag and leaf.ndim == 0:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"scanned_layers{name}=True is not allowed; params{name} has no axis of layers."
            )
        flags.append(flag)
    return flags


def _check_flags(flagged: dict[tuple[Any, ...], Any], tree: PyTree) -> None:
    """Refuse what would be overlooked: a flag that is not one, or that belongs to nothing."""
    nodes = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_absent)[0]
    for place, flag in flagged.items():
        name = f"scanned_layers{jax.tree_util.keystr(place)}"
        if not isinstance(flag, bool) and getattr(flag, "dtype", None) != jnp.bool_:
            raise ValueError(f"{name}={flag!r} is not allowed; it must be True or False.")
        # What is masked out may have been a tree, with flags inside.
        if place and not any(
            path[: len(place)] == place or (is_absent(node) and place[: len(path)] == path)
            for path, node in nodes
        ):
            raise ValueError(f"{name} is not allowed; the parameters have no such place.")
