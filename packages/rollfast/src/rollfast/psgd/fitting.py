"""Fitting the Kronecker factors of one tensor to a pair of probe and gradient."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rollfast.linalg import kronecker
from rollfast.linalg.triangular import solve_adjoint
from rollfast.linalg.upper import apply_upper
from rollfast.psgd.factor import gradient_size, lipschitz, relative_gradient, smoothness
from rollfast.psgd.geometry import Auxiliary, Geometry
from rollfast.psgd.overflow import retreated
from rollfast.trees.turns import after
from rollfast.typing import Array, DTypeLike, Number

__all__ = [
    "MOMENTS",
    "Moment",
    "Rule",
    "Sizes",
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
        normalizer: The step is divided by the smoothness (`2nd`) or by the gradient's size (`1st`).
        scale: What Q is multiplied by first.
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
    scale: Number = 1.0

    def in_dtype(self, dtype: DTypeLike) -> "Rule":
        """Return the rule with its numbers in a dtype, so that none of them raises another."""
        damping = None if self.damping is None else jnp.asarray(self.damping, dtype)
        return self._replace(
            learning_rate=jnp.asarray(self.learning_rate, dtype),
            beta=jnp.asarray(self.beta, dtype),
            damping=damping,
            scale=jnp.asarray(self.scale, dtype),
        )


class SliceDraws(NamedTuple):
    """Random numbers of one tensor in one step.

    Attributes:
        noise: Zero mean and unit variance, in the shape of the tensor; None where it is not used.
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
    whitened = apply_upper(factors, gradient)
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
    share = rule.scale ** ((2 if basis == "direct" else 1) / len(factors))
    if always_balanced:
        factors, normals, share = [q * share for q in kronecker.balance(factors)], None, 1.0
    gradient, probe = _fitted_to(gradient, probe, draws.noise, rule)
    pairs = terms(factors, gradient, probe, basis, normals)
    if rule.axis_name is not None:
        pairs = jax.lax.pmean(pairs, rule.axis_name)
    rate, tracked = jnp.asarray(rule.learning_rate), []
    moved: list[Array] = []
    for axis, (first, second) in enumerate(pairs):
        # One axis after the other, in the memory of one.
        first = after(moved[-1], first, draws.balance) if moved else first
        if rule.normalizer == "1st":
            estimate = gradient_size(first, second)
        else:
            estimate = smoothness(first, second, draws.norm_probes[axis])
        if rule.tracks_lipschitz:
            estimate = lipschitz(estimates[axis], estimate, rule.beta)
        # At once: neither a product with E nor the inverse of L need be within the range.
        error = relative_gradient(first, second) / jnp.where(estimate > 0, estimate, 1)
        if factors[axis].ndim == 1:
            new = rule.geometry.vector(factors[axis], error, rate)
        else:
            auxiliary = Auxiliary(draws.rotation_probes[axis], rule.least_iterations)
            new = rule.geometry.matrix(factors[axis], error, rate, auxiliary)
        sound = jnp.isfinite(estimate)
        old = retreated(factors[axis], first, second, rate)
        moved.append(jnp.where(sound, new, old) * share)
        tracked.append(jnp.where(sound, estimate, estimates[axis]))
    if not always_balanced:
        balances = draws.balance < BALANCE_PROBABILITY
        balanced = kronecker.balance(moved)
        moved = [jnp.where(balances, b, m) for b, m in zip(balanced, moved, strict=True)]
    return moved, tracked


def _fitted_to(
    gradient: Array, probe: Array | None, noise: Array | None, rule: Rule
) -> tuple[Array, Array | None]:
    """Return (g, v) that say of factors yet to be scaled what these say of scaled ones.

    A rule makes of a multiple of Q the same multiple, so that all but g and v can wait.
    """
    basis, scale = rule.geometry.basis, rule.scale
    if rule.damping is not None and noise is not None:
        gradient = damped(gradient, noise, rule.damping)
    if not rule.newton:
        probe = noise if basis == "whitened" else None
    if basis == "whitened":
        return gradient * scale, None if probe is None else probe / scale
    # One by one: the square could underflow.
    return (gradient if basis == "factor" else gradient * scale * scale), probe


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


def whitening_scale(gradients: Sequence[Array], damping: Number | None) -> Array:
    """Return s = (max mean|g|⁴ + λ⁴)^(-1/8), the scale of Q at the start.

    Args:
        gradients: The tensors of which the largest mean counts, any shapes.
        damping: λ; None for 0.

    Returns:
        A real scalar; computed so that no fourth power overflows. One if all is zero.

    Source: psgd_torch a8616f1, `KronWhiten.step`.
    """
    return MOMENTS["4th"].of_tensors(None, gradients, damping)


def newton_scale(
    vectors: Sequence[Array], products: Sequence[Array], damping: Number | None
) -> Array:
    """Return s = (mean|v|²)^(1/4) (max mean|h|⁴ + λ⁴)^(-1/8), the scale of Q at the start.

    Args:
        vectors: v, tensors of any shapes; the mean is over all their entries.
        products: h = H v, of the same shapes; the largest mean counts.
        damping: λ; None for 0.

    Returns:
        A real scalar.

    Source: psgd_torch a8616f1, `KronNewton.step`.
    """
    return MOMENTS["4th"].of_tensors(vectors, products, damping)


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
    return MOMENTS["2nd"].of_tensors(vectors, gradients, None)


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
