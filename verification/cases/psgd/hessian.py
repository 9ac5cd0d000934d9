"""Checks of Hessian-vector products made of two gradients."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from verification import compare
from verification.case import Case, Sample
from verification.equivalence import Equivalence
from verification.interpreter import compiled
from verification.problems.factors import positive_definite
from verification.problems.matrices import gaussian
from verification.registry import production

__all__ = ["CHECKS"]

NAME = "psgd.hessian.finite_difference_product"
LEAVES: dict[str, tuple[tuple[int, ...], bool]] = {
    "matrix": ((3, 4), False),
    "phase": ((5,), True),
    "point": ((), False),
}


def _gradient(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the gradient of (Σ|x|²)² / 4 + Σ|x|², in which all leaves meet."""
    total = sum((leaf.real**2 + leaf.imag**2).sum() for leaf in tree.values())
    return {name: leaf * (total + 2) for name, leaf in tree.items()}


def _trees(dtype: str) -> Callable[[np.random.Generator], Iterator[Sample]]:
    step = np.sqrt(compare.epsilon(dtype))

    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for scale in (1.0, 0.1, 30.0):
            for length in (1.0, 0.2, 5.0):
                params, vector = (
                    {
                        name: np.asarray(size * gaussian(rng, shape, pair))
                        for name, (shape, pair) in LEAVES.items()
                    }
                    for size in (scale, length)
                )
                gradient = compare.norm(_joined(_gradient(params)))
                there = {name: params[name] + step * vector[name] for name in params}
                moved = _joined(_gradient(there)) - _joined(_gradient(params))
                # Each gradient is rounded, and each entry of θ + e v, before e divides.
                shortest = min(
                    np.linalg.norm(v) / np.linalg.norm(params[n]) for n, v in vector.items()
                )
                lost = max(gradient / compare.norm(moved), 1 / (step * shortest))
                yield Sample(f"{scale:g} along {length:g}", (params, vector), condition=lost)

    return samples


def _joined(tree: dict[str, Any]) -> np.ndarray:
    return np.concatenate([np.ravel(tree[name]) for name in sorted(tree)])


def _products(
    function: Callable[..., Any], params: dict[str, Any], vector: dict[str, Any]
) -> list[Any]:
    product, used = function(_gradient, params, vector)
    return [*(product[name] for name in sorted(product)), *(used[name] for name in sorted(used))]


def _helped(is_complex: bool, **options: Any) -> Callable[[np.random.Generator], Any]:
    """Return all that the helper returns for the loss 3 xᴴA x / 2 with twice that beside it."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        import jax.numpy as jnp

        matrix, params = _quadratic(rng, is_complex)

        def loss(tree: Any, scale: Any) -> Any:
            value = scale * jnp.vdot(tree["x"], jnp.asarray(matrix) @ tree["x"]).real / 2
            return value, 2 * value

        helper = production("psgd.hessian.hessian_helper")
        helped = compiled(
            lambda key, tree: helper(key, loss, tree, (3.0,), has_aux=True, **options)
        )
        found = helped(jax.random.PRNGKey(5), {"x": jnp.asarray(params)})
        (value, aux), gradient, product, vector, asked = found
        return value, aux, gradient["x"], product["x"], vector["x"], asked

    return run


def _quadratic(rng: np.random.Generator, is_complex: bool) -> tuple[np.ndarray, np.ndarray]:
    return positive_definite(rng, 6, 4.0, is_complex), gaussian(rng, (6,), is_complex)


def _by_matrix(is_complex: bool, **options: Any) -> Callable[[np.random.Generator], Any]:
    """Return the same of the formula; gradients of JAX, and all pairs, are conjugated."""

    def run(rng: np.random.Generator) -> Any:
        vector = np.asarray(_helped(is_complex, **options)(copy.deepcopy(rng))[4])
        matrix, params = _quadratic(rng, is_complex)
        value = 1.5 * np.vdot(params, matrix @ params).real
        gradient = np.conj(3 * matrix @ params)
        product = np.conj(3 * matrix @ np.conj(vector))
        return value, 2 * value, gradient, product, vector, np.asarray(True)

    return run


def _signs(rng: np.random.Generator) -> Any:
    """Return the squares of all parts of a vector of signs."""
    vector = np.asarray(_helped(True)(rng)[4])
    return vector.real**2, vector.imag**2


def _flags(rng: np.random.Generator) -> Any:
    """Return which steps are asked for a fit, and how long products and vectors are."""
    import jax
    import jax.numpy as jnp

    helper = production("psgd.hessian.hessian_helper")
    found = []
    for step in (0, 1, 2, None):
        _, _, product, vector, asked = helper(
            jax.random.PRNGKey(5),
            lambda x: jnp.sum(x**2) / 2,
            jnp.asarray(rng.standard_normal(4)),
            preconditioner_update_probability=0.0,
            step=step,
        )
        found.append([1.0 * asked, jnp.sum(product**2), jnp.sum(vector**2)])
    return np.asarray(found)


def _of_identity(number: int) -> Callable[[np.random.Generator], Any]:
    """Return one of the pair for a Hessian of ones, where both are what rounding leaves."""

    def run(rng: np.random.Generator) -> Any:
        import jax.numpy as jnp

        params, vector = ({"x": jnp.asarray(9.0 * gaussian(rng, (7,), False))} for _ in range(2))
        return production(NAME)(lambda tree: tree, params, vector)[number]

    return run


CHECKS = (
    *(
        Case(
            name=NAME,
            label=label,
            samples=_trees(dtype),
            budget=4.0,
            reason="the roundings of two gradients, divided by a step of √ε",
            dtypes=(dtype,),
            apply=_products,
        )
        for label, dtype in (("", "float64"), ("in float32", "float32"))
    ),
    *(
        Equivalence(
            name=NAME,
            label=f"helper = matrix of a quadratic, complex {is_complex}, {hvp}",
            left=_helped(is_complex, hvp=hvp),
            right=_by_matrix(is_complex, hvp=hvp),
            budget=4.0,
            # Two gradients are rounded before √ε divides their difference.
            condition=1.0 if hvp == "forward_over_reverse" else 2.0**26,
            reason="products of length n",
        )
        for is_complex in (False, True)
        for hvp in ("forward_over_reverse", "finite_difference")
    ),
    Equivalence(
        name=NAME,
        label="product with the identity = the vector used",
        left=_of_identity(0),
        right=_of_identity(1),
        budget=0.0,
        reason="the same differences: equal bits",
    ),
    Equivalence(
        name=NAME,
        label="vectors of the helper = signs",
        left=_signs,
        right=lambda rng: (np.ones(6), np.ones(6)),
        budget=0.0,
        reason="±1 in every part",
    ),
    Equivalence(
        name=NAME,
        label="steps that the helper asks for = the first",
        left=_flags,
        right=lambda rng: np.asarray([[1.0, 4.0, 4.0]] * 2 + [[0.0, 0.0, 0.0]] * 2),
        budget=0.0,
        reason="of x²/2 the product is the vector, of four signs",
    ),
)
