"""What is done around the shaping: dtypes, scales, and numbers of iterations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rollfast import PrismDimensionNumbers, prism, scale_by_prism

from ..helpers import normal

GRADIENT = normal(3, 6, 4)


def direction(gradient, **options):
    optimizer = scale_by_prism(grad_clip_max_amps=None, **options)
    params = {"w": gradient}
    return optimizer.update(params, optimizer.init(params))[0]["w"]


@pytest.mark.parametrize("compute_dtype", [None, "bfloat16", "float16"])
@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1e6, 1e30])
def test_the_direction_does_not_depend_on_the_scale(compute_dtype, scale):
    wanted = direction(GRADIENT)
    got = direction(GRADIENT * scale, compute_dtype=compute_dtype)
    eps = jnp.finfo(compute_dtype or jnp.float32).eps
    # Rounding to the compute dtype, amplified by the iteration on singular values near one.
    tolerance = 16 * float(eps) * float(jnp.linalg.norm(wanted))
    np.testing.assert_allclose(got, wanted, atol=tolerance)


@pytest.mark.parametrize("compute_dtype", [None, "float16"])
def test_a_zero_matrix_stays_zero(compute_dtype):
    got = direction(jnp.zeros((6, 4)), compute_dtype=compute_dtype)
    np.testing.assert_array_equal(got, jnp.zeros((6, 4)))


def test_entries_near_the_largest_number_are_shaped():
    largest = float(jnp.finfo(jnp.float32).max)
    got = direction(jnp.where(GRADIENT > 0, 0.3, -0.3) * largest)
    assert float(jnp.linalg.norm(got)) > 0.05


def product_dtypes(jaxpr):
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found.add(str(equation.outvars[0].aval.dtype))
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    found |= product_dtypes(inner)
    return found


def test_an_injected_eps_leaves_the_compute_dtype_alone():
    static = ("ns_iters", "compute_dtype", "mu_dtype", "precision")
    injected = optax.inject_hyperparams(scale_by_prism, static_args=static)
    optimizer = injected(compute_dtype="bfloat16")
    params = {"w": GRADIENT}
    traced = jax.make_jaxpr(optimizer.update)(params, optimizer.init(params))
    assert product_dtypes(traced.jaxpr) == {"bfloat16"}


def test_a_count_of_numpy_is_unrolled_like_one_of_python():
    wanted = direction(GRADIENT, ns_form="gram")
    got = direction(GRADIENT, ns_form="gram", ns_iters=np.int64(5))
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("factory", [scale_by_prism, lambda **o: prism(0.1, **o)])
def test_dimension_numbers_are_checked_by_init(factory):
    option = "weight_dimension_numbers"
    if factory is not scale_by_prism:
        option = f"prism_{option}"
    with pytest.raises(ValueError, match=r"\['w'\]"):
        factory(**{option: PrismDimensionNumbers(0, 3)}).init({"w": GRADIENT})
    with pytest.raises(ValueError, match="tree like the parameters"):
        factory(**{option: {"v": None}}).init({"w": GRADIENT})


def test_exact_factor_of_many_equal_leaves():
    params = {str(index): normal(index, 5, 3) for index in range(4)}
    optimizer = scale_by_prism(ns_coeffs="exact", gamma=0.0, grad_clip_max_amps=None)
    updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params))
    for update in updates.values():
        np.testing.assert_allclose(update.T @ update, jnp.eye(3), atol=1e-5)
