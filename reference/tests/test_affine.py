"""Whole steps of PSGD Affine: the formulas of two sides, its views, and its own options."""

import itertools
import math

import numpy as np
import pytest

from reference.guards import clip_by_tensor_rms
from reference.psgd.affine import affine, scale_by_affine
from reference.psgd.fitting import SliceDraws
from reference.psgd.kron import scale_by_kron
from reference.psgd.state import StepDraws

EPS = np.finfo(np.float64).eps
ORDERS = ["tracked", "2nd", "1st"]
M, N = 4, 3


def normal(rng, shape, complex_=False):
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape)) / np.sqrt(2) if complex_ else real


def draws_of(*shapes, complex_=False):
    def draws(count):
        rng = np.random.default_rng(count)
        nones = [(None,) * len(shape) for shape in shapes]
        noise = [normal(rng, shape, complex_) for shape in shapes]
        both = zip(noise, nones, strict=True)
        return StepDraws(rng.random(), [SliceDraws(z, none, none, 0.5) for z, none in both])

    return draws


def gradients(count):
    rng = np.random.default_rng([3, count])
    return {"b": 3 * rng.standard_normal(3), "w": rng.standard_normal((M, N))}


def run(optimizer, gradients, steps=4):
    state = optimizer.init(gradients(0))
    for count in range(steps):
        state = optimizer.step(state, gradients(count))
    return state


def relative(computed, expected):
    return np.linalg.norm(computed - expected) / np.linalg.norm(expected)


def squares(matrix, dense):
    gram = matrix @ matrix.conj().T
    return gram if dense else np.diagonal(gram).real


def moved(q, first, second, rate, order):
    """Return one side after its step, and what L may be."""
    gradient = first - second
    if q.ndim == 1:
        bounds = [np.max(np.abs(gradient) if order == "1st" else first + second)] * 2
        step = gradient * q
    elif order == "1st":
        exact = np.linalg.norm(np.triu(gradient), 2)
        bounds, step = [exact / np.sqrt(2), exact], np.triu(gradient) @ q
    else:
        bounds = [np.linalg.norm(first + second, 2)] * 2
        step = np.triu(gradient) @ q
    return lambda ell: q - rate / ell * step, bounds


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("newton", [False, True])
@pytest.mark.parametrize("max_size", [4096, 3, 2])
@pytest.mark.parametrize("order", ["2nd", "1st"])
def test_a_matrix_moves_by_the_formulas_of_its_two_sides(order, max_size, newton, complex_):
    draws = draws_of((M, N), complex_=complex_)
    optimizer = scale_by_affine(
        b1=0.0,
        max_size_triangular=max_size,
        precond_lr=0.3,
        precond_init_scale=0.7,
        step_normalizer_order=order,
        damping=None,
        draws=draws,
        norm="exact",
    )
    rng = np.random.default_rng(0)
    state = optimizer.init({"w": normal(rng, (M, N), complex_)})
    for count in range(4):
        before = state
        g, v = normal(rng, (M, N), complex_), normal(rng, (M, N), complex_)
        pair = ({"w": v}, {"w": g}) if newton else ()
        state = optimizer.step(before, {"w": g}, *pair)
        v = v if newton else draws(count).slices[0].noise
        left, right = (before["Qs_preconditioners"][f"w/0/{axis}"] for axis in (0, 1))
        sides = [np.diag(q) if q.ndim == 1 else q for q in (left, right.conj())]
        inverses = [np.linalg.inv(q) for q in sides]
        a = sides[0] @ g @ sides[1].conj().T
        b = inverses[1].conj().T @ v.conj().T @ inverses[0]
        pairs = [
            (squares(a, left.ndim == 2), squares(b.conj().T, left.ndim == 2)),
            (squares(a.conj().T, right.ndim == 2), squares(b, right.ndim == 2)),
        ]
        news = [state["Qs_preconditioners"]["w/0/0"], state["Qs_preconditioners"]["w/0/1"].conj()]
        for axis, (q, (first, second)) in enumerate(zip((left, right.conj()), pairs, strict=True)):
            step, (low, high) = moved(q, first, second, 0.3, order)
            ell = state["Ls_lipschitz"][f"w/0/{axis}"]
            # Inverses of factors of condition 10 at most, products of four entries.
            assert low * (1 - 200 * EPS) <= ell <= high * (1 + 200 * EPS)
            assert relative(news[axis], step(ell)) < 100 * EPS
        p = [q.conj().T @ q for q in (np.diag(q) if q.ndim == 1 else q for q in news)]
        assert relative(state["updates"]["w"], p[0] @ g @ p[1]) < 50 * EPS
    assert [q.ndim for q in news] == {4096: [2, 2], 3: [1, 2], 2: [1, 1]}[max_size]


def test_the_tracked_order_remembers_the_smoothness():
    def one(order, steps):
        options = {"draws": draws_of((3,), (M, N)), "norm": "exact", "precond_lr": 0.0}
        optimizer = scale_by_affine(step_normalizer_order=order, beta_lipschitz=0.7, **options)
        return [run(optimizer, gradients, n)["Ls_lipschitz"]["w/0/0"] for n in range(steps)]

    # Q stands still, so that both see the same smoothness.
    expected = itertools.accumulate(
        one("2nd", 6), lambda last, ell: max(0.7 * last + 0.3 * ell, ell)
    )
    np.testing.assert_allclose(one("tracked", 6), list(expected), rtol=8 * EPS)
    assert one("tracked", 6) != one("2nd", 6)


STRICT = {"permissive_spike_protection": False, "preconditioner_update_interval": 2, "seed": 3}


@pytest.mark.parametrize("newton", [False, True])
@pytest.mark.parametrize("more", [{"raw_global_grad_clip": 3.0}, STRICT])
def test_affine_is_kron_in_the_basis_eq(more, newton):
    """Bit for bit, with the defaults of neither."""
    common = {
        "b1": 0.7,
        "preconditioner_update_probability": 0.6,
        "max_size_triangular": 5,
        "max_skew_triangular": 0.9,
        "beta_lipschitz": 0.8,
        "damping": 0.01,
        "whiten_grad": False,
        "update_preconditioner_first": False,
        "grad_clip_max_amps": (0.5, 1.0),
        "raw_global_grad_clip": 6.0,
        **more,
    }
    one = scale_by_affine(precond_lr=0.3, **common)
    other = scale_by_kron(
        preconditioner_lr=0.3, preconditioner_mode="EQ", min_ndim_triangular=1, **common
    )
    states, skipped = [optimizer.init(gradients(0)) for optimizer in (one, other)], 0
    for count in range(6):
        pair = (gradients(count + 50), gradients(count)) if newton else ()
        states = [
            optimizer.step(state, gradients(count), *pair)
            for optimizer, state in zip((one, other), states, strict=True)
        ]
        skipped += states[0]["skipped"]
        for field in ("Qs_preconditioners", "Ls_lipschitz", "mu", "updates"):
            assert states[0][field].keys() == states[1][field].keys()
            for key, value in states[0][field].items():
                np.testing.assert_array_equal(value, states[1][field][key])
    assert 0 < skipped < 6 if more is STRICT else skipped == 0


@pytest.mark.parametrize(
    ("shape", "options", "factors"),
    [
        ((1024, 16, 64), {"max_size_triangular": 512}, [(1024,), (16, 16), (64, 64)]),
        ((64, 4, 8), {"matricize": True}, [(64, 64), (32, 32)]),
        ((1024, 3), {"max_skew_triangular": 32}, [(1024,), (3, 3)]),
        ((64, 3), {}, [(64, 64), (3, 3)]),
        ((2, 1, 3), {"matricize": True}, [(2, 2), (3, 3)]),
        ((1, 2, 1, 3, 5), {"matricize": True}, [(6, 6), (5, 5)]),
        ((100,), {}, [(100, 100)]),
        ((100,), {"max_skew_triangular": 99}, [(100,)]),
        ((100,), {"matricize": True}, [(100, 100)]),
        ((), {}, [(1,)]),
        ((1, 1, 1), {"matricize": True}, [(1,)]),
        ((0, 3, 2), {"matricize": True}, []),
    ],
)
def test_which_factors_a_leaf_has(shape, options, factors):
    state = scale_by_affine(**options).init({"w": np.ones(shape)})
    assert [q.shape for q in state["Qs_preconditioners"].values()] == factors


def test_a_matricized_leaf_is_preconditioned_as_its_matrix():
    # The smallest view of (2, 3, 1, 3, 5) has the axes of 2 and 5 as rows.
    shape = (2, 3, 1, 3, 5)

    def tensors(count):
        return {"w": np.random.default_rng(count).standard_normal(shape)}

    def matrices(tree):
        return {"w": tree["w"].transpose(0, 4, 1, 2, 3).reshape(10, 9)}

    options = {"draws": draws_of((10, 9)), "norm": "exact", "precond_lr": 0.5}
    one = run(scale_by_affine(matricize=True, **options), tensors)
    other = run(scale_by_affine(**options), lambda count: matrices(tensors(count)))
    for field in ("Qs_preconditioners", "Ls_lipschitz"):
        for key, value in one[field].items():
            np.testing.assert_array_equal(value, other[field][key])
    assert one["updates"]["w"].shape == shape
    np.testing.assert_array_equal(matrices(one["updates"])["w"], other["updates"]["w"])


def test_nesterov_looks_one_step_ahead():
    b1 = 0.7
    options = {"preconditioner_update_interval": 100, "precond_init_scale": 1.0, "precond_lr": 0.0}
    for nesterov in (False, True):
        optimizer = scale_by_affine(b1=b1, nesterov=nesterov, **options)
        state, mean = optimizer.init(gradients(0)), np.zeros((M, N))
        for count in range(6):
            g = gradients(count)["w"]
            state = optimizer.step(state, gradients(count))
            beta, ahead = (min(t / (t + 1), b1) for t in (count, count + 1))
            mean = beta * mean + (1 - beta) * g
            expected = ahead * mean + (1 - ahead) * g if nesterov else mean
            # Q = I: two products with it.
            np.testing.assert_allclose(state["updates"]["w"], expected, atol=8 * EPS)
            np.testing.assert_allclose(state["mu"]["w"], mean, atol=8 * EPS)
    plain = [run(scale_by_affine(b1=0.0, nesterov=n), gradients)["updates"] for n in (False, True)]
    np.testing.assert_array_equal(plain[0]["w"], plain[1]["w"])


def test_both_limits_of_the_direction():
    free = run(scale_by_affine(), gradients)["updates"]
    by_tensor = {name: clip_by_tensor_rms(u, 0.5, 0.9) for name, u in free.items()}
    norm = math.sqrt(sum(np.sum(u**2) for u in by_tensor.values()))
    amplitudes = run(scale_by_affine(grad_clip_max_amps=(0.5, 0.9)), gradients)["updates"]
    both = scale_by_affine(grad_clip_max_amps=(0.5, 0.9), update_global_norm_clip=norm / 2)
    alone = run(scale_by_affine(update_global_norm_clip=norm / 2), gradients)["updates"]
    total = math.sqrt(sum(np.sum(u**2) for u in free.values()))
    for name, update in run(both, gradients)["updates"].items():
        np.testing.assert_array_equal(amplitudes[name], by_tensor[name])
        # One norm and a product.
        np.testing.assert_allclose(update, by_tensor[name] / 2, rtol=8 * EPS)
        np.testing.assert_allclose(alone[name], free[name] * norm / 2 / total, rtol=8 * EPS)


@pytest.mark.parametrize("newton", [False, True])
@pytest.mark.parametrize("moment", ["4th", "2nd"])
def test_the_scale_is_that_of_all_leaves_together(moment, newton):
    optimizer = scale_by_affine(precond_init_moment=moment, precond_lr=0.0, damping=None)
    state = optimizer.init(gradients(0))
    h, v = gradients(0), gradients(1)
    state = optimizer.step(state, h, v, h) if newton else optimizer.step(state, h)
    if moment == "2nd":
        sums = [sum(np.sum(leaf**2) for leaf in tree.values()) for tree in (v, h)]
        scale = ((sums[0] if newton else 15) / sums[1]) ** (1 / 4)
    else:
        scale = max(np.mean(leaf**4) for leaf in h.values()) ** (-1 / 8)
        mean = sum(np.sum(leaf**2) for leaf in v.values()) / 15
        scale *= mean ** (1 / 4) if newton else 1
    for name, shares in {"b": 1, "w": 2}.items():
        for axis in range(shares):
            q = state["Qs_preconditioners"][f"{name}/0/{axis}"]
            # Some powers.
            expected = scale ** (1 / shares) * np.eye(len(q))
            np.testing.assert_allclose(q, expected, rtol=16 * EPS)
    assert not state["needs_scale_init"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("moment", ["4th", "2nd"])
@pytest.mark.parametrize("damping", [None, 1e-9])
def test_a_first_gradient_of_zeros_in_one_leaf_or_in_all_gives_no_nan(order, moment, damping):
    optimizer = scale_by_affine(
        step_normalizer_order=order, precond_init_moment=moment, damping=damping, matricize=True
    )

    def leaves(count):
        tree = {**gradients(count), "none": np.zeros((0, 3, 2)), "s": np.ones(())}
        if count == 0:
            return {name: np.zeros_like(leaf) for name, leaf in tree.items()}
        return tree if count > 1 else {**tree, "b": np.zeros(3)}

    state = optimizer.init(leaves(0))
    pending = []
    for count in range(20):
        state = optimizer.step(state, leaves(count))
        pending.append(state["needs_scale_init"])
        for field in ("updates", "Qs_preconditioners", "Ls_lipschitz"):
            assert all(np.all(np.isfinite(value)) for value in state[field].values())
        if count == 0:
            assert all(np.all(update == 0) for update in state["updates"].values())
    assert pending == [True] + [False] * 19


def positive(n, rng):
    """Return a matrix of condition 3."""
    vectors, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return (vectors * np.geomspace(1, 3, n)) @ vectors.T


def pairs_of(left, right, rng):
    v = rng.standard_normal((len(left), len(right)))
    return {"w": v}, {"w": left @ v @ right.T}


# In the order "1st" rounding alone is a gradient, along which the step is as long as ever.
@pytest.mark.parametrize("order", ["tracked", "2nd"])
def test_the_inverse_of_a_product_hessian_is_a_fixed_point_of_newton(order):
    rng = np.random.default_rng(0)
    hessians = [positive(M, rng), positive(N, rng)]
    optimizer = scale_by_affine(
        b1=0.0, step_normalizer_order=order, precond_init_scale=1.0, precond_lr=0.5, damping=None
    )
    state = optimizer.init({"w": np.zeros((M, N))})
    # Of H = L L^T the triangular factor R of L^-1 has R^T R = H^-1.
    roots = [np.linalg.qr(np.linalg.inv(np.linalg.cholesky(h)))[1] for h in hessians]
    roots = [np.sign(np.diagonal(root))[:, None] * root for root in roots]
    state["Qs_preconditioners"] = {f"w/0/{axis}": root for axis, root in enumerate(roots)}
    for _ in range(3):
        vector, product = pairs_of(*hessians, rng)
        state = optimizer.step(state, product, vector, product)
        # P H v = v: four products, and factors of condition 2.
        assert relative(state["updates"]["w"], vector["w"]) < 30 * EPS
    for axis, root in enumerate(roots):
        assert relative(state["Qs_preconditioners"][f"w/0/{axis}"], root) < 30 * EPS


# Interpolation converges linearly, by the order at different rates: 2e-7, 2e-12 and 2e-6 are left.
@pytest.mark.parametrize(("order", "left_over"), [("tracked", 1e-6), ("2nd", 1e-11), ("1st", 1e-5)])
def test_a_newton_fit_of_a_product_hessian_is_its_inverse(order, left_over):
    rng = np.random.default_rng(0)
    hessians, steps = [positive(M, rng), positive(N, rng)], 400
    optimizer = scale_by_affine(
        b1=0.0,
        step_normalizer_order=order,
        precond_lr=lambda t: 0.5 * (1 - t / steps) ** (3 if order == "1st" else 1),
        damping=None,
    )
    state = optimizer.init({"w": np.zeros((M, N))})
    for _ in range(steps):
        vector, product = pairs_of(*hessians, rng)
        state = optimizer.step(state, product, vector, product)
    factors = [state["Qs_preconditioners"][f"w/0/{axis}"] for axis in (0, 1)]
    for q in factors:
        np.testing.assert_array_equal(q, np.triu(q))
        assert np.all(np.diagonal(q) > 0)
    fitted = np.kron(*(q.T @ q for q in factors))
    assert relative(fitted, np.linalg.inv(np.kron(*hessians))) < left_over


def test_the_alias_steps_against_the_direction():
    schedule = {"nesterov": True, "update_global_norm_clip": 2.0}
    optimizer = affine(lambda t: 0.1 / (1 + t), weight_decay=0.3, **schedule)
    direction = scale_by_affine(**schedule)
    state, inner = optimizer.init(gradients(9)), direction.init(gradients(9))
    for count in range(3):
        before = state
        state = optimizer.step(state, gradients(count))
        inner = direction.step(inner, gradients(count))
        for name, parameter in before["params"].items():
            expected = -0.1 / (1 + count) * (inner["updates"][name] + 0.3 * parameter)
            # Three roundings.
            np.testing.assert_allclose(state["updates"][name], expected, rtol=8 * EPS)
            np.testing.assert_array_equal(state["params"][name], parameter + state["updates"][name])


@pytest.mark.parametrize("name", ["float32", "complex64", "bfloat16"])
@pytest.mark.parametrize("order", ORDERS)
def test_dtypes_are_kept(order, name):
    dtype = np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)
    options = {"nesterov": True, "matricize": True, "precond_init_moment": "2nd"}
    optimizer = affine(0.1, step_normalizer_order=order, update_global_norm_clip=0.1, **options)

    def leaves(count):
        return {"w": np.random.default_rng(count).standard_normal((2, 3, 2)).astype(dtype)}

    state = run(optimizer, leaves)
    for field in ("params", "updates", "mu", "Qs_preconditioners"):
        assert {leaf.dtype for leaf in state[field].values()} == {dtype}
        assert all(np.all(np.isfinite(leaf.astype(complex))) for leaf in state[field].values())
    real = np.abs(np.ones(1, dtype)).dtype
    assert {leaf.dtype for leaf in state["Ls_lipschitz"].values()} == {real}


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("step_normalizer_order", "'tracked', '2nd', '1st'"),
        ("precond_init_moment", "'4th', '2nd'"),
        ("norm", "'bound', 'exact'"),
    ],
)
def test_an_unknown_name_names_all(option, allowed):
    with pytest.raises(ValueError, match=f"{option} is '3rd'; allowed are {allowed}"):
        scale_by_affine(**{option: "3rd"})
