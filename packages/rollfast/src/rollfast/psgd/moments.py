"""How large the first gradients are, and the scale of Q that is made of it."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from rollfast.typing import Array, Number

__all__ = ["MOMENTS", "Moment", "Sizes"]


class Sizes(NamedTuple):
    """How large tensors are.

    Attributes:
        roots: (mean |x|ᵖ)^(1/p) of each, (T,).
        counts: The number of entries of each.
    """

    roots: Array
    counts: Sequence[int]

    @staticmethod
    def root(tensor: Array, power: int) -> Array:
        """Return (mean |x|ᵖ)^(1/p), where no power overflows; zero of zeros."""
        modulus = jnp.abs(tensor)
        unit = jnp.max(modulus)
        unit = jnp.where(unit > 0, unit, 1)
        return unit * jnp.mean((modulus / unit) ** power) ** (1 / power)

    @classmethod
    def of(cls, tensors: Sequence[Array], power: int) -> "Sizes":
        """Measure tensors of any shapes."""
        roots = jnp.stack([cls.root(tensor, power) for tensor in tensors])
        return cls(roots, [math.prod(tensor.shape) for tensor in tensors])


class Moment(NamedTuple):
    """A moment of the first gradients that the scale of Q at the start is made of.

    Attributes:
        power: p of the sizes of gradients; that of vectors is 2.
        scale: From the sizes of v or None, those of g and λ or None to the scale.
    """

    power: int
    scale: Callable[[Sizes | None, Sizes, Number | None], Array]

    def of_tensors(
        self, vectors: Sequence[Array] | None, gradients: Sequence[Array], damping: Number | None
    ) -> Array:
        """Return the scale for a pair, each of its tensors counting by itself."""
        known = None if vectors is None else Sizes.of(vectors, 2)
        return self.scale(known, Sizes.of(gradients, self.power), damping)


def _of_fourth_moment(vectors: Sizes | None, gradients: Sizes, damping: Number | None) -> Array:
    floor = 0.0 if damping is None else damping
    largest = jnp.max(gradients.roots)
    unit = jnp.maximum(largest, floor)
    known = unit > 0
    unit = jnp.where(known, unit, 1)
    fourth = jnp.where(known, (largest / unit) ** 4 + (floor / unit) ** 4, 1)
    scale = unit ** (-0.5) * fourth ** (-1 / 8)
    return scale if vectors is None else jnp.sqrt(_root_of_all(vectors)) * scale


def _of_second_moment(vectors: Sizes | None, gradients: Sizes, damping: Number | None) -> Array:
    del damping
    size = _root_of_all(gradients)
    one = jnp.ones_like(size) if vectors is None else _root_of_all(vectors)
    known = (size > 0) & (one > 0)
    return jnp.sqrt(jnp.where(known, one, 1)) / jnp.sqrt(jnp.where(known, size, 1))


MOMENTS = {"4th": Moment(4, _of_fourth_moment), "2nd": Moment(2, _of_second_moment)}


def _root_of_all(tensors: Sizes) -> Array:
    """Return (mean |x|²)^(1/2) over all entries, from those of each tensor."""
    unit = jnp.max(tensors.roots)
    unit = jnp.where(unit > 0, unit, 1)
    weights = jnp.asarray(tensors.counts, tensors.roots.dtype) / sum(tensors.counts)
    return unit * jnp.sqrt(jnp.sum(weights * (tensors.roots / unit) ** 2))
