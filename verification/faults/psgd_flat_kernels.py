"""Wrong versions of the fits of X-shaped, low-rank and dense factors, and of Hessian products."""

from verification.faults.fault import Fault, slip

X_MATRIX, LOW_RANK = "psgd.x_matrix", "psgd.low_rank"
XMAT, LRA, DENSE = "psgd.xmat", "psgd.lra.update_factor", "psgd.dense"
HESSIAN = "psgd.hessian.finite_difference_product"
PSGD_JAX = "psgd_jax 0.1.5"


def _of_x(function: str, name: str, old: str, new: str) -> Fault:
    return slip(f"{XMAT}.{function}", name, old, new, module=X_MATRIX)


def _of_low_rank(name: str, old: str, new: str) -> Fault:
    return slip(LRA, name, old, new, module=LOW_RANK)


X_SHAPED = (
    _of_x(
        "product",
        "second factor not reversed",
        "a * right.antidiagonal + b * jnp.flip(right.diagonal)",
        "a * right.antidiagonal + b * right.diagonal",
    ),
    _of_x("inverse", "a not reversed", "jnp.flip(a) / determinant", "a / determinant"),
    _of_x("inverse", "sign of b", "-b / determinant", "b / determinant"),
    _of_x(
        "apply",
        "transposed",
        "factor.antidiagonal * jnp.flip(vector)",
        "jnp.flip(factor.antidiagonal * vector)",
    ),
    _of_x(
        "apply_adjoint",
        "not transposed",
        "jnp.flip(factor.antidiagonal * vector)",
        "factor.antidiagonal * jnp.flip(vector)",
    ),
    _of_x("apply_normal", "b not reversed", "a * a + jnp.flip(b * b)", "a * a + b * b"),
    _of_x(
        "update_factor",
        "middle entry not zero",
        "across.at[h.shape[0] // 2].set(0)",
        "across.at[h.shape[0] // 2].add(0)",
    ),
    _of_x(
        "update_factor",
        "b of the pair not reversed",
        "image * jnp.flip(image) - dual * jnp.flip(dual)",
        "image * jnp.flip(image) - dual * dual",
    ),
    _of_x(
        "update_factor",
        "Q E for E Q",
        "product(XMatrix(along, across), factor)",
        "product(factor, XMatrix(along, across))",
    ),
    _of_x(
        "update_factor",
        "inverse not transposed",
        "apply_adjoint(inverse(factor), v)",
        "apply(inverse(factor), v)",
    ),
    _of_x("update_factor", "one order for all", '"1st": _largest', '"1st": _curvature'),
    _of_x(
        "update_factor",
        "size of the diagonal alone",
        "jnp.maximum(jnp.max(jnp.abs(along)), jnp.max(jnp.abs(across)))",
        "jnp.max(jnp.abs(along))",
    ),
    slip(
        f"{XMAT}.update_factor",
        "estimate remembered in every order",
        'lipschitz(previous, size, self.beta) if self.order == "tracked" else size',
        "lipschitz(previous, size, self.beta)",
        module="psgd.flat",
    ),
)
LOW_RANKS = (
    slip(
        "psgd.lra.apply_normal",
        "UᵀU left out",
        "u + factor.gram[:rank, :rank] @ v",
        "u",
        module=LOW_RANK,
    ),
    _of_low_rank(
        "U and V both moved",
        "return jax.lax.cond(draws.side < 0.5, turn_u, turn_v)",
        "(one, first), (other, second) = turn_u(), turn_v()\n"
        "    return one + other - identity, first.at[1].set(second[1])",
    ),
    _of_low_rank("the other side moved", "draws.side < 0.5", "draws.side >= 0.5"),
    _of_low_rank(
        "K not transposed", "jnp.linalg.solve(kernel.T, w_u)", "jnp.linalg.solve(kernel, w_u)"
    ),
    _of_low_rank(
        "K transposed in the step of U",
        "jnp.stack([a_v @ kernel, -b_v @ kernel], 1)",
        "jnp.stack([kernel @ a_v, -kernel @ b_v], 1)",
    ),
    _of_low_rank(
        "d moved before a and b are computed",
        "    if factor.rank:\n        turn, divisors",
        "    if factor.rank:\n"
        "        images = _images(pair.weights @ balance, factor.rows, factor.diagonal, h, v)\n"
        "        change = rule.step(of_diagonal) * (images.first - images.second)\n"
        "        early = factor._replace(diagonal=factor.diagonal * (1 - change))\n"
        "        pair = _pair(early, balance, gram, (h, v), rule.order)\n"
        "        turn, divisors",
    ),
    Fault(
        "old balance for the new one",
        LRA,
        '"tracked": _balance_closely',
        '"tracked": _balance_rarely',
        f"{PSGD_JAX}: one scalar in one step of a hundred",
        module=LOW_RANK,
    ),
    _of_low_rank(
        "root for fourth root",
        "jnp.where(can, of_v, 1)) ** 0.25",
        "jnp.where(can, of_v, 1)) ** 0.5",
    ),
    _of_low_rank("E² not halved", "apart @ apart / 2", "apart @ apart"),
    _of_low_rank(
        "rows taken as if they were balanced",
        "gram = balance @ factor.gram @ balance.T",
        "gram = factor.gram",
    ),
    _of_low_rank(
        "L of the other side", "divisors.at[1].set(divisor)", "divisors.at[0].set(divisor)"
    ),
    _of_low_rank("L of V from that of U", "rule.divisor(divisors[1],", "rule.divisor(divisors[0],"),
    _of_low_rank(
        "Gram matrix not updated",
        "after = jnp.where(sound, turn @ whole @ turn.T, factor.gram)",
        "after = factor.gram",
    ),
    Fault(
        "old size of the diagonal's gradient",
        LRA,
        '"tracked": _largest_of_each',
        '"tracked": _largest_product',
        f"{PSGD_JAX}: one scalar, the smallest of products of roots",
        module=LOW_RANK,
    ),
    _of_low_rank(
        "sign of b",
        "add(-step * jnp.stack([a_u, -b_u], 1))",
        "add(-step * jnp.stack([a_u, b_u], 1))",
    ),
    _of_low_rank("V moved without I + V Uᵀ", "rank:-2].add(-within)", "rank:-2].add(0 * within)"),
)
COLUMNS = (
    slip(
        LRA,
        "columns moved twice",
        "start + jnp.arange(_COLUMNS) >= index * _COLUMNS",
        "start + jnp.arange(_COLUMNS) >= 0",
        module="trees.columns",
    ),
    slip(
        LRA,
        "columns that are left over counted twice",
        "start = first + index * _COLUMNS",
        "start = index * _COLUMNS",
        module="trees.columns",
    ),
)
DENSES = (
    slip(
        f"{DENSE}.update_factor",
        "n for one",
        "(second if second.ndim == 0",
        "(second * first.shape[0] if second.ndim == 0",
    ),
    slip(f"{DENSE}.update_factor", "one order for all", '"1st": _norm', '"1st": _curvature'),
)
HESSIANS = (
    Fault(
        "difference not divided by the step",
        HESSIAN,
        "lambda there, here: (there - here) / length, far, near)",
        "lambda there, here: there - here, far, near)",
        "psgd_torch, the earlier module: leaves it to the scale of the vector",
    ),
    Fault(
        "vector for what rounding leaves of it",
        HESSIAN,
        "far, near), used",
        "far, near), vector",
        "psgd_torch, the earlier module",
    ),
    slip(HESSIAN, "step of ε", "default=0.0) ** 0.5", "default=0.0)"),
    slip(HESSIAN, "second step not forced", "_FORCED_STEPS = 2", "_FORCED_STEPS = 1"),
    slip(HESSIAN, "vector not conjugated", "jax.tree.map(jnp.conj, used)", "used"),
    slip(
        HESSIAN,
        "unit variance of a complex entry",
        "jax.lax.complex(parts[0], parts[1])",
        "jax.lax.complex(parts[0], parts[1]) * 0.5**0.5",
    ),
)
SHARED = (
    slip(
        "guards.clip_by_global_norm",
        "short updates lengthened",
        "factor = 1 / jnp.maximum(global_norm(updates) / max_norm, 1)",
        "factor = max_norm / global_norm(updates)",
    ),
    slip(
        "linalg.norm_bounds.norm_bound",
        "from the lighter side",
        "by_column = jnp.max(of_columns) > jnp.max(of_rows)",
        "by_column = jnp.max(of_columns) < jnp.max(of_rows)",
    ),
    slip(
        "linalg.norm_bounds.norm_bound",
        "column not conjugated",
        "adjoint[jnp.argmax(of_columns)] @ scaled",
        "scaled.T[jnp.argmax(of_columns)] @ scaled",
    ),
    slip(
        "psgd.factor.gradient_size",
        "whole matrix for its upper half",
        "norm_bound(jnp.triu(error))",
        "norm_bound(error)",
    ),
    slip(
        "psgd.fitting.update_factors",
        "one order for all",
        'if rule.normalizer == "1st":',
        'if rule.normalizer == "":',
    ),
    slip(
        "psgd.fitting.second_moment_scale",
        "squared",
        "jnp.sqrt(jnp.where(known, one, 1)) / jnp.sqrt(jnp.where(known, size, 1))",
        "jnp.where(known, one, 1) / jnp.where(known, size, 1)",
        module="psgd.moments",
    ),
    slip(
        "psgd.plan.matrix_view",
        "split after the first axis alone",
        "for at in range(1, len(shape))",
        "for at in range(1, 2)",
    ),
    slip(
        "psgd.plan.matrix_view",
        "last of equals",
        "return min(views, key",
        "return min(views[::-1], key",
    ),
)
KERNELS = (*X_SHAPED, *LOW_RANKS, *COLUMNS, *DENSES, *HESSIANS, *SHARED)
