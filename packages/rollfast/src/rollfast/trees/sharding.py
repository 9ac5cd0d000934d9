"""Work on arrays whose shardings are part of their types."""

import contextlib
import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding

from rollfast.typing import Array, PyTree

__all__ = ["equally_varying", "is_on_explicit_axes", "on_automatic_axes"]


def on_automatic_axes(
    function: Callable[..., PyTree], arguments: tuple[PyTree, ...], like: PyTree
) -> PyTree:
    """Return what a function makes of its arguments, with shardings that the compiler chooses.

    On axes of a mesh that are `AxisType.Explicit`, as `jax.make_mesh` makes them, JAX refuses what
    has more than one sharding to choose from, such as a product over a sharded axis.

    A function that reads numbers on such axes which are not among its arguments is left to JAX.

    Args:
        function: Of trees to a tree.
        arguments: What it is called with.
        like: A tree of the structure of the result, whose shardings the result has where an
            argument is on such axes.
    """
    leaves, structure = jax.tree.flatten(arguments)
    arrays = {place: leaf for place, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)}
    explicit = [leaf for leaf in arrays.values() if is_on_explicit_axes(leaf)]
    # The oldest JAX allowed has no such function, and makes no such axes unless asked to.
    if not explicit or not hasattr(jax.sharding, "auto_axes"):
        return function(*arguments)
    mesh = jax.typeof(explicit[0]).sharding.mesh

    def of_arrays(arrays: dict[int, Array]) -> PyTree:
        given = [arrays.get(place, leaf) for place, leaf in enumerate(leaves)]
        return function(*jax.tree.unflatten(structure, given))

    shardings = jax.tree.map(lambda leaf: NamedSharding(mesh, jax.typeof(leaf).sharding.spec), like)
    automatic = jax.sharding.auto_axes(of_arrays, axes=_explicit_axes(mesh), out_sharding=shardings)
    with _entered(arrays.values()):
        try:
            return automatic(arrays)
        except ValueError:
            # A traced number that is no argument stays on its axes, and goes with nothing that is
            # not. An error of the function's own comes again, with this one as its context.
            return jax.tree.map(jax.sharding.reshard, function(*arguments), shardings)


def equally_varying(trees: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
    """Return trees of which every array may differ among devices wherever one of them may.

    Inside of `jax.shard_map` it is part of an array's type over which mapped axes its values vary,
    and two branches must return the same types.

    Args:
        trees: Of arrays; other leaves do not count, and stay.
    """
    if not _is_mapped():
        return trees
    leaves, structure = jax.tree.flatten(trees)
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
    varying = [jnp.any(jnp.zeros_like(array, dtype=bool)) for array in arrays]
    true = functools.reduce(jnp.logical_or, varying, jnp.asarray(True))
    return structure.unflatten(
        jnp.where(true, leaf, leaf) if isinstance(leaf, jax.Array) else leaf for leaf in leaves
    )


def _is_mapped() -> bool:
    """Say whether this is inside of `jax.shard_map`; of the oldest JAX, which has none, False."""
    current = getattr(jax.sharding, "get_abstract_mesh", None)
    return current is not None and AxisType.Manual in current().axis_types


def is_on_explicit_axes(leaf: object) -> bool:
    """Say whether a leaf is an array on a mesh with axes that are `AxisType.Explicit`."""
    return isinstance(leaf, jax.Array) and bool(_explicit_axes(jax.typeof(leaf).sharding.mesh))


def _explicit_axes(mesh: AbstractMesh) -> tuple[str, ...]:
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, kind in kinds if kind == AxisType.Explicit)


def _entered(arrays: Iterable[Array]) -> contextlib.AbstractContextManager[object]:
    """Enter the mesh of arrays that have values, where none is entered.

    Outside of `jax.jit` a part that is compiled by itself does not know where to run if all that it
    is given is on one device, as a counter is that `init` has made.
    """
    arrays = list(arrays)
    entered = jax.sharding.get_abstract_mesh().axis_names
    traced = any(isinstance(array, jax.core.Tracer) for array in [*arrays, jnp.zeros([])])
    shardings = [] if entered or traced else [array.sharding for array in arrays]
    meshes = [sharding.mesh for sharding in shardings if isinstance(sharding, NamedSharding)]
    concrete = [mesh for mesh in meshes if isinstance(mesh, Mesh)]
    # JAX 0.7.0 has explicit axes, and no function that enters a mesh.
    enter = getattr(jax, "set_mesh", contextlib.nullcontext)
    return enter(concrete[0]) if concrete else contextlib.nullcontext()
