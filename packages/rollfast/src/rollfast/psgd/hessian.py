"""Hessian-vector products beside gradients, for Newton's preconditioners."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rollfast.options import check_choice, check_interval
from rollfast.typing import Array, Number, PyTree

__all__ = ["finite_difference_product", "hessian_helper"]

# Steps that fit in any case: the first one, whether they are counted from 0 or from 1.
_FORCED_STEPS = 2


def finite_difference_product(
    gradient_function: Callable[[PyTree], PyTree],
    params: PyTree,
    vector: PyTree,
    gradients: PyTree | None = None,
) -> tuple[PyTree, PyTree]:
    """Return (H v', v'), the slope of the gradient along v and what rounding leaves of v.

    θ' = θ + e v, e = √ε, v' = (θ' - θ) / e, H v' ≈ (g(θ') - g(θ)) / e; ε is the rounding of the
    coarsest dtype among the leaves.

    Args:
        gradient_function: From parameters to gradients.
        params: θ.
        vector: v, a tree like the parameters.
        gradients: g(θ), where it is at hand.

    Returns:
        Two trees like the parameters. (v', H v') is a pair, which (v, H v') is not.

    Source: psgd_torch a8616f1, `KronNewton.step` without exact products.
    """
    roundings = [float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(params)]
    length = max(roundings, default=0.0) ** 0.5
    moved = jax.tree.map(lambda p, v: (p + length * v).astype(p.dtype), params, vector)
    used = jax.tree.map(lambda there, here: (there - here) / length, moved, params)
    near = gradient_function(params) if gradients is None else gradients
    far = gradient_function(moved)
    return jax.tree.map(lambda there, here: (there - here) / length, far, near), used


def hessian_helper(
    key: Array,
    loss_fn: Callable[..., Any],
    params: PyTree,
    loss_fn_extra_args: Sequence[Any] = (),
    has_aux: bool = False,
    preconditioner_update_probability: Number = 1.0,
    *,
    step: Array | int | None = None,
    hvp: str = "forward_over_reverse",
    probe: str = "rademacher",
) -> tuple[Any, PyTree, PyTree, PyTree, Array]:
    """Return loss and gradients as `jax.value_and_grad` does, and a Hessian-vector product.

    The last three are for `update(grads, state, params, Hvp=…, vector=…,
    update_preconditioner=…)`. A step that does not update costs what the gradients cost.

    Args:
        key: Another one for every step.
        loss_fn: From parameters and the extra arguments to the loss, or (loss, aux).
        params: Real or complex.
        loss_fn_extra_args: What else the loss takes.
        has_aux: Whether the loss returns a pair.
        preconditioner_update_probability: Probability that a step updates the preconditioner.
        step: Number of the step; steps below 2 update in any case, so that a preconditioner has
            a scale from the start. None to leave it to the probability.
        hvp: `forward_over_reverse`, exact, or `finite_difference` of two gradients.
        probe: Entries of the vector, `rademacher` (±1) or `normal`; of a complex leaf, those of
            its real and its imaginary part.

    Returns:
        (what the loss returns, gradients, Hessian-vector product, vector, whether to update). The
        product and the vector are zero where there is no update. For complex leaves both are
        conjugated, as gradients of JAX are.

    Raises:
        ValueError: An option is out of its range.

    Source: psgd_jax 0.1.5, `hessian_helper`; vectors of signs: any with E[vvᵀ] = I do.
    """
    check_choice("hvp", hvp, _PRODUCTS)
    check_choice("probe", probe, _PROBES)
    check_interval("preconditioner_update_probability", preconditioner_update_probability, 0, 1)
    params = jax.tree.map(jnp.asarray, params)
    decision, drawn = jax.random.split(key)
    asked = jax.random.uniform(decision) < preconditioner_update_probability
    if step is not None:
        asked = asked | (jnp.asarray(step) < _FORCED_STEPS)

    def gradient(params: PyTree) -> tuple[PyTree, Any]:
        loss, gradients = jax.value_and_grad(loss_fn, has_aux=has_aux)(params, *loss_fn_extra_args)
        return gradients, loss

    def both() -> tuple[Any, PyTree, PyTree, PyTree]:
        vector = _vector(drawn, params, _PROBES[probe])
        loss, gradients, product, used = _PRODUCTS[hvp](gradient, params, vector)
        return loss, gradients, product, jax.tree.map(jnp.conj, used)

    def alone() -> tuple[Any, PyTree, PyTree, PyTree]:
        gradients, loss = gradient(params)
        zeros = jax.tree.map(jnp.zeros_like, params)
        return loss, gradients, zeros, zeros

    return *jax.lax.cond(asked, both, alone), asked


def _exact(
    gradient: Callable[[PyTree], tuple[PyTree, Any]], params: PyTree, vector: PyTree
) -> tuple[Any, PyTree, PyTree, PyTree]:
    gradients, product, loss = jax.jvp(gradient, (params,), (vector,), has_aux=True)
    return loss, gradients, product, vector


def _difference(
    gradient: Callable[[PyTree], tuple[PyTree, Any]], params: PyTree, vector: PyTree
) -> tuple[Any, PyTree, PyTree, PyTree]:
    gradients, loss = gradient(params)
    product, used = finite_difference_product(
        lambda there: gradient(there)[0], params, vector, gradients
    )
    return loss, gradients, product, used


_PRODUCTS = {"forward_over_reverse": _exact, "finite_difference": _difference}


def _vector(key: Array, params: PyTree, draw: Callable[..., Array]) -> PyTree:
    """Return a vector of zero mean and unit variance in every real number of every leaf."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, max(len(leaves), 1))

    def one(own: Array, leaf: Array) -> Array:
        real = jnp.finfo(leaf.dtype).dtype
        if not jnp.iscomplexobj(leaf):
            return draw(own, jnp.shape(leaf), real)
        parts = draw(own, (2, *jnp.shape(leaf)), real)
        return jax.lax.complex(parts[0], parts[1])

    return structure.unflatten([one(own, leaf) for own, leaf in zip(keys, leaves, strict=False)])


_PROBES = {"rademacher": jax.random.rademacher, "normal": jax.random.normal}
