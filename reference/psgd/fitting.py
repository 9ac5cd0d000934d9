"""One step of the fit of one Kronecker product Q = Q_1 x ... x Q_k, P = Q^H Q.

The fit descends c(P) = E[h^H P h + v^H P^-1 v], whose minimum is P = (E hh^H)^(-1/2) for noise v,
and |H|^-1 for h = H v.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reference.guards import global_norm
from reference.linalg import kronecker
from reference.linalg.triangular import solve_adjoint
from reference.optimizer import keeps_dtype
from reference.psgd import factor
from reference.psgd.geometry import Auxiliary, Geometry

__all__ = [
    "damped",
    "newton_scale",
    "second_moment_scale",
    "terms",
    "update_factors",
    "whitening_scale",
]

# psgd_torch balances the factors after this share of the fits.
_BALANCE_PROBABILITY = 0.01


class SliceDraws(NamedTuple):
    """The random numbers of one fit.

    Attributes:
        noise: standard normal, of the shape of the gradient; complex with E|z|^2 = 1.
        norm_probes: per axis standard normal rows, shape (k, n_i), for the bound of ||T1 + T2||;
            None for a diagonal factor, or for the exact norm.
        rotation_probes: the same, for the norm of a rotation.
        balance: uniform in [0, 1).
    """

    noise: np.ndarray | None
    norm_probes: tuple[np.ndarray | None, ...]
    rotation_probes: tuple[np.ndarray | None, ...]
    balance: float


class Rule(NamedTuple):
    """How a fit moves its factors.

    Attributes:
        geometry: a row of `geometry.GEOMETRIES`.
        learning_rate: the step in relation to 1 / L.
        beta: the decay of L.
        damping: see `damped`; None adds no noise.
        tracks_lipschitz: whether L is the running estimate, or the present smoothness alone.
        newton: whether the gradient is a Hessian-vector product whose vector is given.
        normalizer: "2nd" for the smoothness as ell, "1st" for the size of the gradient.
    """

    geometry: Geometry
    learning_rate: float
    beta: float = 0.9
    damping: float | None = None
    tracks_lipschitz: bool = True
    newton: bool = False
    normalizer: str = "2nd"


@keeps_dtype
def damped(gradient: np.ndarray, noise: np.ndarray, damping: float) -> np.ndarray:
    """Add noise to a gradient, so that P stays bounded.

    h = g + (damping + eps |g|) z,  which turns E[gg^H] into E[gg^H] + damping^2 I about.

    Args:
        gradient: g, any shape.
        noise: z, standard normal, same shape.
        damping: the standard deviation of what is added; eps is that of the dtype of g.

    Returns:
        h, of the shape and dtype of g.

    Source: psgd_torch, `update_precond_kron_whiten_eq` and its siblings; no paper.
    """
    magnitude = np.abs(gradient)
    # NumPy knows no limits of bfloat16, but the distance of its numbers.
    eps = np.spacing(np.ones((), magnitude.dtype))
    return gradient + (damping + eps * magnitude) * noise


def terms(
    factors: Sequence[np.ndarray], gradient: np.ndarray, probe: np.ndarray | None, basis: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return both terms of the relative gradient of every factor.

    With Gram_i(X) = X_(i) X_(i)^H, N = n_1 ... n_k, h the gradient and v the probe, T1 and T2 are
        "whitened"  Gram_i(Q h)          Gram_i(Q^-H v)
        "factor"    Gram_i(Q_i P h)      Gram_i(Q_i v),  or without probe (N / n_i) Q_i Q_i^H
        "normal"    Gram_i(P h)          Gram_i(v),      or without probe (N / n_i) I
        "direct"    the same, with the given factors as those of P itself.
    For a diagonal factor both are diagonals. Without probe, v is integrated out.

    Args:
        factors: Q_1, ..., Q_k, each of shape (n_i, n_i) or (n_i,); of P in the basis "direct".
        gradient: h, shape (n_1, ..., n_k).
        probe: v, same shape, or None; "whitened" needs it.
        basis: one of the four.

    Returns:
        (T1, T2) per factor, of shape (n_i, n_i) or (n_i,); T2 is N / n_i, without axes, where it
        multiplies the identity.

    Raises:
        ValueError: if the basis is none of these.

    Source: psgd_torch, `update_precond_kron_*`; arXiv 2402.11858, table of the local coordinates,
    number not seen.
    """
    if basis not in _TERMS:
        allowed = ", ".join(repr(known) for known in _TERMS)
        raise ValueError(f"basis is {basis!r}; allowed are {allowed}")
    return _TERMS[basis](factors, gradient, probe)


def update_factors(
    factors: Sequence[np.ndarray],
    lipschitz: Sequence[np.ndarray],
    gradient: np.ndarray,
    probe: np.ndarray | None,
    draws: SliceDraws,
    rule: Rule,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Move all factors of one preconditioner by one step.

    h = g + (damping + eps |g|) z;  per factor, all from the factors before the step:
    (T1, T2) of `terms`,  L <- max(beta L + (1 - beta) ell, ell),  ell of the rule's normalizer,
    Q_i <- the rule's step along E = T1 - T2 with mu = lr / L.
    With probability 0.01 the factors are balanced afterwards; in the basis "factor", where L
    depends on the scale of the factors, they are balanced before every step instead.

    Args:
        factors: Q_1, ..., Q_k.
        lipschitz: L_1, ..., L_k, scalars.
        gradient: g, or a Hessian-vector product; shape (n_1, ..., n_k).
        probe: v with g = H v if `rule.newton`, otherwise not read.
        draws: the random numbers of the step.
        rule: how to move.

    Returns:
        The new factors and the new L, dtypes unchanged.

    Raises:
        ValueError: if the normalizer is neither of the two.

    Source: psgd_torch, `update_precond_kron_*`; arXiv 2402.11858, number not seen.
    """
    row = rule.geometry
    normalizer = _normalizer(rule.normalizer)
    if row.basis == "factor":
        factors = kronecker.balance(factors)
    if rule.damping is not None:
        gradient = damped(gradient, draws.noise, rule.damping)
    if not rule.newton:
        probe = draws.noise if row.basis == "whitened" else None
    moved, tracked = [], []
    both = terms(factors, gradient, probe, row.basis)
    for axis, (q, (first, second)) in enumerate(zip(factors, both, strict=True)):
        ell = normalizer(first, second, draws.norm_probes[axis])
        if rule.tracks_lipschitz:
            ell = factor.lipschitz(lipschitz[axis], ell, rule.beta)
        tracked.append(np.asarray(ell, lipschitz[axis].dtype))
        # Where the criterion has no slope at all, nothing moves.
        rate = rule.learning_rate / ell if ell > 0 else 0.0
        step = np.asarray(rate, lipschitz[axis].dtype)
        relative = factor.relative_gradient(first, second)
        if q.ndim == 1:
            moved.append(row.vector(q, relative, step))
        else:
            auxiliary = Auxiliary(draws.rotation_probes[axis])
            moved.append(row.matrix(q, relative, step, auxiliary))
    if row.basis != "factor" and draws.balance < _BALANCE_PROBABILITY:
        moved = kronecker.balance(moved)
    return moved, tracked


def whitening_scale(gradients: Sequence[np.ndarray], damping: float | None) -> np.ndarray:
    """Return the initial scale s of Q = s I from the first gradients.

    s = (max over tensors of mean |g|^4 + damping^4)^(-1/8), computed in units of the largest
    modulus, so that no power leaves the range of the dtype.

    Args:
        gradients: the tensors, of any shapes, each with at least one entry.
        damping: as in `damped`; None is 0.

    Returns:
        s, a real scalar; infinite if everything is zero.

    Source: psgd_torch, `KronWhiten`; no paper.
    """
    magnitudes = [_magnitude(gradient) for gradient in gradients]
    damping = 0.0 if damping is None else damping
    peak = max(damping, *(np.max(magnitude) for magnitude in magnitudes))
    if peak == 0:
        return np.asarray(np.inf, magnitudes[0].dtype)
    fourth = max(np.mean((magnitude / peak) ** 4) for magnitude in magnitudes)
    scale = (fourth + (damping / peak) ** 4) ** (-1 / 8) / np.sqrt(peak)
    return np.asarray(scale, magnitudes[0].dtype)


def newton_scale(
    vectors: Sequence[np.ndarray], products: Sequence[np.ndarray], damping: float | None
) -> np.ndarray:
    """Return the initial scale s of Q = s I from the first pairs of vectors and products.

    s = (mean |v|^2)^(1/4) (max over tensors of mean |H v|^4 + damping^4)^(-1/8), the first mean
    over all entries of all tensors.

    Args:
        vectors: v, tensors of any shapes.
        products: H v, of the same shapes, each with at least one entry.
        damping: as in `damped`; None is 0.

    Returns:
        s, a real scalar.

    Source: psgd_torch, `KronNewton`; no paper.
    """
    size = sum(vector.size for vector in vectors)
    rms = global_norm(list(vectors)) / np.sqrt(size)
    scale = whitening_scale(products, damping)
    return np.asarray(np.sqrt(rms) * scale, scale.dtype)


def second_moment_scale(
    vectors: Sequence[np.ndarray] | None, gradients: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the scale s of Q = s I at which the criterion of the given tensors is least.

    s = (sum |v|^2 / sum |h|^2)^(1/4), both sums over all entries of all tensors, so that
    c(s^2 I) = s^2 sum |h|^2 + s^-2 sum |v|^2 is least. Without v, sum |v|^2 is replaced by its
    mean, the number of entries.

    Args:
        vectors: v, tensors of any shapes; None integrates v out.
        gradients: h, tensors of the same shapes, with at least one entry.

    Returns:
        s, a real scalar; infinite if h is zero.

    Source: psgd_torch, `preconditioned_stochastic_gradient_descent.py`, the initial scale of 2023;
    no paper.
    """
    dtype = np.result_type(*(_magnitude(gradient) for gradient in gradients))
    if vectors is None:
        root = np.sqrt(np.sqrt(sum(gradient.size for gradient in gradients)))
    else:
        root = np.sqrt(global_norm(list(vectors)))
    norm = global_norm(list(gradients))
    # Of the quotient of both norms the root is taken first, or the quotient may overflow.
    return np.asarray(root / np.sqrt(norm) if norm > 0 else np.inf, dtype)


def _normalizer(name: str):
    if name not in _NORMALIZERS:
        allowed = ", ".join(repr(known) for known in _NORMALIZERS)
        raise ValueError(f"normalizer is {name!r}; allowed are {allowed}")
    return _NORMALIZERS[name]


def _gradient_size(first, second, probes):
    return factor.gradient_size(first, second)


_NORMALIZERS = {"2nd": factor.smoothness, "1st": _gradient_size}


def _magnitude(array: np.ndarray) -> np.ndarray:
    """Return |array|, in float32 at least: a mean kept in bfloat16 is of few numbers."""
    magnitude = np.abs(array)
    return magnitude.astype(np.promote_types(magnitude.dtype, np.float32))


def _gram(q: np.ndarray, tensor: np.ndarray, axis: int) -> np.ndarray:
    """Return the Gram matrix along an axis, or its diagonal where the factor is one."""
    gram = kronecker.gram_diagonal if q.ndim == 1 else kronecker.gram
    return gram(tensor, axis)


def _along(q: np.ndarray, tensor: np.ndarray, axis: int) -> np.ndarray:
    """Apply one factor along its axis, and the identity along the others."""
    identities = [np.ones(size, q.real.dtype) for size in tensor.shape]
    return kronecker.apply([*identities[:axis], q, *identities[axis + 1 :]], tensor)


def _share(tensor: np.ndarray, axis: int) -> np.ndarray:
    """Return N / n_i, in the real dtype of the tensor."""
    return np.asarray(tensor.size / tensor.shape[axis], np.abs(tensor).dtype)


def _whitened_terms(factors, gradient, probe):
    a = kronecker.apply(factors, gradient)
    b = solve_adjoint(factors, probe)
    return [(_gram(q, a, axis), _gram(q, b, axis)) for axis, q in enumerate(factors)]


def _factor_terms(factors, gradient, probe):
    x = kronecker.apply_normal(factors, gradient)
    both = []
    for axis, q in enumerate(factors):
        if probe is not None:
            second = _gram(q, _along(q, probe, axis), axis)
        elif q.ndim == 1:
            second = _share(x, axis) * np.abs(q) ** 2
        else:
            second = _share(x, axis) * (q @ q.conj().T)
        both.append((_gram(q, _along(q, x, axis), axis), second))
    return both


def _plain_terms(factors, x, probe):
    return [
        (_gram(q, x, axis), _share(x, axis) if probe is None else _gram(q, probe, axis))
        for axis, q in enumerate(factors)
    ]


def _normal_terms(factors, gradient, probe):
    return _plain_terms(factors, kronecker.apply_normal(factors, gradient), probe)


def _direct_terms(factors, gradient, probe):
    return _plain_terms(factors, kronecker.apply(factors, gradient), probe)


_TERMS = {
    "whitened": _whitened_terms,
    "factor": _factor_terms,
    "normal": _normal_terms,
    "direct": _direct_terms,
}
