"""Work on arrays whose shardings are part of their types."""

from collections.abc import Callable

import jax
from jax.sharding import AbstractMesh, AxisType, NamedSharding

from rollfast.typing import Array, PyTree

__all__ = ["on_automatic_axes"]


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
            argument is sharded over such axes.
    """
    leaves, structure = jax.tree.flatten(arguments)
    arrays = {place: leaf for place, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)}
    meshes = [mesh for mesh in map(_explicit_mesh, arrays.values()) if mesh is not None]
    # The oldest JAX allowed has no such function, and makes no such axes unless asked to.
    if not meshes or not hasattr(jax.sharding, "auto_axes"):
        return function(*arguments)
    mesh = meshes[0]

    def of_arrays(arrays: dict[int, Array]) -> PyTree:
        given = [arrays.get(place, leaf) for place, leaf in enumerate(leaves)]
        return function(*jax.tree.unflatten(structure, given))

    shardings = jax.tree.map(lambda leaf: NamedSharding(mesh, jax.typeof(leaf).sharding.spec), like)
    automatic = jax.sharding.auto_axes(of_arrays, axes=_explicit_axes(mesh), out_sharding=shardings)
    try:
        return automatic(arrays)
    except ValueError:
        # A traced number that is no argument, as `optax.inject_hyperparams` makes them, keeps its
        # axes under `jax.set_mesh`. What else is wrong will be so again.
        pass
    return function(*arguments)


def _explicit_mesh(array: Array) -> AbstractMesh | None:
    """Return the mesh over whose explicit axes an array is sharded, if there is one."""
    sharding = jax.typeof(array).sharding
    axes = jax.tree.leaves(tuple(sharding.spec))
    explicit = _explicit_axes(sharding.mesh)
    return sharding.mesh if any(axis in explicit for axis in axes) else None


def _explicit_axes(mesh: AbstractMesh) -> tuple[str, ...]:
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, kind in kinds if kind == AxisType.Explicit)
