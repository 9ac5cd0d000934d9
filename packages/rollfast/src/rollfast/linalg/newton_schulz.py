"""Newton–Schulz iterations towards the polar factor of a matrix."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp

from rollfast.linalg.hermitian import hermitian_product
from rollfast.options import check_choice
from rollfast.typing import Array, Number, accumulator_dtype

__all__ = ["COEFFICIENTS", "Row", "coefficients", "newton_schulz", "normalize", "polar"]

Row = tuple[float, float, float]
Carry = TypeVar("Carry")

_POLAR_EXPRESS: tuple[Row, ...] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)
_SAFETY = 1.01

COEFFICIENTS: dict[str, tuple[Row, ...]] = {
    # K. Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024).
    "jordan": ((3.4445, -4.7750, 2.0315),),
    # Five rows of the Newton–Schulz baseline in the repository of Dion (arXiv 2504.05295).
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    # Polar Express, arXiv 2505.16932v3, Algorithm 1: every row but the last is slowed down, so
    # that rounding above one cannot leave the interval on which the polynomial is safe.
    "polar_express": (
        *((a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in _POLAR_EXPRESS[:-1]),
        _POLAR_EXPRESS[-1],
    ),
    "polar_express_unsafe": _POLAR_EXPRESS,
    # The classical iteration x (3 - x²) / 2; Higham, "Functions of Matrices" (2008), chapter 8.
    "cubic": ((1.5, -0.5, 0.0),),
}


def coefficients(name: str) -> tuple[Row, ...]:
    """Return the published rows (a, b, c) of x ← a x + b x³ + c x⁵, in order of use.

    Iteration k uses row min(k, number of rows - 1).

    Args:
        name: `jordan`, `dion`, `polar_express`, `polar_express_unsafe` or `cubic`.

    Raises:
        ValueError: There is no table of that name.

    Source: beside each table.
    """
    check_choice("ns_coeffs", name, COEFFICIENTS)
    return COEFFICIENTS[name]


def normalize(matrix: Array, eps: Number) -> Array:
    """Return X / (‖X‖_F + eps), and zero for a zero matrix, without overflow or underflow."""
    largest = jnp.max(jnp.abs(matrix), initial=0)
    unit = jnp.where(largest > 0, largest, 1)
    scaled = matrix / unit
    # A sum of many squares leaves the range of float16.
    squares = jnp.sum(jnp.square(jnp.abs(scaled)), dtype=accumulator_dtype(unit.dtype))
    norm = (jnp.sqrt(squares) + eps / unit).astype(unit.dtype)
    # Of (X / a) / b some releases of XLA make X / (a b), and a b is ‖X‖ again, which may overflow.
    return scaled * (1 / jnp.where(norm > 0, norm, 1))


def iterate(
    body: Callable[[Carry, Sequence[Number] | Array], Carry],
    carry: Carry,
    rows: Sequence[Row],
    iterations: int | Array,
) -> Carry:
    """Apply `body(carry, row)` with rows 0, 1, …, the last one repeated.

    A Python number of iterations is unrolled; a traced one (an injected hyperparameter) is looped.
    """
    if isinstance(iterations, int):
        for index in range(iterations):
            carry = body(carry, rows[min(index, len(rows) - 1)])
        return carry
    table = jnp.asarray(rows)

    def looped(index: Array, carry: Carry) -> Carry:
        row = table[jnp.minimum(index, len(rows) - 1)]
        return body(carry, jax.tree.map(lambda number: number.astype(_real(carry)), tuple(row)))

    return jax.lax.fori_loop(0, iterations, looped, carry)


def _real(carry: Carry) -> jnp.dtype:
    return jnp.finfo(jax.tree.leaves(carry)[0].dtype).dtype


def newton_schulz(
    matrix: Array, rows: Sequence[Row], iterations: int | Array, eps: Number = 0.0
) -> Array:
    """Move every singular value of a matrix towards one, keeping its singular vectors.

    X₀ = X / (‖X‖_F + eps), then X ← a X + (b A + c A²) X with A = X Xᴴ.

    Args:
        matrix: (m, n), real or complex; the products are formed on its shorter side.
        rows: Coefficients (a, b, c), see `coefficients`.
        iterations: Number of iterations.
        eps: Added to the Frobenius norm; with 0 the result does not depend on the scale of X.

    Returns:
        (m, n), in the dtype of the matrix; zero for a zero matrix.

    Source: K. Jordan's Muon (2024) for the quintic form; Higham (2008), chapter 8.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    start = normalize(matrix.conj().T if tall else matrix, eps)

    def body(x: Array, row: Sequence[Number] | Array) -> Array:
        a, b, c = row
        gram = hermitian_product(x, x.conj().T)
        return a * x + (b * gram + c * hermitian_product(gram, gram)) @ x

    result = iterate(body, start, rows, iterations)
    return result.conj().T if tall else result


def polar(matrix: Array) -> Array:
    """Return the polar factor U Vᴴ of X = U Σ Vᴴ, by the singular value decomposition.

    Only singular values above eps · max(m, n) · σ₁ count: where X has none, the nearest matrix with
    orthonormal columns is not unique, and the factor is zero there.

    Args:
        matrix: (m, n), real or complex.

    Returns:
        (m, n): a partial isometry with the row and column spaces of X.

    Source: Higham, "Functions of Matrices" (2008), chapter 8.
    """
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    cutoff = jnp.finfo(matrix.dtype).eps * max(matrix.shape) * jnp.max(values, initial=0)
    return (left * (values > cutoff)) @ right
