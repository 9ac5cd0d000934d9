"""Fitting the Kronecker factors of one tensor to a pair of probe and gradient."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rollfast.linalg import kronecker
from rollfast.linalg.triangular import solve_adjoint
from rollfast.linalg.upper import apply_upper
from rollfast.psgd.factor import gradient_size, lipschitz, relative_gradient, smoothness
from rollfast.psgd.geometry import Auxiliary, Geometry
from rollfast.psgd.moments import MOMENTS
from rollfast.psgd.overflow import retreated
from rollfast.trees.turns import after
from rollfast.typing import Array, DTypeLike, Number

__all__ = [
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
    row = BASES[basis]
    tensors = row.tensors(factors, gradient, probe, normals, _at_once)
    return [row.pair(factor, tensors, axis, None, _at_once) for axis, factor in enumerate(factors)]


# From an earlier result, or none, and an array to that array, which then waits for the result.
_Wait = Callable[[Array | None, Array], Array]


def _at_once(earlier: Array | None, array: Array) -> Array:
    del earlier
    return array


class Basis(NamedTuple):
    """Of what Gram matrices are made.

    Attributes:
        tensors: From factors, gradient, probe, normals and how to wait to two tensors, of which the
            second is None where white noise is integrated out.
        pair: From a factor, these tensors, its axis, what to wait for or None, and how, to
            (T₁, T₂).
    """

    tensors: Callable[..., tuple[Array, Array | None]]
    pair: Callable[..., tuple[Array, Array]]


def _gram(factor: Array, tensor: Array, axis: int) -> Array:
    return (kronecker.gram if factor.ndim == 2 else kronecker.gram_diagonal)(tensor, axis)


def _share(tensor: Array, axis: int) -> Array:
    """Return N / n, the expectation of a diagonal entry of the Gram matrix of white noise."""
    real = jnp.finfo(tensor.dtype).dtype
    return jnp.asarray(tensor.size / tensor.shape[axis], real)


def _normal(
    factors: Sequence[Array], gradient: Array, probe: Array | None, normals: Normals, wait: _Wait
) -> tuple[Array, Array | None]:
    del wait
    return kronecker.apply_normal(factors, gradient, normals), probe


def _direct(
    factors: Sequence[Array], gradient: Array, probe: Array | None, normals: Normals, wait: _Wait
) -> tuple[Array, Array | None]:
    del normals, wait
    return kronecker.apply(factors, gradient), probe


def _whitened(
    factors: Sequence[Array], gradient: Array, probe: Array | None, normals: Normals, wait: _Wait
) -> tuple[Array, Array | None]:
    del normals
    if probe is None:
        raise ValueError("probe=None is not allowed with basis='whitened'; it needs a vector.")
    # One after the other, and after what the gradient waits for: both copy the blocks of factors.
    whitened = apply_upper([wait(gradient, factor) for factor in factors], gradient)
    return whitened, solve_adjoint([wait(whitened, factor) for factor in factors], probe)


def _of_preconditioned(
    factor: Array, tensors: tuple[Array, Array | None], axis: int, last: Array | None, wait: _Wait
) -> tuple[Array, Array]:
    preconditioned, probe = tensors
    second = _share(preconditioned, axis) if probe is None else _gram(factor, probe, axis)
    return wait(last, _gram(factor, preconditioned, axis)), second


def _of_factor(
    factor: Array, tensors: tuple[Array, Array | None], axis: int, last: Array | None, wait: _Wait
) -> tuple[Array, Array]:
    preconditioned, probe = tensors
    first = wait(last, _gram(factor, kronecker.along(factor, preconditioned, axis), axis))
    if probe is not None:
        return first, _gram(factor, kronecker.along(factor, probe, axis), axis)
    return first, _share(preconditioned, axis) * _gram(factor, factor, 0)


def _of_whitened(
    factor: Array, tensors: tuple[Array, Array], axis: int, last: Array | None, wait: _Wait
) -> tuple[Array, Array]:
    whitened, inverse = tensors
    first = _gram(factor, wait(last, whitened), axis)
    return first, _gram(factor, wait(first, inverse), axis)


BASES = {
    "normal": Basis(_normal, _of_preconditioned),
    "direct": Basis(_direct, _of_preconditioned),
    "factor": Basis(_normal, _of_factor),
    "whitened": Basis(_whitened, _of_whitened),
}


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
    row = BASES[basis]

    def wait(earlier: Array | None, array: Array) -> Array:
        return array if earlier is None else after(earlier, array, draws.balance)

    tensors = row.tensors(factors, gradient, probe, normals, wait)
    moved: list[Array] = []
    tracked: list[Array] = []
    for axis, factor in enumerate(factors):
        # One axis after the other, in the memory of one.
        last = moved[-1] if moved else None
        first, second = row.pair(factor, tensors, axis, last, wait)
        if rule.axis_name is not None:
            first, second = jax.lax.pmean((first, second), rule.axis_name)
        own = _Terms(first, second, draws.norm_probes[axis], draws.rotation_probes[axis])
        new, estimate = _moved(factor, estimates[axis], own, rule, wait)
        moved.append(new * share)
        tracked.append(estimate)
    if not always_balanced:
        balances = draws.balance < BALANCE_PROBABILITY
        # A GPU would have to tell the host which branch it takes.
        moved = jax.lax.platform_dependent(
            balances, moved, cpu=_balanced_in_a_branch, default=_balanced_if
        )
    return moved, tracked


def _balanced_in_a_branch(balances: Array, factors: list[Array]) -> list[Array]:
    return jax.lax.cond(balances, kronecker.balance, list, factors)


def _balanced_if(balances: Array, factors: list[Array]) -> list[Array]:
    pairs = zip(kronecker.balance(factors), factors, strict=True)
    return [jnp.where(balances, balanced, factor) for balanced, factor in pairs]


class _Terms(NamedTuple):
    """What a factor is moved by.

    Attributes:
        first: T₁.
        second: T₂.
        norm_probes: Of its axis, as in `SliceDraws`.
        rotation_probes: The same.
    """

    first: Array
    second: Array
    norm_probes: Array | None
    rotation_probes: Array | None


def _moved(
    factor: Array, tracked: Array, own: _Terms, rule: Rule, wait: _Wait
) -> tuple[Array, Array]:
    """Return a factor after its step and its estimate, from those before."""
    first, second = own.first, own.second
    if rule.normalizer == "1st":
        estimate = gradient_size(first, second)
    else:
        estimate = smoothness(first, second, own.norm_probes)
    if rule.tracks_lipschitz:
        estimate = lipschitz(tracked, estimate, rule.beta)
    # At once: neither a product with E nor the inverse of L need be within the range.
    error = relative_gradient(first, second) / jnp.where(estimate > 0, estimate, 1)
    rate = jnp.asarray(rule.learning_rate)
    if factor.ndim == 1:
        new = rule.geometry.vector(factor, error, rate)
    else:
        auxiliary = Auxiliary(own.rotation_probes, rule.least_iterations)
        # What copies the blocks of a factor would do so from the start.
        waiting = wait(error, factor) if rule.geometry.form == "triangular" else factor
        new = rule.geometry.matrix(waiting, error, rate, auxiliary)
    sound = jnp.isfinite(estimate)
    old = retreated(factor, first, second, rate)
    return jnp.where(sound, new, old), jnp.where(sound, estimate, tracked)


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
