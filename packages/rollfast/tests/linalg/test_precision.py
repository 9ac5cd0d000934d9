"""The precision of matrix products is the user's, where an optimizer is given none."""

import jax
import jax.numpy as jnp
import pytest

from rollfast import kron, low_rank_approximation, prism

PARAMS = {"weight": jnp.ones((4, 6))}
PRODUCTS = {
    "kron": lambda precision: kron(
        0.1, precond_update_precision=precision, precond_grads_precision=precision
    ),
    "prism": lambda precision: prism(0.1, precision=precision),
    "low rank": lambda precision: low_rank_approximation(0.1, precision=precision),
}


def precisions(optimizer):
    """Precisions of all products of matrices in a step."""
    found = set()

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                found.add(str(equation.params["precision"]))
            for parameter in equation.params.values():
                for inner in jax.tree.leaves(
                    parameter, is_leaf=lambda leaf: hasattr(leaf, "jaxpr") or hasattr(leaf, "eqns")
                ):
                    if hasattr(inner, "jaxpr") or hasattr(inner, "eqns"):
                        visit(getattr(inner, "jaxpr", inner))

    state = optimizer.init(PARAMS)
    visit(jax.make_jaxpr(optimizer.update)(PARAMS, state, PARAMS).jaxpr)
    return found


@pytest.mark.parametrize("name", PRODUCTS)
def test_none_leaves_what_is_set_outside(name):
    with jax.default_matmul_precision("highest"):
        untouched, asked = (precisions(PRODUCTS[name](given)) for given in (None, "default"))
    assert untouched
    assert all("HIGHEST" in product for product in untouched)
    # A norm is no product of matrices, and has the precision from outside.
    assert any("DEFAULT" in product for product in asked)
