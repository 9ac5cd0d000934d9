"""Many tensors in turn, in the memory of a few.

On a CPU fresh memory costs as much as the work that is done in it.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from rollfast.typing import Array, PyTree

__all__ = ["Turns", "chosen", "map_in_place", "unstack"]

# Of 1 to 3 and all at once, as many as step fastest (blocks of a width of 128 and 384, two cores).
_AT_ONCE = 2


def unstack(stack: Array, positive: Array) -> list[Array]:
    """Return the entries of a stack along its first axis.

    The CPU compiler makes one kernel of all that are equal, and a place written into a slice makes
    it unlike the others: each would cost as much to compile as a small step. The branch keeps the
    places out of the slices.

    Args:
        stack: (n, …).
        positive: A number above zero, which the compiler does not know.

    Returns:
        n arrays (…).
    """
    places = _hidden(stack.shape[0], positive)
    return [jax.lax.dynamic_index_in_dim(stack, place, keepdims=False) for place in places]


def _hidden(count: int, positive: Array) -> list[Array]:
    """Return 0, 1, …, count - 1, which the CPU compiler does not know."""
    places = list(range(count))
    return jax.lax.platform_dependent(
        positive,
        cpu=lambda number: jax.lax.cond(number > 0, lambda: places, lambda: [0] * len(places)),
        default=lambda number: [jnp.asarray(place) for place in places],
    )


class Turns:
    """Work on one entry of a stack after the other.

    The CPU compiler begins all that it can at once, and what is between the steps of each then
    needs memory of its own: fresh memory costs a third of a step without an update. Here the
    place of an entry seems to depend on what came of an earlier one.
    """

    def __init__(self, positive: Array):
        """Begin.

        Args:
            positive: A number above zero, which the compiler does not know.
        """
        self.positive = positive
        self._done: list[Array] = []

    def take(self, stacks: PyTree, function: Callable[[PyTree, int], Array]) -> list[Array]:
        """Return what a function makes of every entry.

        Args:
            stacks: Any tree of arrays (n, …).
            function: From the entries at a place, and the place, to an array.
        """
        count = jax.tree.leaves(stacks)[0].shape[0]
        # An entry that has no others beside it is where it is; to ask for its place would copy it.
        hidden = [] if count == 1 else _hidden(count, self.positive)
        results = []
        for index in range(count):
            entries = _entries(stacks, self._after_another(hidden[index]) if hidden else 0)
            results.append(function(entries, index))
            self._done.append(jnp.real(results[-1].reshape(-1)[0]))
        return results

    def _after_another(self, place: Array) -> Array:
        """Return the place, once the entry before the last is done."""
        if len(self._done) < _AT_ONCE:
            return place
        # Always true, whatever came of it.
        known = (self.positive > 0) | (self._done[-_AT_ONCE] > 0)
        return jax.lax.platform_dependent(
            place,
            known,
            cpu=lambda at, known: jnp.where(known, at, 0),
            default=lambda at, known: at,
        )


def _entries(stacks: PyTree, place: Array | int) -> PyTree:
    return jax.tree.map(
        lambda stack: jax.lax.dynamic_index_in_dim(stack, place, keepdims=False), stacks
    )


def chosen(parts: Sequence[Array], index: Array) -> Array:
    """Return an entry of stacks that follow each other, without a copy of them all.

    Args:
        parts: (nᵢ, …).
        index: Number of the entry, counted over all of them.

    Returns:
        (…).
    """
    if len(parts) == 1:
        return jax.lax.dynamic_index_in_dim(parts[0], index, keepdims=False)
    owners = [owner for owner, part in enumerate(parts) for _ in range(part.shape[0])]
    places = [place for part in parts for place in range(part.shape[0])]
    place = jnp.asarray(places, jnp.int32)[index]

    def of(part: Array) -> Callable[[], Array]:
        return lambda: jax.lax.dynamic_index_in_dim(part, place, keepdims=False)

    return jax.lax.switch(jnp.asarray(owners, jnp.int32)[index], [of(part) for part in parts])


def map_in_place(function: Callable[[PyTree, Array], PyTree], stacks: PyTree) -> PyTree:
    """Replace every entry of some stacks by what a function makes of it, one after another.

    Nothing but an entry is copied where nobody else needs the stacks; `jax.lax.map` fills others.

    Args:
        function: From the entries at a place, and the place, to entries of the same shapes.
        stacks: Any tree of arrays (n, …).

    Returns:
        A tree like `stacks`.
    """

    def replace(index: Array, carried: PyTree) -> PyTree:
        entries = _entries(carried, index)
        return jax.tree.map(
            lambda stack, new: jax.lax.dynamic_update_index_in_dim(stack, new, index, 0),
            carried,
            function(entries, index),
        )

    return jax.lax.fori_loop(0, jax.tree.leaves(stacks)[0].shape[0], replace, stacks)
