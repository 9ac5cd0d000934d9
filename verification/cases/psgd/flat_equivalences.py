"""Sentences about preconditioners of one vector, and Affine: computations that must agree."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import compiled
from verification.problems.matrices import gaussian
from verification.registry import production

__all__ = ["CHECKS"]

XMAT, LRA, DENSE = "psgd.xmat", "psgd.lra", "psgd.dense"
AFFINE = "psgd.affine.scale_by_affine"
Row = tuple[str, tuple[str, ...], dict[str, Any]]
SCALES: tuple[Row, ...] = (
    (f"{XMAT}.scale_by_xmat", ("a", "b", "L"), {}),
    (f"{LRA}.scale_by_lra", ("rows", "d", "gram", "L"), {"uvd_rank_of_approximation": 3}),
    (f"{DENSE}.scale_by_dense_newton", ("Q", "L"), {}),
)
ALIASES: tuple[tuple[str, dict[str, Any]], ...] = (
    (f"{XMAT}.xmat", {}),
    (f"{LRA}.low_rank_approximation", {"uvd_rank_of_approximation": 3}),
    (f"{DENSE}.dense_newton", {"preconditioner_mode": "EQ"}),
    ("psgd.affine.affine", {}),
)
SHAPES: dict[str, tuple[int, ...]] = {"a": (2, 3), "b": (5,), "c": ()}
STEPS, SEED = 3, 11
RATE = 0.3
SAME = "the same operations, which the compiler may fuse into others"
AMPLIFIED = f"{SAME}; a few steps, with condition numbers of some units"

Stream = list[dict[str, Any]]
Side = Callable[[np.random.Generator], Any]


def _stream(
    rng: np.random.Generator, shapes: Mapping[str, tuple[int, ...]], is_complex: bool = False
) -> Stream:
    import jax.numpy as jnp

    return [
        {leaf: jnp.asarray(gaussian(rng, shape, is_complex)) for leaf, shape in shapes.items()}
        for _ in range(STEPS)
    ]


def _last(name: str, stream: Stream, *, jitted: bool = True, **options: Any) -> tuple[Any, Any]:
    """Return the last update and the state after some steps."""
    optimizer = production(name)(**{"seed": SEED, "precond_lr": 0.5, "b1": 0.5, **options})
    state = optimizer.init(stream[0])
    update = compiled(optimizer.update) if jitted else optimizer.update
    for gradients in stream:
        updates, state = update(gradients, state, gradients)
    return updates, state


def _vector(tree: Mapping[str, Any]) -> Any:
    """Return all leaves as one, real parts before imaginary ones."""
    import jax.numpy as jnp

    pieces = []
    for name in sorted(tree):
        leaf = jnp.ravel(tree[name])
        pieces += [leaf.real, leaf.imag] if jnp.iscomplexobj(leaf) else [leaf]
    return jnp.concatenate(pieces)


def _fitted(
    row: Row,
    *,
    joined: bool = False,
    is_complex: bool = False,
    **more: Any,
) -> Side:
    """Return update and preconditioner of a tree, or of the one vector of its leaves."""
    name, fields, options = row

    def run(rng: np.random.Generator) -> Any:
        stream = _stream(rng, SHAPES, is_complex)
        if joined:
            stream = [{"w": _vector(gradients)} for gradients in stream]
        updates, state = _last(name, stream, **options, **more)
        return _vector(updates), [getattr(state, field) for field in fields]

    return run


def _gram(name: str, made_anew: bool) -> Side:
    """Return the products of the rows after some steps, as they are kept or made anew."""

    def run(rng: np.random.Generator) -> Any:
        state = _last(f"{LRA}.{name}", _stream(rng, SHAPES), uvd_rank_of_approximation=3)[1]
        return state.rows @ state.rows.T if made_anew else state.gram

    return run


def _resumed(name: str, options: dict[str, Any], interrupted: bool) -> Side:
    """Return the update of a run whose state went through the host, or did not."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        import jax.numpy as jnp

        optimizer = production(name)(0.01, seed=SEED, **options)
        stream = _stream(rng, SHAPES)
        update = compiled(optimizer.update)
        state = optimizer.init(stream[0])
        for gradients in stream:
            if interrupted:
                leaves, structure = jax.tree.flatten(state)
                saved = [(np.asarray(leaf).tobytes(), leaf) for leaf in leaves]
                restored = [
                    jnp.asarray(np.frombuffer(data, leaf.dtype).reshape(leaf.shape))
                    for data, leaf in saved
                ]
                state = structure.unflatten(restored)
            updates, state = update(gradients, state, gradients)
        return updates, state

    return run


def _pair(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal(size), 2.0 * rng.standard_normal(size)


def _rule(order: str) -> Any:
    return production("psgd.flat.StepRule")(RATE, 0.9, order)


def _start(rng: np.random.Generator) -> Any:
    """Return the squares of the norms of U and V before any step."""
    gradients = _stream(rng, SHAPES)[0]
    optimizer = production(f"{LRA}.scale_by_lra")(uvd_rank_of_approximation=3, seed=SEED)
    state = optimizer.init(gradients)
    return [np.sum(np.asarray(side) ** 2) for side in (state.U, state.V)]


def _x_factor(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    across = 0.4 * rng.standard_normal(size)
    if size % 2:
        across[size // 2] = 0.0
    return 1.0 + rng.random(size), across


def _x_dense(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.diag(a) + np.diag(b)[:, ::-1]


def _x_moved(size: int, order: str) -> Side:
    """Return what a fit makes of an X, as a matrix, with Q⁻¹ and P x."""

    def run(rng: np.random.Generator) -> Any:
        import jax.numpy as jnp

        factor = production(f"{XMAT}.XMatrix")(*map(jnp.asarray, _x_factor(rng, size)))
        h, v = map(jnp.asarray, _pair(rng, size))
        update = production(f"{XMAT}.update_factor")
        moved, divisor = update(factor, jnp.asarray(0.0), h, v, _rule(order))
        inverse = production(f"{XMAT}.inverse")(factor)
        image = production(f"{XMAT}.apply_normal")(factor, h)
        return (
            _x_dense(*map(np.asarray, moved)),
            _x_dense(*map(np.asarray, inverse)),
            image,
            divisor,
        )

    return run


def _x_by_matrices(size: int, order: str) -> Side:
    """Return the same from matrices: the gradient with everything off the X removed."""

    def run(rng: np.random.Generator) -> Any:
        q = _x_dense(*_x_factor(rng, size))
        h, v = _pair(rng, size)
        inverse = np.linalg.inv(q)
        y, s = q @ h, inverse.T @ v
        pattern = np.eye(size) + np.eye(size)[::-1] > 0
        gradient = np.where(pattern, np.outer(y, y) - np.outer(s, s), 0.0)
        second = np.max(y**2 + s**2)
        divisor = np.max(np.abs(gradient)) if order == "1st" else second
        return q - RATE / divisor * gradient @ q, inverse, q.T @ q @ h, divisor

    return run


def _low_rank(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    u, v = rng.standard_normal((2, 6, 2)) * np.asarray([0.8, 0.3])[:, None, None]
    return u, v, 0.5 + rng.random(6)


def _lra_moved(side: float, balance: float) -> Side:
    """Return what a fit makes of I + U Vᵀ and of d, and P x."""

    def run(rng: np.random.Generator) -> Any:
        import jax.numpy as jnp

        factor = production(f"{LRA}.low_rank")(*map(jnp.asarray, _low_rank(rng)))
        h, v = map(jnp.asarray, _pair(rng, 6))
        draws = production(f"{LRA}.LowRankDraws")(np.asarray(side), np.asarray(balance))
        update = production(f"{LRA}.update_factor")
        moved, divisors = update(factor, jnp.zeros(3), h, v, draws, _rule("2nd"))
        u, w = np.split(np.asarray(moved.rows), 2)
        image = production(f"{LRA}.apply_normal")(factor, h)
        kept = divisors[0 if side < 0.5 else 1]
        return np.eye(6) + u.T @ w, moved.diagonal, image, moved.gram, kept

    return run


def _lra_by_matrices(side: float, balance: float) -> Side:
    """Return the same from matrices: I + U Vᵀ is multiplied by one of its own group.

    (I - μ E V Vᵀ)(I + U Vᵀ) where U moves, (I - μ U Uᵀ E)(I + U Vᵀ) where V does; E = aaᵀ - bbᵀ.
    """

    def run(rng: np.random.Generator) -> Any:
        u, w, d = _low_rank(rng)
        h, v = _pair(rng, 6)
        if balance < 0.01:
            root = np.sqrt(np.linalg.norm(u) / np.linalg.norm(w))
            u, w = u / root, w * root
        group = np.eye(6) + u @ w.T
        q = group * d
        inverse = np.linalg.inv(q)
        a, b = q @ h, inverse.T @ v
        ph, pv = q.T @ a, inverse @ b
        gradient = ph * h - v * pv
        of_d = np.max(np.sqrt(ph**2 + v**2) * np.sqrt(h**2 + pv**2))
        still = w if side < 0.5 else u
        lengths = [np.linalg.norm(x) * np.linalg.norm(still @ still.T @ x) for x in (a, b)]
        direction = np.outer(a, a) - np.outer(b, b)
        step = RATE / sum(lengths)
        if side < 0.5:
            u = u - step * direction @ w @ (np.eye(2) + w.T @ u)
            moved = (np.eye(6) - step * direction @ w @ w.T) @ group
        else:
            moved = (np.eye(6) - step * u @ u.T @ direction) @ group
            w = w - step * group.T @ direction @ u
        rows = np.concatenate([u.T, w.T])
        return moved, d - RATE / of_d * gradient * d, q.T @ a, rows @ rows.T, sum(lengths)

    return run


def _tensors(as_matrices: bool) -> Side:
    """Return the updates of a tensor taken for a matrix, and of that matrix."""

    def run(rng: np.random.Generator) -> Any:
        stream = _stream(rng, {"w": (2, 11, 3, 2)})
        if as_matrices:
            # All but 11 are the rows.
            stream = [{"w": g["w"].transpose(0, 2, 3, 1).reshape(12, 11)} for g in stream]
            return _last(AFFINE, stream)[0]["w"]
        update = _last(AFFINE, stream, matricize=True)[0]["w"]
        return update.transpose(0, 2, 3, 1).reshape(12, 11)

    return run


def _kron(rng: np.random.Generator) -> Any:

    stream = _stream(rng, SHAPES)
    optimizer = production("psgd.kron.scale_by_kron")(
        key=SEED,
        b1=0.5,
        preconditioner_lr=0.5,
        preconditioner_mode="EQ",
        preconditioner_update_probability=1.0,
        max_skew_triangular=128,
        min_ndim_triangular=1,
        grad_clip_max_amps=None,
    )
    state = optimizer.init(stream[0])
    for gradients in stream:
        updates, state = compiled(optimizer.update)(gradients, state)
    return updates


def _same(name: str, label: str, left: Side, right: Side) -> Equivalence:
    return Equivalence(
        name=name,
        label=label,
        left=left,
        right=right,
        budget=8.0,
        reason=AMPLIFIED,
    )


CHECKS = (
    *(
        _same(
            f"{XMAT}.update_factor",
            f"X of {size} rows = its matrix, {order}",
            _x_moved(size, order),
            _x_by_matrices(size, order),
        )
        for size in (5, 6)
        for order in ("tracked", "1st")
    ),
    *(
        _same(
            f"{LRA}.update_factor",
            f"low rank = its matrix, side {side}, balance {balance}",
            _lra_moved(side, balance),
            _lra_by_matrices(side, balance),
        )
        for side, balance in ((0.3, 0.5), (0.7, 0.005))
    ),
    _same(
        f"{LRA}.scale_by_lra",
        "squares of U and V at the start = a tenth",
        _start,
        lambda rng: [0.1, 0.1],
    ),
    _same(
        f"{LRA}.scale_by_lra",
        "kept products = those of the rows",
        _gram("scale_by_lra", False),
        _gram("scale_by_lra", True),
    ),
    *(
        _same(row[0], "leaves = their one vector", _fitted(row), _fitted(row, joined=True))
        for row in SCALES
    ),
    *(
        _same(
            row[0],
            "complex numbers = pairs of real ones",
            _fitted(row, is_complex=True),
            _fitted(row, is_complex=True, joined=True),
        )
        for row in SCALES
    ),
    _same(SCALES[0][0], "jitted = eager", _fitted(SCALES[0]), _fitted(SCALES[0], jitted=False)),
    _same(
        "psgd.plan.matrix_view",
        "tensor of Affine = the matrix it is taken for",
        _tensors(False),
        _tensors(True),
    ),
    _same(
        "psgd.plan.dense_axes",
        "Affine = Kron of triangular factors",
        lambda rng: _last(AFFINE, _stream(rng, SHAPES))[0],
        _kron,
    ),
    *(
        Equivalence(
            name=name,
            label="resumed = uninterrupted",
            left=_resumed(name, options, True),
            right=_resumed(name, options, False),
            budget=0.0,
            reason="the state holds everything: equal bits",
        )
        for name, options in ALIASES
    ),
)
