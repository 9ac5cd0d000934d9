"""The polar factor of a matrix, exactly and by odd polynomials (Newton-Schulz iterations)."""

import numpy as np
import scipy.linalg

from reference.guards import global_norm
from reference.optimizer import keeps_dtype

__all__ = ["coefficients", "newton_schulz", "polar"]

_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)

_COEFFICIENTS = {
    "jordan": ((3.4445, -4.7750, 2.0315),),
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    "polar_express": (
        *((a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in _POLAR_EXPRESS[:-1]),
        _POLAR_EXPRESS[-1],
    ),
    "polar_express_unsafe": _POLAR_EXPRESS,
    "cubic": ((1.5, -0.5, 0.0),),
}


def coefficients(name: str) -> tuple[tuple[float, float, float], ...]:
    """Return the polynomials p_k(s) = a_k s + b_k s^3 + c_k s^5 of a named iteration.

    Iteration k (from 0) uses row min(k, number of rows - 1): the last row repeats.

    Args:
        name: "jordan", "dion", "polar_express" (each row but the last is p_k(s / 1.01)),
            "polar_express_unsafe" (without that margin) or "cubic" (s (3 - s^2) / 2).

    Returns:
        The rows (a_k, b_k, c_k).

    Raises:
        ValueError: if the name is none of these.

    Source: jordan: K. Jordan, Muon (code, no paper). dion: Ahn et al., Dion, arXiv 2504.05295 and
    its code (number not seen). polar_express: Amsel et al., arXiv 2505.16932v3, Algorithm 1.
    cubic: Newton-Schulz, N. Higham, Functions of Matrices, chapter 8 (number not seen).
    """
    if name not in _COEFFICIENTS:
        allowed = ", ".join(repr(known) for known in _COEFFICIENTS)
        raise ValueError(f"coefficients: name is {name!r}; allowed are {allowed}")
    return _COEFFICIENTS[name]


@keeps_dtype
def newton_schulz(
    matrix: np.ndarray,
    rows: tuple[tuple[float, float, float], ...],
    iterations: int,
    eps: float,
) -> np.ndarray:
    """Send every singular value of a matrix through the polynomials of `rows`.

    X_0 = X / (||X||_F + eps);  X_{k+1} = a_k X_k + (b_k A + c_k A^2) X_k,  A = X_k X_k^H.

    A is formed on the shorter side: for a tall matrix A = X_k^H X_k multiplies from the right.

    Args:
        matrix: X, shape (m, n).
        rows: the coefficients (a_k, b_k, c_k); the last row repeats.
        iterations: the number of polynomials applied.
        eps: added to the Frobenius norm, in units of `matrix`.

    Returns:
        X_iterations, shape (m, n): U diag(p(s / (||s|| + eps))) V^H, if X = U diag(s) V^H. A zero
        matrix stays zero.

    Source: K. Jordan, Muon (code, no paper); arXiv 2505.16932v3, Algorithm 1, which divides by
    1.01 ||X||_F + 1e-7 instead.
    """
    norm = global_norm([matrix]) + eps
    x = matrix / norm if norm > 0 else matrix
    for k in range(iterations):
        a, b, c = rows[min(k, len(rows) - 1)]
        if x.shape[0] <= x.shape[1]:
            gram = x @ x.conj().T
            x = a * x + (b * gram + c * gram @ gram) @ x
        else:
            gram = x.conj().T @ x
            x = a * x + x @ (b * gram + c * gram @ gram)
    return x


def polar(matrix: np.ndarray) -> np.ndarray:
    """Return the polar factor of a matrix.

    polar(X) = U V^H,  X = U diag(s) V^H  with s > 0.

    Singular values that are zero to working precision (below eps max(m, n) max(s)) have no
    direction and are left out, so polar(0) = 0, as in every Newton-Schulz iteration.

    Args:
        matrix: X, shape (m, n).

    Returns:
        polar(X), shape (m, n), a partial isometry with the row and column space of X.

    Source: N. Higham, Functions of Matrices, chapter 8 (number not seen).
    """
    u, s, vh = scipy.linalg.svd(matrix, full_matrices=False)
    rank = np.sum(s > np.finfo(s.dtype).eps * max(matrix.shape) * np.max(s, initial=0.0))
    return u[:, :rank] @ vh[:rank]
