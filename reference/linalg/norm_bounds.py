"""Lower bounds of the spectral norm by a few power steps."""

import numpy as np

__all__ = ["hermitian_norm_bound", "norm_bound", "skew_norm_bound"]


def hermitian_norm_bound(matrix: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """Return a lower bound of the spectral norm of a positive semidefinite matrix.

    s = max_i A_ii + tiny;  A <- A / s;  j = argmax_i |A_i|  (A_i is row i);
    V_i <- A_j + sgn(<A_j, V_i>) V_i,  <x, y> = sum x conj(y),  sgn z = z / |z|, sgn 0 = 0;
    twice: V <- V A;  V_i <- V_i / (|V_i| + tiny);  V <- V A;
    bound = s max_i |V_i|,  tiny the smallest normal number of the dtype.

    Every row of the last product is a unit vector times A, hence no longer than ||A||.

    Args:
        matrix: A, shape (n, n), Hermitian without negative eigenvalues.
        probes: V, standard normal rows, shape (k, n).

    Returns:
        The bound, a real scalar; equal to ||A|| if A has rank one, and 0 if A = 0.

    Source: psgd_torch, `norm_lower_bound_spd`; no paper.
    """
    return _power_bound(matrix, np.max(np.real(np.diagonal(matrix))), probes)


def norm_bound(matrix: np.ndarray) -> np.ndarray:
    """Return a lower bound of the spectral norm of any matrix, without random vectors.

    s = max_ij |A_ij|;  A <- A / s;  c the longest column of A and r the longest row;
    if |c| > |r|:  x = c^H A,         bound = s |(x / |x|) A^H|;
    otherwise:     x = A conj(r)^T,   bound = s |A^H (x / |x|)|.

    Both are a unit vector times A^H, hence no longer than ||A||. Of random matrices the bound is
    above ||A|| / sqrt(2).

    Args:
        matrix: A, shape (m, n).

    Returns:
        The bound, a real scalar; equal to ||A|| if A has rank one, and 0 if A = 0.

    Source: psgd_torch, `norm_lower_bound` of 2024; no paper.
    """
    scale = np.max(np.abs(matrix))
    if scale == 0:
        return scale
    scaled = matrix / scale
    columns = np.linalg.norm(scaled, axis=0)
    rows = np.linalg.norm(scaled, axis=1)
    if np.max(columns) > np.max(rows):
        x = scaled[:, np.argmax(columns)].conj() @ scaled
        image = (x / np.linalg.norm(x)) @ scaled.conj().T
    else:
        x = scaled @ scaled[np.argmax(rows)].conj()
        image = scaled.conj().T @ (x / np.linalg.norm(x))
    return np.asarray(scale * np.linalg.norm(image), dtype=matrix.real.dtype)


def skew_norm_bound(matrix: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """Return a lower bound of the spectral norm of a skew-Hermitian matrix.

    As `hermitian_norm_bound` with s = max_ij |A_ij| + tiny, since the diagonal may vanish.

    Args:
        matrix: A, shape (n, n), with A^H = -A.
        probes: V, standard normal rows, shape (k, n).

    Returns:
        The bound, a real scalar; 0 if A = 0.

    Source: psgd_torch, `norm_lower_bound_skh`; no paper.
    """
    return _power_bound(matrix, np.max(np.abs(matrix)), probes)


def _power_bound(matrix: np.ndarray, largest: np.ndarray, probes: np.ndarray) -> np.ndarray:
    # The exponents of bfloat16, of which NumPy knows no limits, are those of float32.
    tiny = np.finfo(np.promote_types(matrix.dtype, np.float32)).tiny
    scale = largest + tiny
    scaled = matrix / scale
    longest = scaled[np.argmax(np.linalg.norm(scaled, axis=1))]
    # Without this turn a vector could miss the range of a matrix of low rank.
    vectors = longest + np.sign(probes.conj() @ longest)[:, None] * probes
    for _ in range(2):
        vectors = vectors @ scaled
        vectors = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + tiny)
        vectors = vectors @ scaled
    bound = scale * np.max(np.linalg.norm(vectors, axis=1))
    return np.asarray(bound, dtype=matrix.real.dtype)
