"""What XMat, LRA, the dense factor and Affine have in common, seen from outside."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import affine, dense_newton, low_rank_approximation, xmat

from ..helpers import (
    COMPILATIONS,
    assert_close,
    assert_finite,
    assert_identical,
    assert_zero,
    kinds,
    normal,
)
from .families import (
    FAMILIES,
    FLAT,
    PARAMS,
    SIZE,
    as_rows,
    built,
    differs,
    fitted,
    newton_steps,
)
from .steps import like, taken, zeros

OF_ALL = pytest.mark.parametrize("name", FAMILIES)
# Every method as it is by default, and either of the other orders with some.
IN_SOME_ORDERS = pytest.mark.parametrize(
    ("name", "order"),
    [
        *((name, "tracked") for name in FAMILIES),
        ("xmat", "2nd"),
        ("lra", "2nd"),
        ("lra", "1st"),
        ("affine", "1st"),
    ],
)
# Three of the four share what is around the preconditioner: one of them is enough there.
OF_EITHER_METHOD = pytest.mark.parametrize("name", ["xmat", "affine"])
# The fourth shares it with Kron, which has tests of its own.
OF_ONE = pytest.mark.parametrize("name", ["xmat"])


def pair(step):
    return {"vector": like(PARAMS, 100 + step), "Hvp": like(PARAMS, 200 + step)}


def started(name, **options):
    """An optimizer and its state after two steps."""
    optimizer = built(name, **options)
    _, state = taken(optimizer, PARAMS, [like(PARAMS, 0), like(PARAMS, 1)])
    return optimizer, state


@IN_SOME_ORDERS
def test_gradients_of_any_kind(name, order):
    """Zeros first, of all leaves and of one; 1e-30, 1e18 and back; one that is not a number."""
    optimizer = built(name, step_normalizer_order=order)
    state = optimizer.init(PARAMS)
    updates, after = optimizer.update(zeros(PARAMS), state)
    assert_zero(updates)
    assert bool(after.needs_scale_init)
    assert not differs(state, after)
    state = after
    given = [like(PARAMS, 0) | {"v": jnp.zeros(4)}]
    given += [
        jax.tree.map(lambda leaf, scale=scale: scale * leaf, like(PARAMS, step))
        for step, scale in enumerate((1.0, 1e-30, 1e-30, 1e18, 1e18, 1e-30, 1.0))
    ]
    for gradient in given:
        updates, state = optimizer.update(gradient, state)
        assert_finite(updates)
        assert_finite(state)
        assert bool(jnp.any(updates["w"] != 0))
    for bad in (jnp.nan, jnp.inf):
        gradient = like(PARAMS, 9)
        gradient["w"] = gradient["w"].at[2, 1].set(bad)
        updates, after = optimizer.update(gradient, state)
        assert_zero(updates)
        assert_identical(after, state)


@IN_SOME_ORDERS
def test_first_gradients_of_any_scale(name, order):
    """Of the smallest and of the largest, then of the other, in which a step of Q overflows."""
    optimizer = built(name, step_normalizer_order=order)
    for scales in ((1e-30, 1e-30, 1e18, 1e18, 1e-30, 1.0), (1e18, 1e18, 1e-30, 1.0)):
        state = optimizer.init(PARAMS)
        for step, scale in enumerate(scales):
            gradient = jax.tree.map(lambda leaf, scale=scale: scale * leaf, like(PARAMS, step))
            updates, state = optimizer.update(gradient, state)
            assert_finite(updates)
            assert_finite(state)
            assert bool(jnp.any(updates["w"] != 0))


@IN_SOME_ORDERS
def test_singular_hessians(name, order):
    """H v = 0 in some directions, in all of them, and H of either sign."""
    fit = newton_steps(name, 900, step_normalizer_order=order)
    diagonal = np.geomspace(0.5, 2.0, SIZE) * np.where(np.arange(SIZE) % 3, 1, -1)
    for hessian in (np.zeros(SIZE), np.where(np.arange(SIZE) < 7, 0, diagonal)):
        directions, _, sound = fit(jnp.asarray(np.diag(hessian), jnp.float32))
        assert bool(sound)
        assert_finite(directions)
    directions, state, sound = fit(jnp.asarray(np.diag(diagonal), jnp.float32))
    assert bool(sound)
    assert not bool(state.needs_scale_init)
    if name != "affine":
        # |H|⁻¹ is not a Kronecker product; for the others it is within reach.
        product = as_rows(directions) * abs(diagonal)
        assert np.linalg.norm(product - np.eye(SIZE), 2) < 0.4


@pytest.mark.parametrize(
    ("name", "b1", "nesterov"), [("xmat", 0.6, False), ("xmat", 0.6, True), ("affine", 0.6, True)]
)
def test_momentum_by_formula(name, b1, nesterov):
    """With P = 4 I that never moves the update is four times what is averaged."""
    options = {"precond_lr": 0.0, "precond_init_scale": 2.0, "b1": b1, "nesterov": nesterov}
    optimizer = built(name, **options)
    state = optimizer.init(PARAMS)
    momentum = np.zeros(4)
    for count in range(4):
        gradient = like(PARAMS, count)
        of_v = np.asarray(gradient["v"], float)
        now, then = (min(t / (t + 1), b1) for t in (count, count + 1))
        momentum = now * momentum + (1 - now) * of_v
        want = then * momentum + (1 - then) * of_v if nesterov else momentum
        updates, state = optimizer.update(gradient, state)
        np.testing.assert_allclose(updates["v"], 4 * want, rtol=1e-5)
        np.testing.assert_allclose(state.mu["v"], momentum, rtol=1e-5)
        assert kinds(state.mu) == kinds(PARAMS)


@OF_ALL
def test_no_momentum_is_kept_where_there_is_none(name):
    state = jax.eval_shape(FAMILIES[name](b1=0.0, nesterov=True).init, PARAMS)
    assert state.mu is None


def test_a_tree_is_its_leaves_joined():
    """Sorted by key, in C order; of a complex leaf the real parts, then the imaginary ones."""
    tree = {
        "z": jnp.ones((2, 3)),
        "a": jnp.ones((2, 2), "complex64"),
        "m": (jnp.ones(0), jnp.ones(()), None),
    }

    def joined(tree):
        parts = [tree["a"].real, tree["a"].imag, tree["m"][1], tree["z"]]
        return jnp.concatenate([part.ravel() for part in parts])

    optimizer = built("xmat")
    one, other = optimizer.init(tree), optimizer.init(joined(tree))
    for step in range(3):
        gradient = like(tree, step)
        got, one = optimizer.update(gradient, one)
        want, other = optimizer.update(joined(gradient), other)
        assert_close(joined(got), want, COMPILATIONS)
    assert kinds(fitted(one)) == kinds(fitted(other))
    assert_close(fitted(one), fitted(other), COMPILATIONS)
    assert_close(joined(one.mu), other.mu, COMPILATIONS)
    assert jax.tree.structure(one.mu) == jax.tree.structure(tree)


@pytest.mark.parametrize("name", ["xmat", "lra"])
def test_dtypes_that_are_asked_for(name):
    """Kept narrow between steps, moved in float32 all the same."""
    optimizer = built(name, precond_dtype="bfloat16", mu_dtype="bfloat16")
    states = [optimizer.init(PARAMS)]
    for step in range(3):
        updates, state = optimizer.update(like(PARAMS, step), states[-1])
        states.append(state)
        assert kinds(updates) == kinds(PARAMS)
        assert_finite(updates)
        assert_finite(state)
    assert all(kinds(state) == kinds(states[0]) for state in states)
    assert differs(states[2], states[3])
    assert {leaf.dtype.name for leaf in jax.tree.leaves(states[3].mu)} == {"bfloat16"}
    narrow = {
        field
        for field, value in fitted(states[3]).items()
        if all(leaf.dtype == "bfloat16" for leaf in jax.tree.leaves(value))
    }
    want = {"xmat": {"a", "b"}, "lra": {"rows", "d"}, "dense": {"Q"}}
    assert narrow >= want.get(name, {"Qs_preconditioners"})
    assert not narrow & {"L", "gram", "Ls_lipschitz"}
    wide = taken(built(name), PARAMS, [like(PARAMS, step) for step in range(3)])[0]
    for got, exact in zip(jax.tree.leaves(updates), jax.tree.leaves(wide), strict=True):
        assert float(jnp.linalg.norm(got - exact)) < 0.05 * float(jnp.linalg.norm(exact))


@OF_ONE
def test_the_pair_and_not_the_gradient_is_fitted_to(name):
    optimizer, state = started(name)
    _, one = optimizer.update(like(PARAMS, 1), state, **pair(1))
    _, other = optimizer.update(zeros(PARAMS), state, **pair(1))
    assert not differs(one, other)
    assert differs(state, one)
    for side in ("vector", "Hvp"):
        changed = pair(1) | {side: like(PARAMS, 300)}
        assert differs(one, optimizer.update(like(PARAMS, 1), state, **changed)[1]), side
        bad = pair(1)
        bad[side]["v"] = bad[side]["v"].at[2].set(np.nan)
        updates, after = optimizer.update(like(PARAMS, 1), state, **bad)
        assert not differs(state, after), side
        assert_finite(updates)
        assert int(after.count) == int(state.count) + 1


@OF_ALL
@pytest.mark.parametrize("side", ["vector", "Hvp"])
def test_half_a_pair_is_refused(name, side):
    optimizer = FAMILIES[name]()
    with pytest.raises(ValueError, match=f"{side} is given without"):
        optimizer.update(PARAMS, optimizer.init(PARAMS), **{side: PARAMS})


@OF_ONE
def test_a_pair_of_zeros_leaves_the_scale_pending(name):
    optimizer = built(name)
    start = optimizer.init(PARAMS)
    for side in ("vector", "Hvp"):
        _, state = optimizer.update(like(PARAMS, 0), start, **(pair(0) | {side: zeros(PARAMS)}))
        assert bool(state.needs_scale_init)
        assert not differs(start, state)
    _, state = optimizer.update(like(PARAMS, 1), state, **pair(1))
    assert not bool(state.needs_scale_init)


@OF_ONE
def test_the_caller_says_when(name):
    """Even the first step waits, if the caller says so; a skipped one is not fitted to."""
    optimizer, state = started(name)
    start = optimizer.init(PARAMS)
    for answer in (False, True):
        given = {"update_preconditioner": jnp.asarray(answer)}
        assert differs(state, optimizer.update(like(PARAMS, 2), state, **given)[1]) == answer
        after = optimizer.update(like(PARAMS, 2), start, **given)[1]
        assert differs(start, after) == answer
        assert bool(after.needs_scale_init) != answer


@OF_ONE
def test_never_after_the_first(name):
    """Probability zero: the scale is still taken from the first gradients, and nothing after."""
    optimizer = built(name, preconditioner_update_probability=0.0)
    gradients = [like(PARAMS, step) for step in range(3)]
    start, first = optimizer.init(PARAMS), taken(optimizer, PARAMS, gradients[:1])[1]
    assert differs(start, first)
    assert not differs(first, taken(optimizer, PARAMS, gradients)[1])


@OF_ONE
def test_preconditioner_of_the_step_before(name):
    """`update_preconditioner_first=False` applies what a step without a fit would apply."""
    optimizer, state = started(name)
    late = built(name, update_preconditioner_first=False)
    given = like(PARAMS, 2)
    updates, after = late.update(given, state)
    want, _ = optimizer.update(given, state, update_preconditioner=jnp.asarray(False))
    first, moved = optimizer.update(given, state)
    assert_close(updates, want, COMPILATIONS)
    assert_close(fitted(after), fitted(moved), COMPILATIONS)
    assert bool(jnp.any(jnp.abs(first["w"] - want["w"]) > 1e-3 * jnp.abs(want["w"])))


@OF_EITHER_METHOD
def test_norm_of_the_direction(name):
    """Over all leaves; its direction is that without a limit, and less is left alone."""
    optimizer, state = started(name)
    free, _ = optimizer.update(like(PARAMS, 2), state)
    norm = float(np.linalg.norm(np.concatenate([leaf.ravel() for leaf in free.values()])))
    limited, _ = built(name, update_global_norm_clip=0.25).update(like(PARAMS, 2), state)
    assert norm > 0.25
    assert_close(limited, jax.tree.map(lambda leaf: leaf * (0.25 / norm), free), COMPILATIONS)
    loose, _ = built(name, update_global_norm_clip=100 * norm).update(like(PARAMS, 2), state)
    assert_close(loose, free, COMPILATIONS)


@OF_ALL
def test_seeds_and_keys(name):
    """None is 36; a seed, its key and its raw key are the same; another one is another."""
    seeds = (None, 36, jax.random.key(36), jax.random.PRNGKey(36), 37)
    states = [FAMILIES[name](seed=seed).init(PARAMS) for seed in seeds]

    def differ(state):
        # A typed key stays typed; its data are the raw key.
        keys = [jax.random.key_data(one.key) for one in (state, states[0])]
        return bool(jnp.any(keys[0] != keys[1])) or differs(state, states[0])

    assert [differ(state) for state in states] == [False, False, False, False, True]


def test_decoupled_decay_of_some_leaves():
    """W ← W - η (u + λ W)."""
    gradient, params = like(PARAMS, 0), like(PARAMS, 1)
    plain = xmat(0.5)
    updates, _ = jax.jit(plain.update)(gradient, plain.init(params))
    decaying = xmat(0.5, weight_decay=0.25, mask={"v": False, "w": True})
    got, _ = jax.jit(decaying.update)(gradient, decaying.init(params), params)
    want = updates | {"w": updates["w"] - 0.125 * params["w"]}
    assert_close(got, want, COMPILATIONS)


@pytest.mark.parametrize(
    "factory",
    [xmat, functools.partial(low_rank_approximation, uvd_rank_of_approximation=2)]
    + [dense_newton, affine],
    ids=list(FAMILIES),
)
def test_only_decay_asks_for_parameters(factory):
    for decay in (0.0, 0.25):
        optimizer = factory(0.5, weight_decay=decay)
        state = jax.eval_shape(optimizer.init, PARAMS)
        if decay:
            with pytest.raises(ValueError, match="param"):
                jax.eval_shape(optimizer.update, PARAMS, state)
        else:
            assert jax.eval_shape(optimizer.update, PARAMS, state)[1] == state


@pytest.mark.parametrize("name", FLAT)
def test_one_number(name):
    """A tree of one number: X has a middle row only, the low rank none."""
    options = {"uvd_rank_of_approximation": 0} if name == "lra" else {}
    optimizer = FAMILIES[name](b1=0.0, precond_lr=0.5, **options)
    state = optimizer.init(jnp.ones(()))
    vectors = normal(0, 30)

    def body(state, vector):
        given = {"Hvp": -4 * vector, "vector": vector}
        return optimizer.update(jnp.ones(()), state, **given)[::-1]

    _, updates = jax.lax.scan(body, state, vectors)
    np.testing.assert_allclose(updates[-1], 0.25, rtol=0.01)
