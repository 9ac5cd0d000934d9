import numpy as np
import pytest

from reference.psgd.hessian import finite_difference_product

EPS = np.finfo(np.float64).eps


def relative(computed, expected):
    return np.linalg.norm(computed - expected) / np.linalg.norm(expected)


def quadratic(rng, dtype):
    """Return a dense Hessian over two leaves of 4 and 3 entries, its gradient, and a tree maker."""
    matrix = rng.standard_normal((7, 7))
    matrix = matrix + matrix.T

    def tree(values):
        values = np.asarray(values).astype(dtype)
        return {"a": values[:4].reshape(2, 2), "b": values[4:]}

    def gradient(params):
        return tree(matrix.astype(dtype) @ joined(params))

    return matrix, gradient, tree


def joined(tree):
    return np.concatenate([tree["a"].ravel(), tree["b"]])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
def test_product_of_a_quadratic_is_exact_to_rounding_over_the_length(dtype):
    rng = np.random.default_rng(0)
    matrix, gradient, tree = quadratic(rng, dtype)
    # The Hessian is real, so that a complex dtype needs no convention of gradients.
    turn = 1 + 1j * (np.arange(7) - 3) if np.dtype(dtype).kind == "c" else 1
    params, v = tree(turn * rng.standard_normal(7)), tree(turn * rng.standard_normal(7))
    product, used = finite_difference_product(gradient, params, v)
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in product.items()} == {
        name: (leaf.shape, leaf.dtype) for name, leaf in params.items()
    }
    expected = matrix @ joined(used).astype(np.promote_types(dtype, np.float64))
    eps = np.finfo(dtype).eps
    # Both gradients are rounded to some eps and their difference is divided by sqrt(eps); the sums
    # of seven terms are a few times larger than what is left of them.
    assert relative(joined(product), expected) < 10 * np.sqrt(eps)
    # v' is rounded as much, in relation to parameters of the same size.
    assert relative(joined(used), joined(v)) < 4 * np.sqrt(eps)


def test_the_vector_returned_is_what_was_used():
    # Beside parameters of 1e6 rounding takes two digits of each entry of the step.
    rng = np.random.default_rng(1)
    matrix, gradient, tree = quadratic(rng, np.float64)
    centre = tree(1e6 * np.sign(rng.standard_normal(7)))
    v = tree(rng.standard_normal(7))

    def around(params):
        return gradient({name: params[name] - centre[name] for name in params})

    product, used = finite_difference_product(around, centre, v)
    # The gradient at the centre is 0, so that only the product is rounded.
    assert relative(joined(product), matrix @ joined(used)) < 30 * EPS
    assert 1e-4 < relative(joined(used), joined(v)) < 0.1


def test_all_leaves_move_as_far_by_the_coarsest_dtype():
    rng = np.random.default_rng(2)
    matrix = rng.standard_normal((2, 2))
    matrix = matrix + matrix.T
    params = {"a": np.zeros((), np.float32), "b": np.zeros(())}
    v = {"a": np.ones((), np.float32), "b": np.ones(())}
    seen = []

    def gradient(tree):
        seen.append(tree)
        values = matrix @ [float(tree["a"]), float(tree["b"])]
        return {"a": np.asarray(values[0], np.float32), "b": np.asarray(values[1])}

    product, used = finite_difference_product(gradient, params, v)
    length = np.sqrt(2.0**-23)
    moved = next(tree for tree in seen if tree["b"] != 0)
    np.testing.assert_allclose([moved["a"], moved["b"]], length, rtol=2.0**-23)
    # Roundings to float32, without cancellation.
    expected = matrix @ [float(used["a"]), float(used["b"])]
    np.testing.assert_allclose([product["a"], product["b"]], expected, rtol=8 * 2.0**-23)


def test_a_cubic_is_off_by_the_third_derivative():
    # f = x^3 / 3 at 1: the quotient is 2 v + e v^2.
    product, used = finite_difference_product(
        lambda tree: {"x": tree["x"] ** 2}, {"x": np.ones(1)}, {"x": np.ones(1)}
    )
    length = np.sqrt(EPS)
    np.testing.assert_allclose(product["x"], 2 * used["x"] + length, rtol=4 * EPS / length)
    np.testing.assert_allclose((product["x"] - 2 * used["x"]) / length, 1, rtol=1e-6)


def test_bfloat16_and_empty_leaves_keep_their_dtypes():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    params = {"a": np.zeros(3, bfloat16), "none": np.zeros((0, 2))}
    v = {"a": np.ones(3, bfloat16), "none": np.zeros((0, 2))}
    product, used = finite_difference_product(lambda tree: tree, params, v)
    assert [leaf.dtype for leaf in product.values()] == [bfloat16, np.float64]
    # H = I, and the same roundings on both sides.
    np.testing.assert_array_equal(product["a"], used["a"])
    assert product["none"].shape == (0, 2)
    assert finite_difference_product(lambda tree: tree, {}, {}) == ({}, {})
