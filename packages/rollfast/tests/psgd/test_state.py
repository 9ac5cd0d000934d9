"""What a step does to the state: dtypes, gradients of any kind, and equal ways to the same step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import PreconditionerMode, kron, scale_by_kron, schedule_free_kron

from ..helpers import assert_close, assert_finite, assert_identical, assert_zero, normal
from .steps import built, like, moved, taken, zeros

# One dense and one diagonal factor, and a diagonal alone.
PARAMS = {"v": jnp.ones(4), "w": jnp.ones((3, 4))}
# Three steps, whose sums are taken in another order, through factors of condition below ten.
ROUNDINGS = 300
DTYPES = ("bfloat16", "float16", "float32", "complex64")


def mixed(dtypes):
    return {
        name: {"v": jax.ShapeDtypeStruct((4,), name), "w": jax.ShapeDtypeStruct((3, 4), name)}
        for name in dtypes
    }


def factor_dtypes(state):
    dense, diagonal = set(), set()
    for factor in jax.tree.leaves(state.Qs_preconditioners):
        (dense if factor.ndim == 3 else diagonal).add(factor.dtype.name)
    return dense, diagonal


def assert_stable(optimizer, params):
    state = jax.eval_shape(optimizer.init, params)
    updates, after = jax.eval_shape(optimizer.update, params, state)
    assert after == state
    assert updates == params
    return state


@pytest.mark.parametrize("mode", PreconditionerMode)
def test_dtypes_stay_in_every_geometry(mode):
    state = assert_stable(scale_by_kron(preconditioner_mode=mode), mixed(DTYPES))
    assert factor_dtypes(state) == ({"float32", "complex64"}, {"float32"})


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mode", ["EQ", "Q0.5EQ1.5", "PRO4P"])
def test_dtypes_stay_in_double_precision(mode):
    wide = (*DTYPES, "float64", "complex128")
    state = assert_stable(scale_by_kron(preconditioner_mode=mode), mixed(wide))
    want = {"float32", "float64"}
    assert factor_dtypes(state) == (want | {"complex64", "complex128"}, want)


@pytest.mark.parametrize(
    ("dtype", "dense"),
    [("bfloat16", {"bfloat16", "complex64"}), ("float32", {"float32", "complex64"})],
)
def test_dtypes_that_are_asked_for(dtype, dense):
    options = {"precond_dtype": dtype, "mu_dtype": dtype, "cache_preconditioner": True}
    state = assert_stable(scale_by_kron(**options), mixed(DTYPES))
    assert factor_dtypes(state) == (dense, {dtype})
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.mu)} == dense
    estimates = {leaf.dtype.name for leaf in jax.tree.leaves(state.Ls_lipschitz)}
    assert estimates == {"float32"}


def test_what_is_off_is_not_kept():
    state = scale_by_kron(b1=0.0, track_lipschitz=False, cache_preconditioner=False).init(PARAMS)
    assert state.mu is None
    assert state.Ls_lipschitz is None
    assert not jax.tree.leaves(state.Ps_preconditioners)
    assert_stable(scale_by_kron(b1=0.0, track_lipschitz=False), mixed(("float32",)))


@pytest.mark.parametrize("mode", PreconditionerMode)
def test_gradients_of_any_kind(mode):
    """Zeros first, 1e-30, 1e18, one that is not a number, and the usual again."""
    optimizer = built(preconditioner_mode=mode)
    state = optimizer.init(PARAMS)
    updates, after = optimizer.update(zeros(PARAMS), state)
    assert_zero(updates)
    assert bool(after.needs_scale_init)
    assert not moved(state, after)
    state = after
    for step, scale in enumerate((1e-30, 1e-30, 1e18, 1e18, 1.0)):
        gradient = jax.tree.map(lambda leaf, scale=scale: scale * leaf, like(PARAMS, step))
        updates, state = optimizer.update(gradient, state)
        assert_finite(updates)
        assert_finite(state)
        assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(updates))
    bad = like(PARAMS, 9)
    bad["w"] = bad["w"].at[2, 1].set(jnp.nan)
    updates, after = optimizer.update(bad, state)
    assert_zero(updates)
    assert_identical(after, state)


def test_no_rate_moves_parameters_in_a_step_that_is_not_taken():
    optimizer = kron(lambda count: jnp.where(count > 0, jnp.inf, 1e-3))
    _, state = optimizer.update(PARAMS, optimizer.init(PARAMS))
    bad = like(PARAMS, 9)
    bad["w"] = bad["w"].at[2, 1].set(jnp.nan)
    updates, after = optimizer.update(bad, state)
    assert_zero(updates)
    assert_identical(after, state)


@pytest.mark.parametrize("mode", ["Q0.5EQ1.5", "PRO4P"])
def test_the_scale_of_the_gradients_does_not_matter(mode):
    """The first scale of Q takes it in; noise of 1e-9 and the limits stay out of it."""
    optimizer = built(preconditioner_mode=mode, damping=None, grad_clip_max_amps=None)
    want, _ = taken(optimizer, PARAMS, [like(PARAMS, step) for step in range(3)])
    for scale in (1e-20, 1e-3, 1e15):
        times = functools.partial(jnp.multiply, scale)
        steps = [jax.tree.map(times, like(PARAMS, step)) for step in range(3)]
        got, _ = taken(optimizer, PARAMS, steps)
        assert_close(got, want, ROUNDINGS)


@pytest.mark.parametrize("sf_b1", [0.9, 0.0])
def test_a_bad_step_moves_no_sequence(sf_b1):
    """Neither z, nor x where it is kept, nor weights and counters, nor the preconditioner."""
    optimizer = schedule_free_kron(0.1, 10, sf_b1=sf_b1)
    update = jax.jit(optimizer.update)
    params = PARAMS
    changes, state = update(like(params, 0), optimizer.init(params), params)
    params = jax.tree.map(jnp.add, params, changes)
    bad = like(params, 1)
    bad["v"] = bad["v"].at[0].set(jnp.inf)
    changes, after = update(bad, state, params)
    assert_zero(changes)
    assert_identical(after, state)
    assert (state.x is None) == (sf_b1 > 0)
    _, after = update(like(params, 1), state, params)
    assert moved(state.base_state[0], after.base_state[0])
    assert bool(jnp.any(after.z["v"] != state.z["v"]))


def three_steps(params, **options):
    steps = [like(params, step) for step in range(3)]
    return taken(built(**options), params, steps)


@pytest.mark.parametrize("mode", ["Q0.5EQ1.5", "QEP"])
def test_products_that_are_kept_are_those_that_are_made(mode):
    """With a step in between in which the preconditioner stays."""
    options = {"preconditioner_mode": mode, "preconditioner_update_interval": 2}
    kept, with_it = three_steps(PARAMS, cache_preconditioner=True, **options)
    made, without = three_steps(PARAMS, cache_preconditioner=False, **options)
    assert jax.tree.leaves(with_it.Ps_preconditioners)
    assert not jax.tree.leaves(without.Ps_preconditioners)
    assert_close(kept, made, ROUNDINGS)


STACK = {"w": normal(0, 9, 3, 4)}


def unrolled(tree):
    return {str(layer): tree["w"][layer] for layer in range(len(tree["w"]))}


def stacked(tree):
    return {"w": jnp.stack([tree[str(layer)] for layer in range(len(tree))])}


@pytest.mark.parametrize("layers", [2, 9])
@pytest.mark.parametrize("mode", ["Q0.5EQ1.5", "EQ"])
def test_layers_are_tensors_of_their_own(mode, layers):
    """A stack takes the steps of its layers one by one; limits hold for each."""
    optimizer = scale_by_kron(preconditioner_mode=mode, scanned_layers=True)
    update = jax.jit(optimizer.update)
    single = built(preconditioner_mode=mode)
    params = {"w": STACK["w"][:layers]}
    state, alone = optimizer.init(params), single.init(unrolled(params))
    for step in range(3):
        gradient = like(params, step)
        updates, state = update(gradient, state)
        want, alone = single.update(unrolled(gradient), alone)
    assert_close(updates, stacked(want), ROUNDINGS)
    factors = [jax.tree.leaves(each.Qs_preconditioners) for each in (state, alone)]
    assert_close(factors[0], factors[1], ROUNDINGS)
    # A tensor of its own has another preconditioner than its neighbour.
    rows = np.asarray(factors[0][0])
    assert not np.allclose(rows[0], rows[1], rtol=1e-3)


def test_layers_some_at_a_time():
    """In batches that do not divide their number, and one by one."""
    want = None
    for batch_size in (1, 4):
        optimizer = scale_by_kron(
            scanned_layers=True, lax_map_scanned_layers=True, lax_map_batch_size=batch_size
        )
        update = jax.jit(optimizer.update)
        state = optimizer.init(STACK)
        for step in range(2):
            updates, state = update(like(STACK, step), state)
        want = updates if want is None else want
        assert_close(updates, want, ROUNDINGS)


def test_axes_of_size_one_do_not_count():
    params = {"w": jnp.ones((3, 4))}
    thick = {"w": jnp.ones((1, 3, 1, 4))}
    want, _ = three_steps(params)
    got, _ = three_steps(thick)
    assert_close({"w": got["w"].reshape(3, 4)}, want, ROUNDINGS)


def test_axes_that_are_merged_are_one():
    want, _ = three_steps({"w": jnp.ones((6, 5))})
    got, _ = three_steps({"w": jnp.ones((2, 3, 5))}, merge_small_dims=6)
    assert_close({"w": got["w"].reshape(6, 5)}, want, ROUNDINGS)


def test_blocks_are_tensors_of_their_own():
    """But for the limits, which are those of the leaf."""
    whole = {"w": jnp.ones((6, 3))}
    options = {"grad_clip_max_amps": None}
    steps = [like(whole, step) for step in range(3)]
    got, _ = taken(built(partition_large_dims=4, **options), whole, steps)

    def cut(tree):
        return {"a": tree["w"][:4], "b": tree["w"][4:]}

    want, _ = taken(built(**options), cut(whole), [cut(step) for step in steps])
    assert_close(cut(got), want, ROUNDINGS)


def test_resumed_is_uninterrupted():
    """From NumPy's copy of the state, bit for bit."""
    optimizer = built()
    _, state = three_steps(PARAMS)
    want = optimizer.update(like(PARAMS, 3), state)
    restored = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state)
    assert_identical(optimizer.update(like(PARAMS, 3), restored), want)


def test_empty_and_scalar_leaves_beside_others():
    """They change nothing for the others, and an empty one draws nothing."""
    params = PARAMS | {"a": jnp.zeros((0, 3)), "z": jnp.ones(())}
    updates, state = three_steps(params)
    assert updates["a"].shape == (0, 3)
    assert updates["z"].shape == ()
    assert float(jnp.abs(updates["z"])) > 0
    assert_finite(state)


def test_limits_of_the_direction():
    """Over a leaf, a layer or all; the first gradients are far beyond them with a scale of 1e3."""
    options = {"preconditioner_init_scale": 1e3, "preconditioner_lr": 0.0}

    def rms(leaves):
        return float(jnp.sqrt(jnp.mean(jnp.square(jnp.concatenate([x.ravel() for x in leaves])))))

    steps = [like(PARAMS, 0)]
    each, _ = taken(built(grad_clip_max_amps=0.5, **options), PARAMS, steps)
    assert [rms([leaf]) for leaf in each.values()] == pytest.approx([0.5, 0.5], rel=1e-5)
    whole = built(grad_clip_max_amps=(0.5, 0.6), grad_clip_mode="global_rms", **options)
    together, _ = taken(whole, PARAMS, steps)
    assert rms(together.values()) <= 0.5
    assert max(float(jnp.max(jnp.abs(leaf))) for leaf in together.values()) <= 0.6 * (1 + 1e-6)
    free, _ = taken(built(grad_clip_max_amps=None, **options), PARAMS, steps)
    for name, leaf in free.items():
        np.testing.assert_allclose(leaf, 1e6 * steps[0][name], rtol=1e-4)


def test_limits_of_layers():
    """A large layer of a stack is limited by itself."""
    options = {"preconditioner_init_scale": 1.0, "preconditioner_lr": 0.0}
    gradient = {"w": STACK["w"][:2] * jnp.asarray([10.0, 0.01])[:, None, None]}
    stack, _ = taken(built(scanned_layers=True, **options), gradient, [gradient])
    np.testing.assert_allclose(stack["w"][1], gradient["w"][1], rtol=1e-5)
    assert float(jnp.sqrt(jnp.mean(stack["w"][0] ** 2))) == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize(("count", "same"), [(1, True), (2, False)])
def test_the_momentum_is_whitened_if_asked(count, same):
    """The first momentum is the first gradient; then they differ."""
    steps = [like(PARAMS, step) for step in range(count)]
    _, of_gradients = taken(built(), PARAMS, steps)
    _, of_momentum = taken(built(whiten_grad=False), PARAMS, steps)
    states = of_gradients, of_momentum
    pairs = zip(*(jax.tree.leaves(state.Qs_preconditioners) for state in states), strict=True)
    assert all(np.allclose(*pair, rtol=1e-3) for pair in pairs) == same
    assert_identical(of_gradients.mu, of_momentum.mu)
