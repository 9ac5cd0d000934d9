"""Many tensors in turn, in the memory of a few.

On a CPU memory that is new to a step has to be made ready first, page by page.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from rollfast.typing import Array, PyTree

__all__ = ["Turns", "after", "at_once", "chosen", "map_in_place", "settled"]

# Small tensors alone leave cores idle, large ones push each other out of the cache: this many
# entries are worked on at once on a CPU. A step without an update of 24 blocks of a width of 128,
# twelve at once, took five sixths of the time of four at once.
_MOST_ENTRIES_AT_ONCE = 1_250_000

# But no fewer tensors than these, with which more layers stepped faster than with one or two.
_LEAST_AT_ONCE = 4

# And no more than these in a loop: 24 blocks of a width of 128 stepped 10 % faster by four than one
# by one, and 4 % faster still by eight.
_MOST_IN_A_LOOP = 8

# Nothing waits for results of fewer entries than these: 24 blocks of a width of 128 stepped 2 to
# 3 % faster with an update where the axes of a tensor did not wait for each other.
_LEAST_TO_WAIT_FOR = 2**16


def _hidden(places: Sequence[int], true: Array) -> list[Array]:
    """Return the places, which the CPU compiler does not know before it knows what is true."""

    # Signed ones would each be looked at for a place from behind.
    def unsigned(places: Sequence[int]) -> list[Array]:
        return [jnp.asarray(place, jnp.uint32) for place in places]

    return jax.lax.platform_dependent(
        true,
        cpu=lambda known: jax.lax.cond(
            known, lambda: unsigned(places), lambda: unsigned([0] * len(places))
        ),
        default=lambda known: unsigned(places),
    )


class Turns:
    """Work on some entries of a stack after the others.

    The CPU compiler begins all that it can at once, and what is between the steps of each then
    needs memory of its own, which took a third of the processor time of a step without an
    update. Here the places of some entries seem to depend on what came of those before.
    """

    def __init__(self, positive: Array):
        """Begin.

        Args:
            positive: A number above zero, which the compiler does not know.
        """
        self.true = true = positive > 0
        self._last: Array | None = None
        self._places = functools.cache(lambda count: _hidden(range(count), true))

    def unstack(self, stack: Array) -> list[Array]:
        """Return the entries of a stack along its first axis.

        The CPU compiler makes one kernel of all that are equal, and a place written into a slice
        makes it unlike the others: each would cost as much to compile as a small step. The branch
        keeps the places out of the slices.

        Args:
            stack: (n, …).

        Returns:
            n arrays (1, …).
        """
        places = self._places(stack.shape[0])
        return [jax.lax.dynamic_index_in_dim(stack, place) for place in places]

    def take(
        self, stacks: PyTree, function: Callable[[PyTree, int], Array], size: int
    ) -> list[Array]:
        """Return what a function makes of every entry.

        Args:
            stacks: Any tree of arrays (n, …).
            function: From the entries at a place, and the place, to an array.
            size: Entries of the largest array that is made or chosen for one of them.
        """
        count = jax.tree.leaves(stacks)[0].shape[0]
        turns = math.ceil(count / max(_MOST_ENTRIES_AT_ONCE // size, _LEAST_AT_ONCE))
        # As many in each: a few that are left over would leave cores idle.
        bounds = [count * turn // turns for turn in range(turns + 1)]
        results: list[Array] = []
        for start, stop in itertools.pairwise(bounds):
            some = range(start, stop)
            # An entry that has no others is where it is; to ask for its place would copy it.
            places: Sequence[Array | int] = [0] if count == 1 else _hidden(some, self._now())
            results += [
                function(_entries(stacks, place), index)
                for index, place in zip(some, places, strict=True)
            ]
            self._last = jnp.real(results[-1].reshape(-1)[0])
        return results

    def _now(self) -> Array:
        """Return what is always true, and known once the last result is."""
        return self.true if self._last is None else self.true | (self._last > 0)


def after(earlier: Array, array: Array, never_negative: Array) -> Array:
    """Return an array that on a CPU seems to depend on an earlier result, if that is large.

    What begins with the array then needs no memory as long as the earlier work has some; see
    `Turns`.

    Args:
        earlier: Any shape.
        array: Any shape.
        never_negative: A number, of which the compiler does not know that it is not negative.
    """
    if earlier.size < _LEAST_TO_WAIT_FOR:
        return array

    def waiting(array: Array) -> Array:
        true = (never_negative >= 0) | (jnp.real(earlier.reshape(-1)[0]) > 0)
        return jnp.where(true, array, 0)

    def at_once(array: Array) -> Array:
        # Known to be true, and as the other differs among devices where an earlier result does.
        true = (never_negative >= 0) | (jnp.real(earlier.reshape(-1)[0]) > 0) | True
        return jnp.where(true, array, 0)

    return jax.lax.platform_dependent(array, cpu=waiting, default=at_once)


def settled(arrays: list[Array]) -> list[Array]:
    """Return arrays of which a CPU makes the large ones before anything reads them.

    The CPU compiler makes what is cheap once more for each that reads it in parts, from what it was
    made of. What was to be replaced is then needed after it is replaced, and is copied: of a stack
    in a loop, the whole of it in each turn.
    """
    large = [index for index, array in enumerate(arrays) if array.size >= _LEAST_TO_WAIT_FOR]
    made = jax.lax.platform_dependent(
        [arrays[index] for index in large], cpu=_made_before, default=_same
    )
    settled = dict(zip(large, made, strict=True))
    return [settled.get(index, array) for index, array in enumerate(arrays)]


def _made_before(arrays: list[Array]) -> list[Array]:
    # Always taken. What goes into a branch is made first, and nothing is fused with what comes out.
    always = jax.lax.optimization_barrier(jnp.asarray(True))
    return jax.lax.cond(always, _same, _other, arrays)


def _same(arrays: list[Array]) -> list[Array]:
    return arrays


def _other(arrays: list[Array]) -> list[Array]:
    # Never taken; of two branches that are equal the compiler makes none.
    return [-array for array in arrays]


def _entries(stacks: PyTree, place: Array | int) -> PyTree:
    return jax.tree.map(
        lambda stack: jax.lax.dynamic_index_in_dim(stack, place, keepdims=False), stacks
    )


def chosen(parts: Sequence[Array], turn: Array, width: int = 1) -> Array:
    """Return the entries of one turn of stacks that follow each other, without a copy of all.

    Args:
        parts: (nᵢ, …).
        turn: Which turn; the entries before it are those of the turns before.
        width: Entries of a turn, a divisor of the number of all.

    Returns:
        (width, …).
    """
    if any(part.shape[0] % width for part in parts):
        rows = [part[row : row + 1] for part in parts for row in range(part.shape[0])]
        together = [rows[first : first + width] for first in range(0, len(rows), width)]
        return jax.lax.switch(turn, [functools.partial(jnp.concatenate, each) for each in together])
    # Every turn lies within one stack.
    begins = [
        (owner, begin)
        for owner, part in enumerate(parts)
        for begin in range(0, part.shape[0], width)
    ]
    owner, place = jnp.asarray(begins, jnp.uint32)[turn]

    def of(part: Array) -> Callable[[], Array]:
        return lambda: jax.lax.dynamic_slice_in_dim(part, place, width)

    if len(parts) == 1:
        return of(parts[0])()
    return jax.lax.switch(owner, [of(part) for part in parts])


def at_once(count: int, size: int, allowed: int = _MOST_IN_A_LOOP) -> int:
    """Return how many of some tensors a loop takes at once on a CPU, a divisor of their number.

    Args:
        count: How many tensors there are.
        size: How many entries each has.
        allowed: No more than these.
    """
    most = max(min(_MOST_IN_A_LOOP, allowed, _MOST_ENTRIES_AT_ONCE // size), 1)
    return next(width for width in range(most, 0, -1) if count % width == 0)


def map_in_place(
    function: Callable[[PyTree, Array], PyTree], stacks: PyTree, width: int = 1
) -> PyTree:
    """Replace every entry of some stacks by what a function makes of it, a few after another.

    Nothing but a few entries is copied where nobody else needs the stacks; `jax.lax.map` fills
    others.

    Args:
        function: From the entries of a turn (width, …) and its number to entries of the same
            shapes.
        stacks: Any tree of arrays (n, …).
        width: How many are replaced at once, a divisor of n.

    Returns:
        A tree like `stacks`.
    """

    def replace(turn: Array, carried: PyTree) -> PyTree:
        # Signed: under `vmap` JAX 0.6.0 replaces other entries than those at an unsigned place.
        first = turn * width
        entries = jax.tree.map(
            lambda stack: jax.lax.dynamic_slice_in_dim(stack, first, width), carried
        )
        return jax.tree.map(
            lambda stack, new: jax.lax.dynamic_update_slice_in_dim(stack, new, first, 0),
            carried,
            function(entries, turn),
        )

    turns = jax.tree.leaves(stacks)[0].shape[0] // width
    return jax.lax.fori_loop(0, turns, replace, stacks)
