"""Fitting the Kronecker factors of one tensor to a pair of probe and gradient."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rollfast.linalg import kronecker
from rollfast.linalg.triangular import solve_adjoint
from rollfast.psgd.factor import gradient_size, lipschitz, relative_gradient, smoothness
from rollfast.psgd.geometry import Auxiliary, Geometry
from rollfast.typing import Array, DTypeLike, Number

__all__ = [
    "MOMENTS",
    "Rule",
    "SliceDraws",
    "damped",
    "newton_scale",
    "second_moment_scale",
    "terms",
    "update_factors",
    "whitening_scale",
]

BALANCE_PROBABILITY = 0.01
Normals = Sequence[Array | None] | None


class Rule(NamedTuple):
    """How factors are moved.

    Attributes:
        geometry: Row of the table.
        learning_rate: Numerator of the step μ.
        beta: Decay of the Lipschitz estimate.
        damping: Standard deviation of the noise on the gradient, or None for no noise.
        tracks_lipschitz: Whether the estimate remembers earlier steps.
        newton: Whether the probe belongs to a Hessian-vector product.
        least_iterations: Newton–Schulz iterations made in any case.
        axis_name: Mapped axis over which Gram matrices are averaged, or None.
        normalizer: What the step is divided by: the smoothness of the criterion (`2nd`), or the
            size of the gradient (`1st`).
    """

    geometry: Geometry
    learning_rate: Number
    beta: Number = 0.9
    damping: Number | None = 1e-9
    tracks_lipschitz: bool = True
    newton: bool = False
    least_iterations: int = 5
    axis_name: str | None = None
    normalizer: str = "2nd"

    def in_dtype(self, dtype: DTypeLike) -> "Rule":
        """Return the rule with its numbers in a dtype, so that none of them raises another."""
        damping = None if self.damping is None else jnp.asarray(self.damping, dtype)
        return self._replace(
            learning_rate=jnp.asarray(self.learning_rate, dtype),
            beta=jnp.asarray(self.beta, dtype),
            damping=damping,
        )


class SliceDraws(NamedTuple):
    """Random numbers of one tensor in one step.

    Attributes:
        noise: Zero mean and unit variance, in the shape of the tensor; None without damping.
        norm_probes: For every axis (k, n), or None where the factor is diagonal.
        rotation_probes: The same, or None where the geometry does not rotate.
        balance: Uniform in [0, 1), a scalar.
    """

    noise: Array | None
    norm_probes: tuple[Array | None, ...]
    rotation_probes: tuple[Array | None, ...]
    balance: Array


def damped(gradient: Array, noise: Array, damping: Number) -> Array:
    """Return g + (λ + ε|g|) n, whose second moment is at least λ².

    Args:
        gradient: g, any shape.
        noise: n, of the same shape, zero mean and unit variance.
        damping: λ.

    Returns:
        In the shape and dtype of g.

    Source: psgd_torch a8616f1, `update_precond_kron_whiten_eq` and the others; ε is that of the
        dtype of g.
    """
    return gradient + (damping + jnp.finfo(gradient.dtype).eps * jnp.abs(gradient)) * noise


def terms(
    factors: Sequence[Array],
    gradient: Array,
    probe: Array | None,
    basis: str,
    normals: Normals = None,
) -> list[tuple[Array, Array]]:
    """Return (T₁, T₂) of every factor, from the factors as they stand.

    Args:
        factors: (nᵢ, nᵢ) or (nᵢ,), one for every axis.
        gradient: g or a Hessian-vector product, (n₁, …, nₖ).
        probe: v, of the same shape; None to have it integrated out.
        basis: Of what the Gram matrices are made, a row of `BASES`.
        normals: QᵢᴴQᵢ of the factors where it is at hand, else None.

    Returns:
        One pair for every axis; T₂ is a scalar where it is a multiple of the identity.

    Source: psgd_torch a8616f1; arXiv 2402.11858v7, numbers not seen.
    """
    return BASES[basis](factors, gradient, probe, normals)


def _gram(factor: Array, tensor: Array, axis: int) -> Array:
    return (kronecker.gram if factor.ndim == 2 else kronecker.gram_diagonal)(tensor, axis)


def _share(tensor: Array, axis: int) -> Array:
    """Return N / n, the expectation of a diagonal entry of the Gram matrix of white noise."""
    real = jnp.finfo(tensor.dtype).dtype
    return jnp.asarray(tensor.size / tensor.shape[axis], real)


def _of_preconditioned(
    factors: Sequence[Array], preconditioned: Array, probe: Array | None
) -> list[tuple[Array, Array]]:
    pairs = []
    for axis, factor in enumerate(factors):
        second = _share(preconditioned, axis) if probe is None else _gram(factor, probe, axis)
        pairs.append((_gram(factor, preconditioned, axis), second))
    return pairs


def _normal(
    factors: Sequence[Array], gradient: Array, probe: Array | None, normals: Normals
) -> list[tuple[Array, Array]]:
    preconditioned = kronecker.apply_normal(factors, gradient, normals)
    return _of_preconditioned(factors, preconditioned, probe)


def _direct(
    factors: Sequence[Array], gradient: Array, probe: Array | None, normals: Normals
) -> list[tuple[Array, Array]]:
    del normals
    return _of_preconditioned(factors, kronecker.apply(factors, gradient), probe)


def _factor(
    factors: Sequence[Array], gradient: Array, probe: Array | None, normals: Normals
) -> list[tuple[Array, Array]]:
    preconditioned = kronecker.apply_normal(factors, gradient, normals)
    pairs = []
    for axis, factor in enumerate(factors):
        first = _gram(factor, kronecker.along(factor, preconditioned, axis), axis)
        if probe is not None:
            second = _gram(factor, kronecker.along(factor, probe, axis), axis)
        else:
            second = _share(preconditioned, axis) * _gram(factor, factor, 0)
        pairs.append((first, second))
    return pairs


def _whitened(
    factors: Sequence[Array], gradient: Array, probe: Array | None, normals: Normals
) -> list[tuple[Array, Array]]:
    del normals
    if probe is None:
        raise ValueError("probe=None is not allowed with basis='whitened'; it needs a vector.")
    whitened = kronecker.apply(factors, gradient)
    inverse = solve_adjoint(factors, probe)
    return [
        (_gram(factor, whitened, axis), _gram(factor, inverse, axis))
        for axis, factor in enumerate(factors)
    ]


BASES = {"normal": _normal, "direct": _direct, "factor": _factor, "whitened": _whitened}


def update_factors(
    factors: Sequence[Array],
    estimates: Sequence[Array],
    gradient: Array,
    probe: Array | None,
    draws: SliceDraws,
    rule: Rule,
    normals: Normals = None,
) -> tuple[list[Array], list[Array]]:
    """Move all factors of one tensor by one step of their geometry.

    Args:
        factors: (nᵢ, nᵢ) or (nᵢ,), one for every axis.
        estimates: L of every factor, scalars.
        gradient: g, or the Hessian-vector product under `rule.newton`, (n₁, …, nₖ).
        probe: v of the Hessian-vector product; ignored for whitening.
        draws: Random numbers of this tensor and step.
        rule: How factors are moved.
        normals: QᵢᴴQᵢ of the factors where it is at hand, else None.

    Returns:
        (factors, estimates) after the step. All move from where all stood.

    Source: psgd_torch a8616f1, `update_precond_kron_*`; arXiv 2402.11858v7.
    """
    basis = rule.geometry.basis
    always_balanced = basis == "factor"
    if always_balanced:
        factors, normals = kronecker.balance(factors), None
    if rule.damping is not None and draws.noise is not None:
        gradient = damped(gradient, draws.noise, rule.damping)
    if not rule.newton:
        probe = draws.noise if basis == "whitened" else None
    pairs = terms(factors, gradient, probe, basis, normals)
    if rule.axis_name is not None:
        pairs = jax.lax.pmean(pairs, rule.axis_name)
    moved, tracked = [], []
    for axis, (first, second) in enumerate(pairs):
        if rule.normalizer == "1st":
            estimate = gradient_size(first, second)
        else:
            estimate = smoothness(first, second, draws.norm_probes[axis])
        if rule.tracks_lipschitz:
            estimate = lipschitz(estimates[axis], estimate, rule.beta)
        step = rule.learning_rate / jnp.where(estimate > 0, estimate, 1)
        error = relative_gradient(first, second)
        if factors[axis].ndim == 1:
            new = rule.geometry.vector(factors[axis], error, step)
        else:
            auxiliary = Auxiliary(draws.rotation_probes[axis], rule.least_iterations)
            new = rule.geometry.matrix(factors[axis], error, step, auxiliary)
        # A Gram matrix that overflows says nothing of where to go.
        sound = jnp.isfinite(estimate)
        moved.append(jnp.where(sound, new, factors[axis]))
        tracked.append(jnp.where(sound, estimate, estimates[axis]))
    if not always_balanced:
        balances = draws.balance < BALANCE_PROBABILITY
        balanced = kronecker.balance(moved)
        moved = [jnp.where(balances, b, m) for b, m in zip(balanced, moved, strict=True)]
    return moved, tracked


def whitening_scale(
    gradients: Sequence[Array], damping: Number | None, is_stacked: bool = False
) -> Array:
    """Return s = (max mean|g|⁴ + λ⁴)^(-1/8), the scale of Q at the start.

    Args:
        gradients: The tensors of which the largest mean counts, any shapes.
        damping: λ; None for 0.
        is_stacked: Whether each of them is a stack of tensors that count by themselves.

    Returns:
        A real scalar; computed so that no fourth power overflows. One if all is zero.

    Source: psgd_torch a8616f1, `KronWhiten.step`.
    """
    floor = 0.0 if damping is None else damping
    unit = jnp.maximum(_largest(gradients), floor)
    unit = jnp.where(unit > 0, unit, 1)
    means = []
    for gradient in gradients:
        axes = tuple(range(1 if is_stacked else 0, gradient.ndim))
        means.append(jnp.max(jnp.mean((jnp.abs(gradient) / unit) ** 4, axes)))
    fourth = jnp.max(jnp.stack(means)) + (floor / unit) ** 4
    return jnp.where(fourth > 0, unit ** (-0.5) * jnp.where(fourth > 0, fourth, 1) ** (-1 / 8), 1)


def newton_scale(
    vectors: Sequence[Array],
    products: Sequence[Array],
    damping: Number | None,
    is_stacked: bool = False,
) -> Array:
    """Return s = (mean|v|²)^(1/4) (max mean|h|⁴ + λ⁴)^(-1/8), the scale of Q at the start.

    Args:
        vectors: v, tensors of any shapes; the mean is over all their entries.
        products: h = H v, of the same shapes; the largest mean counts.
        damping: λ; None for 0.
        is_stacked: Whether each of them is a stack of tensors that count by themselves.

    Returns:
        A real scalar.

    Source: psgd_torch a8616f1, `KronNewton.step`.
    """
    mean, unit = _mean_square(vectors)
    return jnp.sqrt(unit) * mean**0.25 * whitening_scale(products, damping, is_stacked)


def second_moment_scale(vectors: Sequence[Array] | None, gradients: Sequence[Array]) -> Array:
    """Return s = (Σ|v|² / Σ|h|²)^(1/4), at which c(s²I) is least.

    Args:
        vectors: v, tensors of any shapes; None for white noise, of which |v|² is the number of
            entries.
        gradients: g, or h = H v, of the same shapes.

    Returns:
        A real scalar; computed so that no square overflows. One if either sum is zero.

    Source: psgd_torch a8616f1, misc/psgd_updates.pdf; psgd_jax 0.1.5.
    """
    size, size_unit = _mean_square(gradients)
    if vectors is None:
        one, one_unit = jnp.ones_like(size), jnp.ones_like(size_unit)
    else:
        one, one_unit = _mean_square(vectors)
    known = (size > 0) & (one > 0)
    ratio = jnp.where(known, one, 1) / jnp.where(known, size, 1)
    return jnp.where(known, ratio**0.25 * jnp.sqrt(one_unit) / jnp.sqrt(size_unit), 1)


def _fourth_moment_scale(
    vectors: Sequence[Array] | None,
    gradients: Sequence[Array],
    damping: Number | None,
    is_stacked: bool = False,
) -> Array:
    if vectors is None:
        return whitening_scale(gradients, damping, is_stacked)
    return newton_scale(vectors, gradients, damping, is_stacked)


def _second_moment_scale(
    vectors: Sequence[Array] | None,
    gradients: Sequence[Array],
    damping: Number | None,
    is_stacked: bool = False,
) -> Array:
    del damping, is_stacked
    return second_moment_scale(vectors, gradients)


# Of which moment of the first gradients the scale of Q at the start is made.
MOMENTS = {"4th": _fourth_moment_scale, "2nd": _second_moment_scale}


def _mean_square(tensors: Sequence[Array]) -> tuple[Array, Array]:
    """Return the mean of all squares, over that of a unit, and the unit."""
    unit = _largest(tensors)
    unit = jnp.where(unit > 0, unit, 1)
    parts = [jnp.sum((jnp.abs(tensor) / unit) ** 2) for tensor in tensors]
    return jnp.sum(jnp.stack(parts)) / sum(math.prod(tensor.shape) for tensor in tensors), unit


def _largest(tensors: Sequence[Array]) -> Array:
    return jnp.max(jnp.stack([jnp.max(jnp.abs(tensor)) for tensor in tensors]))
