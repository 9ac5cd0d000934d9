"""What becomes of momentum and gradient: averaging, shaping and limits, leaf by leaf."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rollfast import guards
from rollfast.linalg.newton_schulz import COEFFICIENTS, Row
from rollfast.linalg.precision import matmul_precision
from rollfast.options import (
    check_choice,
    check_count,
    check_dtype,
    check_flag,
    check_interval,
    check_precision,
)
from rollfast.prism import shaping
from rollfast.prism.dimension_numbers import PrismDimensionNumbers
from rollfast.trees.batching import group_by, map_matrices
from rollfast.trees.matrixize import from_matrices, to_matrices
from rollfast.trees.precision import storage_dtype
from rollfast.trees.turns import Turns
from rollfast.typing import Array, DTypeLike, Number

__all__ = ["Direction", "Momentum", "Shaping"]

EXACT = "exact"


@dataclass(frozen=True)
class Momentum:
    """How gradients are averaged over steps, and what of the average is shaped."""

    b1: Number
    nesterov: bool
    shape_nesterov: bool
    bias_correction: bool

    def __post_init__(self) -> None:
        """Check the options."""
        check_interval("b1", self.b1, 0, 1, open_high=True)
        check_flag("nesterov", self.nesterov)
        check_flag("shape_nesterov", self.shape_nesterov)
        check_flag("bias_correction", self.bias_correction)

    def target_and_innovation(
        self, mu: Array, gradient: Array, count: Array
    ) -> tuple[Array, Array]:
        """Return what is shaped, and what it is damped by."""
        ahead = self.nesterov and self.shape_nesterov
        if not self.bias_correction:
            target = shaping.nesterov(mu, gradient, self.b1) if ahead else mu
            return target, shaping.innovation(gradient, mu)
        corrected = shaping.corrected_momentum(mu, self.b1, count)
        innovation = shaping.innovation(gradient, corrected)
        if not ahead:
            return corrected, innovation
        return shaping.corrected_nesterov(mu, gradient, self.b1, count), innovation


@dataclass(frozen=True)
class Shaping:
    """How matrices are orthogonalized."""

    gamma: Number
    iterations: int | Array
    coefficients: str | Sequence[Row]
    eps: Number
    form: str
    compute_dtype: DTypeLike | None
    precision: str | None

    def __post_init__(self) -> None:
        """Check the options."""
        check_interval("gamma", self.gamma, 0, float("inf"))
        check_count("ns_iters", self.iterations)
        check_interval("eps", self.eps, 0, float("inf"))
        check_dtype("compute_dtype", self.compute_dtype)
        check_precision("precision", self.precision)
        check_choice("ns_form", self.form, shaping.FORMS)
        if isinstance(self.coefficients, str):
            check_choice("ns_coeffs", self.coefficients, [*COEFFICIENTS, EXACT])
        elif not self.coefficients or any(len(row) != 3 for row in self.coefficients):
            raise ValueError(
                f"ns_coeffs={self.coefficients!r} is not allowed; it must be the name of a table "
                "or a sequence of rows (a, b, c), at least one."
            )

    def rows(self) -> Sequence[Row]:
        """Return the coefficients, given by name or as they are."""
        given = self.coefficients
        return COEFFICIENTS[given] if isinstance(given, str) else given

    def matrix(self, target: Array, innovation: Array) -> Array:
        """Shape one matrix."""
        if self.coefficients == EXACT:
            return shaping.shape_exact(target, innovation, self.gamma)
        given = target.dtype
        wanted = given if self.compute_dtype is None else self.compute_dtype
        dtype = storage_dtype(given, wanted)
        real = jnp.finfo(dtype).dtype
        eps = self.eps
        if dtype != given:
            # Entries near one fit any dtype, and the result does not depend on their scale.
            unit = _largest_modulus(target, innovation)
            target, innovation, eps = target / unit, innovation / unit, eps / unit
        with matmul_precision(self.precision):
            shaped = shaping.shape(
                target.astype(dtype),
                innovation.astype(dtype),
                _in_dtype(self.gamma, real),
                self.rows(),
                self.iterations,
                _in_dtype(eps, real),
                self.form,
            )
        return shaped.astype(given)


def _largest_modulus(*arrays: Array) -> Array:
    """Return the largest modulus of all entries, or one if all are zero."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(array), initial=0) for array in arrays]))
    return jnp.where(largest > 0, largest, 1)


def _in_dtype(number: Number, dtype: jnp.dtype) -> Number:
    """Return an array in a dtype, and a Python number, which takes any, as it is."""
    return number if isinstance(number, int | float) else number.astype(dtype)


@dataclass(frozen=True)
class Direction:
    """What is made of momentum and gradient, leaf by leaf."""

    averaging: Momentum
    method: Shaping
    limits: tuple[Number, Number] | None

    def of_stack(self, mu: Array, gradients: Array, count: Array, *, matrices: bool) -> Array:
        """Return the directions of leaves of one shape, stacked along a new first axis."""
        target, innovation = self.averaging.target_and_innovation(mu, gradients, count)
        result = target
        if matrices and target.size > 0:
            result = map_matrices(self.method.matrix, target, innovation)
        if self.averaging.nesterov and not self.averaging.shape_nesterov:
            result = shaping.nesterov(result, gradients, self.averaging.b1)
        if self.limits is None:
            return result
        max_rms, max_abs = self.limits
        return jax.vmap(lambda leaf: guards.clip_by_tensor_rms(leaf, max_rms, max_abs))(result)

    def of_leaves(
        self,
        mu: Sequence[Array],
        gradients: Sequence[Array],
        count: Array,
        numbers: Sequence[PrismDimensionNumbers | None],
    ) -> list[Array]:
        """Return the direction of every leaf; leaves of one layout share what is compiled."""
        results, turns = list(mu), Turns(count)
        for group in group_by(_layouts(gradients, numbers)):
            layout = numbers[group[0]]
            momenta = _stack([mu[index] for index in group], layout)
            fresh = _stack([gradients[index] for index in group], layout)
            directions = self.of_stack(momenta, fresh, count, matrices=layout is not None)
            for index, piece in zip(group, turns.unstack(directions), strict=True):
                results[index] = _as_leaf(piece.squeeze(0), mu[index].shape, layout)
        return results


def _layouts(
    leaves: Sequence[Array], numbers: Sequence[PrismDimensionNumbers | None]
) -> list[Hashable]:
    """Return a key for every leaf, equal for leaves that can be stacked."""
    return [
        (leaf.shape, leaf.dtype, None if layout is None else layout.axes())
        for leaf, layout in zip(leaves, numbers, strict=True)
    ]


def _stack(leaves: Sequence[Array], layout: PrismDimensionNumbers | None) -> Array:
    if layout is not None:
        leaves = [to_matrices(leaf, *layout.axes()) for leaf in leaves]
    return jnp.stack(leaves)


def _as_leaf(piece: Array, shape: Sequence[int], layout: PrismDimensionNumbers | None) -> Array:
    return piece if layout is None else from_matrices(piece, shape, *layout.axes())
