"""Properties of PRISM on single matrices and of `scale_by_prism`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rollfast import PrismDimensionNumbers, prism, scale_by_prism
from rollfast.linalg.newton_schulz import coefficients, newton_schulz
from rollfast.prism import shaping

from ..helpers import assert_close, assert_identical, normal

JORDAN = coefficients("jordan")
SHAPES = [(3, 4), (8, 3), (3, 12), (1, 1)]
# Errors of float32 grow at most by the product of the slopes of five iterations, 3.4 each.
ITERATIONS = 300


def one_step(gradient, **options):
    optimizer = scale_by_prism(**options)
    return jax.jit(optimizer.update)(gradient, optimizer.init(gradient))[0]


def test_gamma_zero_is_muon():
    gradient = normal(0, 3, 4)
    got = one_step(gradient, gamma=0.0, nesterov=False, grad_clip_max_amps=None)
    assert_close(got, newton_schulz(0.05 * gradient, JORDAN, 5), ITERATIONS)
    ahead = one_step(gradient, gamma=0.0, grad_clip_max_amps=None)
    assert_close(ahead, got, ITERATIONS)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_forms_are_one_function(dtype):
    """Direct, Gram and automatic, on every aspect ratio."""
    pairs = [(normal(1, *shape, dtype=dtype), normal(2, *shape, dtype=dtype)) for shape in SHAPES]

    @partial(jax.jit, static_argnames="form")
    def shaped(pairs, form):
        return [shaping.shape(*pair, 0.7, JORDAN, 5, form=form) for pair in pairs]

    want = shaped(pairs, "direct")
    for form in ("gram", "auto"):
        assert_close(shaped(pairs, form), want, ITERATIONS)


def test_exact_is_the_formula():
    """T (TᴴT + γ² DᴴD)^(-1/2) has the stacked matrix orthonormal."""
    target, innovation = normal(3, 6, 3), normal(4, 6, 3)
    top = shaping.shape_exact(target, innovation, 0.5)
    gram = target.T @ target + 0.25 * innovation.T @ innovation
    values, vectors = jnp.linalg.eigh(gram)
    want = target @ (vectors / jnp.sqrt(values)) @ vectors.T
    assert_close(top, want, ITERATIONS)
    assert float(jnp.linalg.norm(top, 2)) <= 1


def test_update_does_not_depend_on_the_scale_of_gradients():
    """Powers of two scale every product exactly."""
    gradient = normal(5, 3, 4)
    optimizer = scale_by_prism()
    state, update = optimizer.init(gradient), jax.jit(optimizer.update)
    want, _ = update(gradient, state)
    for exponent in (-100, -30, 30, 60):
        assert_identical(update(gradient * 2.0**exponent, state)[0], want)


def test_zero_gradient_gives_zero_update():
    assert not np.any(one_step(jnp.zeros((3, 4))))


def test_amplitudes_are_limited():
    gradient = normal(6, 4, 3)
    update = one_step(gradient, grad_clip_max_amps=(0.1, 0.15))
    assert float(jnp.sqrt(jnp.mean(update**2))) <= 0.1 * (1 + 1e-6)
    assert float(jnp.max(jnp.abs(update))) <= 0.15


@pytest.mark.parametrize("axes", [(2, 1), (-2, -1)])
def test_stacked_layers_are_separate_layers(axes):
    """Axes named in neither list are layers; a scan over them gives what unrolling gives."""
    layers = [normal(seed, 3, 4) for seed in range(5)]
    numbers = PrismDimensionNumbers(*axes)
    stacked = one_step(jnp.stack(layers), weight_dimension_numbers=numbers, grad_clip_max_amps=None)
    flat = PrismDimensionNumbers(*(0, 1) if axes != (2, 1) else (1, 0))
    unrolled = one_step(layers, weight_dimension_numbers=flat, grad_clip_max_amps=None)
    assert_identical(stacked, jnp.stack(unrolled))


def test_several_axes_make_one_side():
    """A convolution of (2, 2) kernels, 3 inputs and 4 outputs is a matrix of 12 by 4."""
    kernel = normal(7, 2, 2, 3, 4)
    got = one_step(kernel, weight_dimension_numbers=PrismDimensionNumbers((0, 1, 2), 3))
    assert_close(got, one_step(kernel.reshape(12, 4)).reshape(kernel.shape), ITERATIONS)


def test_equal_leaves_are_shaped_as_if_alone():
    """The grouping of leaves changes no bit."""
    layers = {f"layer {index}": normal(index, 3, 4) for index in range(24)}
    together = one_step(layers)
    optimizer = scale_by_prism()
    alone = jax.jit(optimizer.update)
    for name, gradient in layers.items():
        assert_identical(together[name], alone(gradient, optimizer.init(gradient))[0])


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_equal_layers_share_one_compiled_body(platform):
    """The program of 24 equal layers has the matrix products of one."""

    def products(count):
        optimizer = prism(0.1)
        params = [jax.ShapeDtypeStruct((3, 4), jnp.float32)] * count
        state = jax.eval_shape(optimizer.init, params)
        lowered = jax.jit(optimizer.update).trace(params, state, params)
        return lowered.lower(lowering_platforms=(platform,)).as_text().count("dot_general")

    # JAX 0.6.0 keeps the branch of other platforms until the program is compiled; 0.7.2 does not.
    bodies = 1 if jax.__version_info__ >= (0, 7, 2) else 2
    assert 0 < products(24) <= bodies * products(1)


def test_leaves_that_are_no_matrices_get_their_momentum():
    gradient = {"vector": normal(8, 3), "stacked": 0.01 * normal(9, 2, 3, 4)}
    got = one_step(gradient, b1=0.5, nesterov=False)
    assert_close(got, jax.tree.map(lambda leaf: 0.5 * leaf, gradient), 4)


def test_weight_decay_is_decoupled_and_masked():
    params = {"kept": normal(10, 3, 4), "decayed": normal(11, 3, 4)}
    optimizer = prism(0.5, weight_decay=0.1, weight_decay_mask={"kept": False, "decayed": True})
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    assert not np.any(updates["kept"])
    assert_close(updates["decayed"], -0.05 * params["decayed"], 4)


def test_number_of_iterations_may_be_injected():
    """A traced number of iterations runs a loop and gives what the unrolled code does."""
    gradient = normal(12, 3, 4)
    injected = optax.inject_hyperparams(scale_by_prism)(ns_iters=3, ns_form="direct")
    got, _ = jax.jit(injected.update)(gradient, injected.init(gradient))
    assert_close(got, one_step(gradient, ns_iters=3, ns_form="direct"), ITERATIONS)


def test_tables_of_coefficients():
    """The named tables, rows given as numbers, and the exact factor, which all are close to."""
    gradient = normal(13, 4, 3)
    exact = one_step(gradient, ns_coeffs="exact")
    for name, iterations in (("polar_express", 8), ("cubic", 30)):
        got = one_step(gradient, ns_coeffs=name, ns_iters=iterations)
        assert_close(got, exact, 10 * ITERATIONS)
        rows = coefficients(name)
        assert_identical(one_step(gradient, ns_coeffs=rows, ns_iters=iterations), got)


def test_bias_correction_of_the_first_step():
    """Freed of its start at zero the first momentum is the gradient, and nothing is unforeseen."""
    gradient = normal(14, 3, 4)
    got = one_step(gradient, bias_correction=True, nesterov=False, grad_clip_max_amps=None)
    assert_close(got, newton_schulz(gradient, JORDAN, 5), ITERATIONS)


def test_dtype_of_the_momentum():
    params = {"real": jnp.ones((3, 4)), "complex": jnp.ones((3, 4), jnp.complex64)}
    state = scale_by_prism(mu_dtype=jnp.bfloat16).init(params)
    assert state.mu["real"].dtype == jnp.bfloat16
    assert state.mu["complex"].dtype == jnp.complex64
