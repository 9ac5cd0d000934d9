"""What is common to all ways to move one Kronecker factor: gradient, smoothness and step."""

import numpy as np

from reference.linalg.norm_bounds import hermitian_norm_bound, norm_bound
from reference.optimizer import keeps_dtype

__all__ = ["gradient_size", "lipschitz", "relative_gradient", "smoothness"]


def smoothness(
    first: np.ndarray, second: np.ndarray | float, probes: np.ndarray | None
) -> np.ndarray:
    """Return how fast the gradient of the criterion changes in the local coordinate.

    ell = ||T1 + T2||; ||T1|| + T2 if T2 is a multiple of the identity; max(T1 + T2) if the factor
    is diagonal.

    Args:
        first: T1, shape (n, n), positive semidefinite, or (n,), its diagonal.
        second: T2, same shape, or the number by which it multiplies the identity.
        probes: standard normal rows, shape (k, n), for the lower bound of the norm; with None the
            norm is exact. Not used for a diagonal factor.

    Returns:
        ell, a real scalar.

    Source: psgd_torch, "2nd" order Lipschitz estimate; arXiv 2402.11858, number not seen.
    """
    scalar = np.ndim(second) == 0
    if first.ndim == 1:
        ell = np.max(first + second)
    elif scalar:
        ell = _norm(first, probes) + second
    else:
        ell = _norm(first + second, probes)
    return np.asarray(ell, dtype=first.real.dtype)


@keeps_dtype
def lipschitz(previous: np.ndarray, smoothness: np.ndarray, beta: float) -> np.ndarray:
    """Return the running estimate of the smoothness, which never is below the present one.

    L_t = max(beta L_{t-1} + (1 - beta) ell, ell).

    Args:
        previous: L_{t-1}, a scalar; 0 at the start.
        smoothness: ell, a scalar.
        beta: the decay, in [0, 1); with 0, L_t = ell.

    Returns:
        L_t, a scalar.

    Source: psgd_torch, `update_precond_kron_eq` and its siblings; no paper.
    """
    return np.maximum(beta * previous + (1 - beta) * smoothness, smoothness)


def relative_gradient(first: np.ndarray, second: np.ndarray | float) -> np.ndarray:
    """Return half the gradient of the criterion in the local coordinate.

    E = T1 - T2,  the gradient of c(P) = E[h^H P h + v^H P^-1 v].

    Args:
        first: T1, shape (n, n) or (n,).
        second: T2, same shape, or the number by which it multiplies the identity.

    Returns:
        E, of the shape and dtype of T1; 0 where the factor is fitted.

    Source: arXiv 2402.11858, table of the local coordinates, number not seen; psgd_torch.
    """
    if first.ndim == 2 and np.ndim(second) == 0:
        second = second * np.eye(len(first), dtype=first.dtype)
    return (first - second).astype(first.dtype)


def gradient_size(first: np.ndarray, second: np.ndarray | float) -> np.ndarray:
    """Return the size of the gradient along which a triangular or diagonal factor moves.

    ell = ||triu(T1 - T2)||, the norm by its lower bound; max |T1 - T2| if the factor is diagonal.

    Args:
        first: T1, shape (n, n) or (n,).
        second: T2, same shape, or the number by which it multiplies the identity.

    Returns:
        ell, a real scalar; 0 where the factor is fitted.

    Source: psgd_torch, `preconditioned_stochastic_gradient_descent.py`, step normalizer "1st"; no
    paper.
    """
    gradient = relative_gradient(first, second)
    size = np.max(np.abs(gradient)) if gradient.ndim == 1 else norm_bound(np.triu(gradient))
    return np.asarray(size, dtype=first.real.dtype)


def _norm(matrix: np.ndarray, probes: np.ndarray | None) -> np.ndarray:
    if probes is None:
        return np.asarray(np.linalg.norm(matrix, 2))
    return hermitian_norm_bound(matrix, probes)
