"""All parameters as one vector, and what the methods that take them so share in a step."""

import numpy as np
import pytest

from reference.psgd import dense, lra, xmat
from reference.psgd.fitting import damped
from reference.psgd.flat import ORDERS, Flat, FlatDraws, StepRule
from reference.psgd.geometry import GEOMETRIES, Auxiliary
from reference.tests.flat_steps import assert_same, flat, gradients, run

EPS = np.finfo(np.float64).eps
SIZE = 7


def draws(count, size=SIZE):
    rng = np.random.default_rng([9, count])
    decision, side, balance = rng.random(3)
    probe, noise = rng.choice([-1.0, 1.0], (2, size))
    return FlatDraws(decision, probe, noise, None, side, balance)


def rank_two(**options):
    return lra.scale_by_lra(2, **options)


def dense_mode(mode):
    return lambda **options: dense.scale_by_dense_newton(mode, **options)


FACTORIES = {
    "xmat": xmat.scale_by_xmat,
    "lra": rank_two,
    "dense EQ": dense_mode("EQ"),
    "dense QEP": dense_mode("QEP"),
    "dense QUAD4P": dense_mode("QUAD4P"),
}
FIELDS = {"xmat": ["a", "b", "L"], "lra": ["U", "V", "d", "L"]}


@pytest.fixture(params=FACTORIES)
def name(request):
    return request.param


def fields_of(name, state):
    return {field: state[field] for field in FIELDS.get(name, ["Q", "L"])}


def fit_by_kernel(name, fields, h, v, drawn, rule):
    """Return the fields after the kernel of the method, called by itself."""
    if name == "xmat":
        factor = xmat.XMatrix(fields["a"], fields["b"])
        (a, b), lipschitz = xmat.update_factor(factor, fields["L"], h, v, rule)
        return {"a": a, "b": b, "L": lipschitz}
    if name == "lra":
        factor = lra.LowRank(fields["U"], fields["V"], fields["d"])
        own = lra.LowRankDraws(drawn.side, drawn.balance)
        (u, w, d), lipschitz = lra.update_factor(factor, fields["L"], h, v, own, rule)
        return {"U": u, "V": w, "d": d, "L": lipschitz}
    row = GEOMETRIES[name.split()[1]]
    q, lipschitz = dense.update_factor(
        fields["Q"], fields["L"], h, v, rule, row, Auxiliary(drawn.rotation_probes)
    )
    return {"Q": q, "L": lipschitz}


def direction(name, fields, x):
    if name == "xmat":
        return xmat.apply_normal(xmat.XMatrix(fields["a"], fields["b"]), x)
    if name == "lra":
        return lra.apply_normal(lra.LowRank(fields["U"], fields["V"], fields["d"]), x)
    q = fields["Q"]
    return q @ x if name == "dense QUAD4P" else q.T @ q @ x


def test_one_vector_of_sorted_leaves():
    tree = {
        "z": np.arange(4.0, dtype=np.float32).reshape(2, 2),
        "empty": np.zeros((0, 3)),
        "c": np.array([[1 + 10j, 2 + 20j]], np.complex64),
        "s": np.array(7.0, np.float32),
    }
    whole = Flat(tree)
    np.testing.assert_array_equal(whole.join(tree), [1, 2, 10, 20, 7, 0, 1, 2, 3])
    assert whole.size == 9
    back = whole.split(whole.join(tree))
    assert back.keys() == tree.keys()
    for leaf, value in tree.items():
        np.testing.assert_array_equal(back[leaf], value)
        assert back[leaf].dtype == value.dtype
    # Real numbers in place of complex ones are as many.
    np.testing.assert_array_equal(whole.join({**tree, "c": np.ones((1, 2))})[:4], [1, 1, 0, 0])


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ([], "float32"),
        (["float16"], "float32"),
        (["bfloat16", "float32"], "float32"),
        (["complex64"], "float32"),
        (["float32", "float64"], "float64"),
        (["bfloat16", "complex128"], "float64"),
    ],
)
def test_the_vector_is_float32_at_least(dtypes, expected):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kinds = [ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype for dtype in dtypes]
    tree = {str(number): np.ones(2, kind) for number, kind in enumerate(kinds)}
    assert Flat(tree).dtype == expected
    assert Flat(tree).join(tree).dtype == expected


def test_lengths_of_a_step():
    previous, ell = np.array(8.0), np.array(2.0)
    for order, expected in (("tracked", 0.75 * 8 + 0.25 * 2), ("2nd", 2.0), ("1st", 2.0)):
        lipschitz, step = StepRule(0.5, 0.75, order).advance(previous, ell)
        assert (lipschitz, step) == (expected, 0.5 / expected)
        assert StepRule(0.5, 0.75, order).advance(np.array(1.0), ell) == (2.0, 0.25)
        assert StepRule(0.5, 0.75, order).advance(np.array(0.0), np.array(0.0)) == (0.0, 0.0)
    assert {"tracked", "2nd", "1st"} == set(ORDERS)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("whiten_grad", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_whitening_step_by_its_definition(name, nesterov, whiten_grad, first):
    optimizer = FACTORIES[name](
        b1=0.6,
        nesterov=nesterov,
        whiten_grad=whiten_grad,
        update_preconditioner_first=first,
        precond_lr=lambda t: 0.3 / (1 + t),
        precond_init_scale=0.5,
        damping=0.1,
        beta_lipschitz=0.7,
        draws=draws,
    )
    state, m = optimizer.init(gradients(0)), np.zeros(SIZE)
    fields = fields_of(name, state)
    for t in range(5):
        g, drawn = flat(gradients(t)), draws(t)
        decay, following = min(t / (t + 1), 0.6), min((t + 1) / (t + 2), 0.6)
        m = decay * m + (1 - decay) * g
        x = following * m + (1 - following) * g if nesterov else m
        h, v, noise = g if whiten_grad else m, drawn.probe, drawn.probe
        if name in ("dense QEP", "dense QUAD4P"):
            v, noise = None, drawn.noise
        rule = StepRule(0.3 / (1 + t), 0.7)
        moved = fit_by_kernel(name, fields, damped(h, noise, 0.1), v, drawn, rule)
        expected = direction(name, moved if first else fields, x)
        state = optimizer.step(state, gradients(t))
        # The same operations, but for the order of a few sums.
        np.testing.assert_allclose(flat(state["mu"]), m, atol=8 * EPS)
        np.testing.assert_allclose(flat(state["updates"]), expected, atol=200 * EPS)
        fields = fields_of(name, state)
        for field, value in moved.items():
            np.testing.assert_allclose(fields[field], value, rtol=1e3 * EPS, atol=200 * EPS)
        assert state["count"] == t + 1


@pytest.mark.parametrize("damping", [None, 0.1])
@pytest.mark.parametrize("order", ORDERS)
def test_a_newton_step_by_its_definition(name, order, damping):
    optimizer = FACTORIES[name](
        b1=0.0, precond_lr=0.2, damping=damping, draws=draws, step_normalizer_order=order,
        precond_init_scale=1.0,
    )  # fmt: skip
    state = optimizer.init(gradients(0))
    fields = fields_of(name, state)
    for t in range(3):
        v, h, g, drawn = gradients(t + 10), gradients(t + 20), gradients(t), draws(t)
        noisy = flat(h) if damping is None else damped(flat(h), drawn.noise, damping)
        rule = StepRule(0.2, 0.9, order)
        moved = fit_by_kernel(name, fields, noisy, flat(v), drawn, rule)
        state = optimizer.step(state, g, v, h)
        expected = direction(name, moved, flat(g))
        np.testing.assert_allclose(flat(state["updates"]), expected, rtol=1e-12)
        np.testing.assert_array_equal(state["mu"]["w"], g["w"])
        fields = fields_of(name, state)
        for field, value in moved.items():
            np.testing.assert_allclose(fields[field], value, rtol=1e-13)


def power(name):
    return 2 if name == "dense QUAD4P" else 1


def scale_of(name, state):
    """Return s of Q = s I, or of U and V as they were."""
    field = {"xmat": "a", "lra": "d"}.get(name, "Q")
    value = state[field]
    value = np.diag(value) if value.ndim == 2 else value
    np.testing.assert_array_equal(value, value[0])
    return value[0] ** (1 / power(name))


def test_scales_before_the_first_fit(name):
    make, g = FACTORIES[name], {"w": np.array([2.0, -2.0, 4.0, 0.0])}
    v = {"w": np.array([3.0, 3.0, -3.0, 3.0])}
    h, one = np.array([2.0, 2.0, 4.0, 0.0]), {"draws": lambda t: draws(t, 4)}
    explicit = make(precond_init_scale=3.0, **one).init(g)
    assert not explicit["needs_scale_init"]
    np.testing.assert_allclose(scale_of(name, explicit), 3.0, rtol=4 * EPS)
    for damping in (None, 2.0):
        still = {"precond_lr": 0.0, "damping": damping, "b1": 0.0, **one}
        noise = 0.0 if damping is None else damping**4
        fourth = (np.mean(h**4) + noise) ** (-1 / 8)
        for moment, pair, expected in (
            ("4th", (), fourth),
            ("4th", (v, g), 9.0 ** (1 / 4) * fourth),
            ("2nd", (), (4 / np.sum(h**2)) ** (1 / 4)),
            ("2nd", (v, g), (36 / np.sum(h**2)) ** (1 / 4)),
        ):
            optimizer = make(precond_init_moment=moment, **still)
            state = optimizer.init(g)
            assert scale_of(name, state) == 1
            for first in (True, False):
                optimizer = make(
                    precond_init_moment=moment, update_preconditioner_first=first, **still
                )
                new = optimizer.step(state, g, *pair)
                assert not new["needs_scale_init"]
                np.testing.assert_allclose(scale_of(name, new), expected, rtol=32 * EPS)
                if name != "lra":
                    # P = s^2 I whether or not the fit comes first.
                    np.testing.assert_allclose(
                        new["updates"]["w"], expected**2 * g["w"], rtol=64 * EPS
                    )


def test_a_pending_scale_waits_for_an_input_that_is_not_zero(name):
    optimizer = FACTORIES[name]()
    zeros = {"w": np.zeros((2, 2)), "b": np.zeros(3), "none": np.zeros((0, 3))}
    state = start = optimizer.init(zeros)
    for _ in range(3):
        state = optimizer.step(state, zeros)
    assert_same(fields_of(name, start), fields_of(name, state))
    assert state["needs_scale_init"]
    assert state["count"] == 3
    state = optimizer.step(state, {**zeros, "b": np.array([0.0, 1e-3, 0.0])})
    assert not state["needs_scale_init"]
    for _ in range(20):
        state = optimizer.step(state, zeros)
    values = [*fields_of(name, state).values(), *state["updates"].values()]
    assert all(np.all(np.isfinite(value)) for value in values)
    assert state["updates"]["none"].shape == (0, 3)


def test_newton_pairs_that_are_not_used(name):
    optimizer = FACTORIES[name]()
    g = gradients(0)
    zeros = {leaf: np.zeros_like(value) for leaf, value in g.items()}
    nan = {**g, "b": np.array([1.0, np.nan, 1.0])}
    start = optimizer.init(g)
    for pair in ((g, nan), (nan, g), (zeros, g), (g, zeros), (g, g, False)):
        state = optimizer.step(start, g, *pair)
        assert state["needs_scale_init"]
        assert_same(fields_of(name, start), fields_of(name, state))
    fitted = optimizer.step(start, g, g, g)
    for pair in ((g, nan), (nan, g), (g, g, False)):
        state = optimizer.step(fitted, g, *pair)
        assert_same(fields_of(name, fitted), fields_of(name, state))
    with pytest.raises(ValueError, match="vector and Hvp are a pair"):
        optimizer.step(start, g, g)


@pytest.mark.parametrize("scale", [1e-30, 1e18])
@pytest.mark.parametrize("order", ORDERS)
def test_gradients_of_any_size_give_finite_steps(name, scale, order):
    optimizer = FACTORIES[name](step_normalizer_order=order, precond_lr=0.01)
    state = run(optimizer, lambda t: gradients(t, scale), 20)
    values = [*fields_of(name, state).values(), *state["updates"].values()]
    assert all(np.all(np.isfinite(value)) for value in values)


def test_complex_leaves_are_two_real_ones(name):
    def paired(count):
        z = gradients(count)
        return {"c": z["b"] + 1j * gradients(count + 50)["b"], "w": z["w"][0, 0]}

    def real(count):
        c, w = paired(count).values()
        return {"a": c.real, "b": c.imag, "c": w}

    limits = {"grad_clip_max_amps": (0.3, 0.5), "update_global_norm_clip": 0.6}
    one, other = (run(FACTORIES[name](**limits), tree) for tree in (paired, real))
    joined = other["updates"]["a"] + 1j * other["updates"]["b"]
    np.testing.assert_array_equal(one["updates"]["c"], joined)
    np.testing.assert_array_equal(one["updates"]["w"], other["updates"]["c"])
    assert one["updates"]["c"].dtype == np.complex128
    assert_same(fields_of(name, one), fields_of(name, other))


def test_no_parameters_at_all(name):
    optimizer, empty = FACTORIES[name](), {"w": np.zeros((0, 3), np.float32)}
    start = optimizer.init(empty)
    state = optimizer.step(start, empty)
    assert state["count"] == 1
    assert_same({**start, "count": 1, "updates": empty}, state)
    assert optimizer.step(optimizer.init({}), {})["count"] == 1
    scaled = FACTORIES[name](precond_init_scale=2.0)
    assert scaled.step(scaled.init(empty), empty, empty, empty)["count"] == 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "bfloat16"])
@pytest.mark.parametrize("order", ORDERS)
def test_states_keep_dtypes_and_steps_change_no_argument(name, dtype, order):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    params = {leaf: value.astype(dtype) for leaf, value in gradients(0).items()}
    copies = {leaf: value.copy() for leaf, value in params.items()}
    optimizer = FACTORIES[name](step_normalizer_order=order, grad_clip_max_amps=1.0, nesterov=True)
    state = optimizer.init(params)
    expected = np.float64 if dtype == "float64" else np.float32
    for _ in range(3):
        kept = {field: np.copy(value) for field, value in fields_of(name, state).items()}
        before, state = state, optimizer.step(state, params)
        assert_same(kept, fields_of(name, before))
        assert all(value.dtype == expected for value in fields_of(name, state).values())
        for field in ("mu", "updates"):
            assert all(leaf.dtype == dtype for leaf in state[field].values())
    assert_same(params, copies)
