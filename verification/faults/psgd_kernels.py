"""Wrong versions of the rules of a Kronecker factor, and of the linear algebra under them."""

from verification.faults.fault import Fault, slip

NORMS, ROTATIONS = "linalg.norm_bounds", "linalg.procrustes"
KRONECKER, POSITIVE = "linalg.kronecker", "linalg.positive"
SOLVE = "linalg.triangular.solve_adjoint"
GEOMETRY = "psgd.geometry"
ROLLFAST = "rollfast 0.1.0"
FIVE_ITERATIONS = (
    "return (count < least_iterations) | ((residual > enough) & (count < _MOST_ITERATIONS))",
    "return count < least_iterations",
    f"{ROLLFAST} and 0.2.1, mode NS: a direction with σ below a fifth vanishes for good",
)


def _diagonal(row: str, coordinate: str, new: str, name: str) -> Fault:
    """Return a wrong rule of a diagonal factor, found by the end of its docstring."""
    end = f"{coordinate}, q ← (1 - μ E) q. All (n,) and a scalar." + '"""\n    return '
    return slip(f"{GEOMETRY}.{row}_vector", name, f"{end}q * (1 - step * gradient)", f"{end}{new}")


LINALG = (
    Fault(
        "sign of the real part",
        f"{NORMS}.hermitian_norm_bound",
        "jnp.sign(probes.conj() @ heaviest)",
        "jnp.sign(jnp.real(probes.conj() @ heaviest))",
        f"{ROLLFAST}: for complex matrices",
    ),
    slip(
        f"{NORMS}.hermitian_norm_bound",
        "half of the power steps",
        "_HALF_STEPS = 2",
        "_HALF_STEPS = 1",
    ),
    slip(
        f"{NORMS}.skew_norm_bound",
        "shortest row",
        "_root(jnp.max(_square_norms(vectors)))",
        "_root(jnp.min(_square_norms(vectors)))",
    ),
    slip(
        f"{ROTATIONS}.rotate_second_order",
        "second term not halved",
        "turn, back = step * generator, step**2 / 2 * square",
        "turn, back = step * generator, step**2 * square",
    ),
    slip(
        f"{ROTATIONS}.rotate_second_order",
        "away from the identity",
        "slope = -jnp.sum",
        "slope = jnp.sum",
    ),
    slip(
        f"{ROTATIONS}.rotate_second_order",
        "trace without conjugate",
        "jnp.real(generator.conj() * matrix)",
        "jnp.real(generator * matrix)",
    ),
    slip(
        f"{ROTATIONS}.rotate_second_order",
        "square as if Hermitian",
        "multiplier(matrix, -matrix)",
        "multiplier(matrix, matrix)",
        module="linalg.hermitian",
    ),
    slip(
        f"{ROTATIONS}.rotate_second_order",
        "read across without conjugate",
        "return adjoint.conj().T if",
        "return adjoint.T if",
        module="linalg.hermitian",
    ),
    slip(
        f"{ROTATIONS}.rotate_second_order",
        "transposed without conjugate",
        "skew = adjoint(matrix) - matrix",
        "skew = matrix.T - matrix",
    ),
    slip(
        f"{ROTATIONS}.rotate_second_order",
        "rows turned over by themselves without conjugate",
        "cond(always, _turned, _turned_in_halves, matrix)",
        "cond(always, lambda a: a.T, _turned_in_halves, matrix)",
        module="linalg.hermitian",
    ),
    slip(
        f"{ROTATIONS}.rotate_third_order",
        "coefficient of Taylor's series",
        "step / 4 * thrice",
        "step / 3 * thrice",
    ),
    slip(
        f"{KRONECKER}.apply",
        "last factor transposed",
        "return tensor @ factor.T",
        "return tensor @ factor",
    ),
    slip(
        f"{KRONECKER}.apply_normal",
        "conjugate missing",
        "hermitian_product(adjoint_multiplier(factor), factor)",
        "hermitian_product(adjoint_multiplier(factor.conj()), factor)",
    ),
    slip(
        f"{KRONECKER}.gram",
        "columns without conjugate",
        "columns = tensor.reshape(-1, tensor.shape[axis]).conj()",
        "columns = tensor.reshape(-1, tensor.shape[axis])",
    ),
    slip(
        f"{KRONECKER}.gram",
        "long rows turned over without conjugate",
        "optimization_barrier(_turned(matrix))",
        "optimization_barrier(matrix.T)",
        module="linalg.hermitian",
    ),
    Fault(
        "imaginary part lost",
        f"{KRONECKER}.gram",
        "unfolded = jnp.moveaxis(tensor, axis, 0)",
        "unfolded = jnp.moveaxis(jnp.real(tensor), axis, 0)",
        f"{ROLLFAST}: Gram matrix after a cast to float32",
    ),
    Fault(
        "square of a complex number",
        f"{KRONECKER}.gram_diagonal",
        "jnp.real(tensor * tensor.conj()), axis=others",
        "jnp.real(tensor * tensor), axis=others",
        "PyTorch 59998: second moment of complex gradients",
    ),
    slip(
        f"{KRONECKER}.balance",
        "arithmetic mean",
        "mean = math.prod(modulus ** (1 / len(factors)) for modulus in largest)",
        "mean = sum(largest) / len(factors)",
    ),
    slip(SOLVE, "conjugate missing", "conjugate_a=True", "conjugate_a=False"),
    slip(SOLVE, "inverse for inverse adjoint", "transpose_a=True", "transpose_a=False"),
    slip(
        SOLVE,
        "second half solved as if it stood alone",
        "rest = rest - along(factor[:half, half:].conj().T, first, axis)",
        "rest = 1 * rest",
    ),
    slip(
        f"{KRONECKER}.apply_normal",
        "corner of a triangular one without what is above it",
        "last = last + upper_normal_factor",
        "last = upper_normal_factor",
        module="linalg.upper",
    ),
    slip(
        f"{GEOMETRY}.eq_matrix",
        "block above the diagonal from half of its sum",
        "across = left[:half] @ right[:, half:]",
        "across = left[:half, :half] @ right[:half, half:]",
        module="linalg.upper",
    ),
    slip(
        "psgd.fitting.terms",
        "block above the diagonal left out",
        "_along(factor[:half, :half], first, axis) + along(factor[:half, half:], last, axis)",
        "_along(factor[:half, :half], first, axis)",
        module="linalg.upper",
    ),
    slip(
        f"{GEOMETRY}.quad_matrix",
        "addend of a corner from above",
        "addend[rows, columns] + product",
        "addend[: product.shape[0], columns] + product",
        module="linalg.hermitian",
    ),
    Fault("five iterations", f"{POSITIVE}.hermitian_polar_factor", *FIVE_ITERATIONS),
    slip(
        f"{POSITIVE}.hermitian_polar_factor",
        "left factor for right one",
        "unitary.conj().T @ matrix",
        "matrix @ unitary.conj().T",
    ),
    slip(
        f"{POSITIVE}.exponential",
        "squared once too few",
        "for _ in range(_SQUARINGS):",
        "for _ in range(_SQUARINGS - 1):",
    ),
    slip(f"{POSITIVE}.cayley", "inverse alone", "return 2 * inverse - identity", "return inverse"),
)

RULES = (
    Fault(
        "triu(Q E) for triu(E) Q",
        f"{GEOMETRY}.eq_matrix",
        "return q - step * upper_product(jnp.triu(gradient), q)",
        "return q - step * jnp.triu(q @ gradient)",
        "HeavyBall from 7ed9762 to 318cf5f (3.0.0): right where Q = I",
    ),
    slip(
        f"{GEOMETRY}.eq_vector",
        "factor missing",
        "return q - step * gradient * q",
        "return q - step * gradient",
    ),
    slip(
        f"{GEOMETRY}.qep_matrix",
        "Q E for E Q",
        "return q - step * hermitian_times(gradient, q)",
        "return q - step * (q @ gradient)",
    ),
    _diagonal("qep", "dQ = Q E P", "q * (1 - step * gradient * q)", "one factor too many"),
    slip(
        f"{GEOMETRY}.qeq_matrix",
        "E Q for Q E",
        "return q - step * (q @ gradient)",
        "return q - step * (gradient @ q)",
    ),
    _diagonal("qeq", "dQ = Q E Q", "q * (1 + step * gradient)", "ascent"),
    slip(
        f"{GEOMETRY}.q0p5eq1p5_matrix",
        "not rotated",
        "return rotate_second_order(q - step * hermitian_times(gradient, q), _probes(auxiliary))",
        "return q - step * hermitian_times(gradient, q)",
    ),
    _diagonal(
        "q0p5eq1p5", "dQ = Q^½ E Q^(3/2)", "q * (1 - step / 2 * gradient)", "half of the step"
    ),
    slip(
        f"{GEOMETRY}.quad_matrix",
        "whole step on each side",
        "return _quadratic(q, -step / 2 * gradient)",
        "return _quadratic(q, -step * gradient)",
    ),
    Fault(
        "one plain step and its modulus",
        f"{GEOMETRY}.quad_vector",
        "return q * (1 - step / 2 * gradient) ** 2",
        "return jnp.abs(q * (1 - step * gradient))",
        f"{ROLLFAST}: diagonal factors of all modes",
    ),
    slip(
        f"{GEOMETRY}.quad4p_matrix",
        "half of the step on each side",
        "return _quadratic(q, -step * gradient)",
        "return _quadratic(q, -step / 2 * gradient)",
    ),
    slip(
        f"{GEOMETRY}.quad4p_vector",
        "one side alone",
        "return q * (1 - step * gradient) ** 2",
        "return q * (1 - step * gradient)",
    ),
    slip(
        f"{GEOMETRY}.pro4p_matrix",
        "one rotation",
        "_MOST_ROTATIONS = 10",
        "_MOST_ROTATIONS = 1",
    ),
    slip(
        f"{GEOMETRY}.pro4p_vector",
        "both sides",
        "p ← (1 - μ E) p. All (n,) and a scalar." + '"""\n    return q * (1 - step * gradient)',
        "p ← (1 - μ E) p. All (n,) and a scalar."
        + '"""\n    return q * (1 - step * gradient) ** 2',
    ),
    Fault(
        "five iterations",
        f"{GEOMETRY}.ns_matrix",
        *FIVE_ITERATIONS,
        module=POSITIVE,
    ),
    _diagonal("ns", "which needs no rotation", "q * (1 - step * gradient) ** 2", "both sides"),
    Fault(
        "symmetric part of Q exp(-μE)",
        f"{GEOMETRY}.exp_matrix",
        "return _congruence(q, exponential(-step / 2 * gradient))",
        "return hermitian_part(q @ exponential(-step * gradient))",
        f"{ROLLFAST}: neither a geodesic nor a congruence, and not positive",
    ),
    slip(
        f"{GEOMETRY}.exp_vector",
        "half of the step",
        "return q * jnp.exp(-step * gradient)",
        "return q * jnp.exp(-step / 2 * gradient)",
    ),
    Fault(
        "symmetric part of the expansion",
        f"{GEOMETRY}.taylor2_matrix",
        "return _congruence(q, identity - half + half @ half / 2)",
        "return hermitian_part(q @ (identity - 2 * half + 2 * half @ half))",
        f"{ROLLFAST}: loses what is positive",
    ),
    slip(
        f"{GEOMETRY}.taylor2_vector",
        "first order",
        "return q * (1 - half + half**2 / 2) ** 2",
        "return q * (1 - half) ** 2",
    ),
    Fault(
        "first order, nothing hyperbolic",
        f"{GEOMETRY}.hyper_matrix",
        "return _congruence(q, cayley(step / 4 * gradient))",
        "return hermitian_part(q - step * (q @ gradient))",
        f"{ROLLFAST}: QEQ made symmetric",
    ),
    slip(
        f"{GEOMETRY}.hyper_vector",
        "one side alone",
        "return q * ((1 - quarter) / (1 + quarter)) ** 2",
        "return q * ((1 - quarter) / (1 + quarter))",
    ),
)
