"""`hessian_helper`: what `jax.value_and_grad` and `jax.jvp` return, and at what cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import dense_newton, hessian_helper
from rollfast.psgd.hessian import finite_difference_product

from ..helpers import assert_close, assert_identical, assert_zero, kinds, normal

KEY = jax.random.key(7)
PARAMS = {"a": normal(0, 3), "b": [normal(1, 2, 2), None]}
TARGET = normal(2, 3)


def loss_fn(params, target, weight=1.0):
    inner = jnp.tanh(params["b"][0] @ params["a"][:2])
    return weight * jnp.sum((params["a"] - target) ** 4) + jnp.sum(jnp.cos(inner)) ** 2


def loss_and_aux(params, target):
    loss = loss_fn(params, target)
    return loss, {"half": loss / 2, "number": jnp.asarray(3)}


def assert_near(got, want, tolerance):
    """Every leaf, relative to its largest entry."""
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        top = float(jnp.max(jnp.abs(other)))
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * top)


@functools.cache
def jitted(**options):
    def call(key, params, target, **arrays):
        return hessian_helper(key, loss_fn, params, (target,), **options, **arrays)

    return jax.jit(call)


@pytest.mark.parametrize("probe", ["rademacher", "normal"])
def test_exact_product(probe):
    loss, grads, product, vector, updates = jitted(probe=probe)(KEY, PARAMS, TARGET)
    want = jax.value_and_grad(loss_fn)(PARAMS, TARGET)
    slope = jax.jvp(lambda p: jax.grad(loss_fn)(p, TARGET), (PARAMS,), (vector,))[1]
    assert_close((loss, grads), want, 8)
    assert_close(product, slope, 100)
    assert kinds(vector) == kinds(product) == kinds(PARAMS)
    assert updates.dtype == bool
    assert bool(updates)
    signs = {abs(float(entry)) == 1 for leaf in jax.tree.leaves(vector) for entry in leaf.ravel()}
    assert signs == {probe == "rademacher"}
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(product))


def test_aux_comes_as_value_and_grad_returns_it():
    want = jax.value_and_grad(loss_and_aux, has_aux=True)(PARAMS, TARGET)
    for probability in (0.0, 1.0):
        got = hessian_helper(KEY, loss_and_aux, PARAMS, (TARGET,), True, probability)
        assert_close(got[:2], want, 8)


def test_probability_zero_gives_zeros():
    loss, grads, product, vector, updates = jitted(preconditioner_update_probability=0.0)(
        KEY, PARAMS, TARGET
    )
    assert not bool(updates)
    assert_zero((product, vector))
    assert kinds(vector) == kinds(product) == kinds(PARAMS)
    assert_close((loss, grads), jax.value_and_grad(loss_fn)(PARAMS, TARGET), 8)


def test_the_first_step_updates_however_it_is_counted():
    """From 0 or from 1; all others are left to the probability."""
    call = jitted(preconditioner_update_probability=0.0)
    found = [bool(call(KEY, PARAMS, TARGET, step=jnp.asarray(step))[-1]) for step in range(4)]
    assert found == [True, True, False, False]
    assert any(
        jnp.any(leaf != 0) for leaf in call(KEY, PARAMS, TARGET, step=jnp.asarray(1))[2]["b"]
    )


def test_probability_of_an_update():
    """One key, one decision; over many keys as often as was asked, which may be traced."""

    def decided(key, probability):
        return hessian_helper(key, lambda p: jnp.sum(p**2), jnp.ones(2), (), False, probability)[-1]

    found = jax.jit(jax.vmap(decided, (0, None)))(jax.random.split(KEY, 2000), 0.3)
    assert 0.26 < float(jnp.mean(found)) < 0.34


def test_other_keys_give_other_vectors():
    """Of zero mean and unit variance, no two leaves alike."""
    params = {"a": jnp.ones((50, 2)), "b": jnp.ones((50, 2)), "c": jnp.ones((50, 2), "complex64")}

    def vector(key):
        return hessian_helper(key, lambda p: jnp.sum(p["a"] ** 2), params)[3]

    one, other = (vector(key) for key in jax.random.split(KEY))
    parts = [one["a"], one["b"], one["c"].real, one["c"].imag, other["a"]]
    flat = np.stack([np.asarray(part).ravel() for part in parts])
    np.testing.assert_allclose(flat @ flat.T / 100, np.eye(5), atol=0.45)
    assert np.all(np.abs(flat) == 1)


def test_finite_differences_are_near_the_exact_product():
    loss, grads, product, vector, updates = jitted(hvp="finite_difference")(KEY, PARAMS, TARGET)
    want = jitted()(KEY, PARAMS, TARGET)
    assert_close((loss, grads), want[:2], 8)
    assert bool(updates)
    # Half the digits: the step is the root of the rounding of a number.
    assert_near(vector, want[3], 2e-3)
    assert_near(product, want[2], 2e-2)


def test_finite_differences_of_a_quadratic_are_a_pair():
    """The product is of the vector that rounding left, which is not the one that was given.

    Curvatures are powers of two, so that the gradients have no rounding of their own.
    """
    curvatures = jnp.asarray([2.0, -4.0])
    params, vector = jnp.asarray([1e3, 1e-3]), jnp.asarray([1.0, -1.0])
    product, used = finite_difference_product(lambda p: curvatures * p, params, vector)
    np.testing.assert_allclose(product, curvatures * used, rtol=1e-6)
    assert abs(float(used[0]) - 1) > 1e-2


@pytest.mark.parametrize("hvp", ["forward_over_reverse", "finite_difference"])
def test_bfloat16_parameters(hvp):
    params = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), PARAMS)
    loss, grads, product, vector, _ = jitted(hvp=hvp)(KEY, params, TARGET)
    assert kinds(grads) == kinds(product) == kinds(vector) == kinds(params)
    assert bool(jnp.isfinite(loss))
    _, wide = jax.jvp(
        lambda p: jax.grad(loss_fn)(p, TARGET),
        (jax.tree.map(lambda leaf: leaf.astype("float32"), params),),
        (jax.tree.map(lambda leaf: leaf.astype("float32"), vector),),
    )
    for got, want in zip(jax.tree.leaves(product), jax.tree.leaves(wide), strict=True):
        error = jnp.linalg.norm(got.astype("float32") - want) / jnp.linalg.norm(want)
        assert float(error) < (0.05 if hvp == "forward_over_reverse" else 0.5)


def complex_quadratic(params):
    """Half of wᵀ C w, w the real parts, the imaginary parts and the real numbers."""
    both = jnp.concatenate([params["z"].real, params["z"].imag, params["r"]])
    return both @ CURVATURES @ both / 2


AXES = np.linalg.qr(np.asarray(normal(5, 5, 5), float))[0]
CURVATURES = jnp.asarray((AXES * [1.0, 0.5, 2.0, 0.7, 1.5]) @ AXES.T, jnp.float32)
COMPLEX = {"r": jnp.ones(1), "z": normal(6, 2, dtype="complex64")}


@pytest.mark.parametrize("hvp", ["forward_over_reverse", "finite_difference"])
def test_pairs_of_complex_parameters(hvp):
    """Vector and product are conjugated as the gradients are, so that P takes H v to v.

    And gradients to the step of Newton, of which the optimizer is told nothing.
    """
    optimizer = dense_newton(1.0, b1=0.0, precond_lr=0.5)

    def body(state, key):
        _, grads, *pair, updates = hessian_helper(key, complex_quadratic, COMPLEX, hvp=hvp)
        given = dict(zip(("Hvp", "vector"), pair, strict=True), update_preconditioner=updates)
        step, state = optimizer.update(grads, state, **given)
        return state, (step, *pair)

    def run(keys):
        state, found = jax.lax.scan(body, optimizer.init(COMPLEX), keys)
        step, product, vector = jax.tree.map(lambda leaf: leaf[-1], found)
        image, _ = optimizer.update(product, state, update_preconditioner=False)
        return step, image, vector

    step, image, vector = jax.jit(run)(jax.random.split(KEY, 400))
    assert bool(jnp.any(vector["z"].imag != 0))
    # Down, to the minimum at zero.
    for got, want in ((step, jax.tree.map(jnp.conj, COMPLEX)), (image, vector)):
        assert_near(got, jax.tree.map(jnp.negative, want), 1e-3)


def branches(jaxpr):
    """The branches of the only conditional, as text."""
    found = [equation for equation in jaxpr.eqns if equation.primitive.name == "cond"]
    assert len(found) == 1
    return [str(branch) for branch in found[0].params["branches"]]


@pytest.mark.parametrize("hvp", ["forward_over_reverse", "finite_difference"])
def test_a_step_without_update_costs_a_gradient(hvp):
    """The branch not taken has the products of one gradient, and no random numbers."""
    matrix = normal(3, 6, 6)

    def loss(params):
        return jnp.sum(jnp.tanh(matrix @ params) ** 2)

    def products(jaxpr):
        return str(jaxpr).count("dot_general")

    plain = products(jax.make_jaxpr(jax.value_and_grad(loss))(jnp.ones(6)))
    call = functools.partial(hessian_helper, hvp=hvp)
    alone, both = branches(
        jax.make_jaxpr(lambda key, params: call(key, loss, params))(KEY, jnp.ones(6)).jaxpr
    )
    assert plain >= 2
    assert products(alone) == plain
    assert products(both) == 2 * plain
    assert "random_bits" not in alone
    assert "random_bits" in both


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("hvp", "reverse_over_forward", "finite_difference"),
        ("probe", "gaussian", "rademacher"),
        ("preconditioner_update_probability", 1.5, "[0, 1]"),
        ("preconditioner_update_probability", -0.1, "[0, 1]"),
    ],
)
def test_wrong_option(option, value, allowed):
    with pytest.raises(ValueError, match="must") as caught:
        hessian_helper(KEY, loss_fn, PARAMS, (TARGET,), **{option: value})
    message = str(caught.value)
    assert option in message
    assert repr(value) in message
    assert allowed in message


def test_one_key_one_result():
    one, other = (jitted()(KEY, PARAMS, TARGET) for _ in range(2))
    assert_identical(one, other)
