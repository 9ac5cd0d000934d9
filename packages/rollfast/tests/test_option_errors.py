"""A wrong option is refused when the optimizer is built: what was given, and what is allowed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rollfast import (
    PreconditionerMode,
    PrismDimensionNumbers,
    affine,
    dense_newton,
    kron,
    low_rank_approximation,
    precond_update_prob_schedule,
    prism,
    scale_by_affine,
    scale_by_dense_newton,
    scale_by_kron,
    scale_by_lra,
    scale_by_prism,
    scale_by_xmat,
    schedule_free,
    schedule_free_adamw,
    schedule_free_kron,
    schedule_free_prism,
    schedule_free_sgd,
    wsd_schedule,
    xmat,
)


def around_sgd(**options):
    return schedule_free(optax.sgd(0.1), 0.1, **options)


def prism_with_rate(**options):
    return prism(0.1, **options)


def of_100_steps(**options):
    return schedule_free_prism(0.1, 100, **options)


def kron_of_100_steps(**options):
    return schedule_free_kron(0.1, 100, **options)


def wsd(**options):
    return wsd_schedule(**{"peak_lr": 0.1, "total_steps": 100, **options})


OF_AN_EARLIER_PACKAGE = (scale_by_xmat, scale_by_lra, scale_by_dense_newton, scale_by_affine)


def wrong_with(factory):
    """Rows of the options that these four have in common."""
    return [
        (factory, "step_normalizer_order", "3rd", "tracked"),
        (factory, "step_normalizer_order", None, "1st"),
        (factory, "precond_init_moment", "3rd", "4th"),
        (factory, "precond_lr", 2.5, "[0, 2]"),
        (factory, "precond_lr", -0.1, "[0, 2]"),
        (factory, "b1", 1.0, "[0, 1)"),
        (factory, "beta_lipschitz", 1.0, "[0, 1)"),
        (factory, "damping", -1e-9, "[0, inf)"),
        (factory, "preconditioner_update_probability", 1.5, "[0, 1]"),
        (factory, "preconditioner_update_interval", 0, "whole number from 1"),
        (factory, "precond_init_scale", 0.0, "positive"),
        (factory, "update_global_norm_clip", 0.0, "positive"),
        (factory, "grad_clip_max_amps", (2.0, -1.0), "positive"),
        (factory, "raw_global_grad_clip", -1.0, "positive"),
    ]


# What the docstring of `scale_by_kron` says must be among the static arguments.
STRUCTURE_OF_KRON = (
    "max_size_triangular",
    "max_skew_triangular",
    "min_ndim_triangular",
    "merge_small_dims",
    "partition_large_dims",
    "lax_map_batch_size",
)

# Factory, argument, wrong value, what the message says is allowed.
WRONG = [
    (scale_by_prism, "b1", 1.0, "[0, 1)"),
    (scale_by_prism, "b1", -0.1, "[0, 1)"),
    (scale_by_prism, "b1", float("nan"), "[0, 1)"),
    (scale_by_prism, "gamma", -1.0, "[0, inf)"),
    (scale_by_prism, "ns_iters", 0, "whole number from 1"),
    (scale_by_prism, "ns_iters", 2.5, "whole number from 1"),
    (scale_by_prism, "eps", -1e-8, "[0, inf)"),
    (scale_by_prism, "ns_coeffs", "jordon", "polar_express_unsafe"),
    (scale_by_prism, "ns_coeffs", (), "(a, b, c)"),
    (scale_by_prism, "ns_coeffs", ((1.0, 2.0),), "(a, b, c)"),
    (scale_by_prism, "ns_form", "grams", "direct"),
    (scale_by_prism, "raw_global_grad_clip", 0.0, "positive"),
    (scale_by_prism, "grad_clip_max_amps", (2.0, -1.0), "positive"),
    (scale_by_prism, "grad_clip_max_amps", (2.0, 10.0, 5.0), "pair"),
    (prism_with_rate, "weight_decay", -0.1, "[0, inf)"),
    (prism_with_rate, "b1", 1.5, "[0, 1)"),
    (prism_with_rate, "adam_b1", 1.0, "[0, 1)"),
    (prism_with_rate, "adam_b2", 1.0, "[0, 1)"),
    (prism_with_rate, "adam_eps", -1.0, "[0, inf)"),
    (around_sgd, "b1", 1.1, "[0, 1]"),
    (around_sgd, "weighting_mode", "schedulett", "theoretical"),
    (around_sgd, "averaging_power", -1.0, "[0, inf)"),
    (schedule_free_sgd, "warmup_steps", -1, "[0, inf)"),
    (schedule_free_sgd, "weight_decay", -1.0, "[0, inf)"),
    (schedule_free_adamw, "b2", 1.0, "[0, 1)"),
    (schedule_free_adamw, "eps", -1.0, "[0, inf)"),
    (schedule_free_adamw, "bias_correction", "both", "denominator"),
    (of_100_steps, "prism_b1", 1.0, "[0, 1)"),
    (of_100_steps, "sf_b1", 2.0, "[0, 1]"),
    (of_100_steps, "weighting_mode", "", "schedulet"),
    (of_100_steps, "warmup_fraction", 1.5, "[0, 1]"),
    (scale_by_kron, "b1", 1.0, "[0, 1)"),
    (scale_by_kron, "preconditioner_lr", 2.5, "[0, 2]"),
    (scale_by_kron, "beta_lipschitz", 1.0, "[0, 1)"),
    (scale_by_kron, "damping", -1e-9, "[0, inf)"),
    (scale_by_kron, "newton_schulz_iters", 0, "whole number from 1"),
    (scale_by_kron, "preconditioner_init_scale", 0.0, "positive"),
    (scale_by_kron, "max_size_triangular", -1.0, "[0, inf]"),
    (scale_by_kron, "max_skew_triangular", float("nan"), "[0, inf]"),
    (scale_by_kron, "min_ndim_triangular", -1.0, "whole number from 0"),
    (scale_by_kron, "memory_save_mode", "smart_one_diag", "one_diag"),
    (scale_by_kron, "merge_small_dims", 0, "whole number from 1"),
    (scale_by_kron, "merge_small_dims", True, "whole number"),
    (scale_by_kron, "partition_large_dims", 0, "whole number from 1"),
    (scale_by_kron, "partition_large_dims", 2.5, "whole number from 1"),
    (scale_by_kron, "partition_large_dims", np.float64(4.0), "whole number"),
    (scale_by_kron, "preconditioner_update_probability", 1.5, "[0, 1]"),
    (scale_by_kron, "preconditioner_update_interval", 0, "whole number from 1"),
    (scale_by_kron, "grad_clip_mode", "per_layer", "global_rms"),
    (scale_by_kron, "grad_clip_max_amps", (2.0, -1.0), "positive"),
    (scale_by_kron, "raw_global_grad_clip", -1.0, "positive"),
    (scale_by_kron, "lax_map_batch_size", 0, "whole number from 1"),
    (kron, "weight_decay", -0.1, "[0, inf)"),
    (kron, "b1", -0.1, "[0, 1)"),
    (kron_of_100_steps, "sf_b1", 2.0, "[0, 1]"),
    (kron_of_100_steps, "warmup_fraction", 1.5, "[0, 1]"),
    (kron_of_100_steps, "preconditioner_mode", "QUADRATIC", "QUAD4P"),
    *(row for factory in OF_AN_EARLIER_PACKAGE for row in wrong_with(factory)),
    (scale_by_lra, "uvd_rank_of_approximation", -1, "whole number from 0"),
    (scale_by_lra, "uvd_rank_of_approximation", 2.5, "whole number from 0"),
    (scale_by_lra, "uvd_rank_of_approximation", 2.0, "whole number from 0"),
    (scale_by_lra, "uvd_rank_of_approximation", None, "whole number from 0"),
    (scale_by_dense_newton, "preconditioner_mode", "QUADRATIC", "QUAD4P"),
    (scale_by_affine, "max_size_triangular", -1.0, "[0, inf]"),
    (scale_by_affine, "max_skew_triangular", float("nan"), "[0, inf]"),
    (xmat, "weight_decay", -0.1, "[0, inf)"),
    (low_rank_approximation, "weight_decay", -0.1, "[0, inf)"),
    (dense_newton, "weight_decay", -0.1, "[0, inf)"),
    (affine, "weight_decay", -0.1, "[0, inf)"),
    (precond_update_prob_schedule, "max_prob", 1.5, "[0, 1]"),
    (precond_update_prob_schedule, "min_prob", -1.0, "[0, 1"),
    (precond_update_prob_schedule, "decay", -1.0, "[0, inf)"),
    (wsd, "total_steps", 0, "[1, inf)"),
    (wsd, "decay_fraction", -0.5, "[0, 1]"),
    (wsd, "decay_shape", "cosine", "linear"),
]


@pytest.mark.parametrize(
    ("factory", "argument", "value", "allowed"),
    WRONG,
    ids=lambda part: getattr(part, "__name__", None) or str(part),
)
def test_wrong_option(factory, argument, value, allowed):
    with pytest.raises(ValueError, match="must") as caught:
        factory(**{argument: value})
    message = str(caught.value)
    assert message.startswith(f"{argument}=")
    assert repr(value) in message or "-1.0" in message
    assert allowed in message


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (PrismDimensionNumbers(0, 2), ["['layer']", "(3, 4)", "-2 to 1"]),
        (PrismDimensionNumbers(0, 0), ["['layer']", "twice"]),
        (PrismDimensionNumbers(1, -1), ["['layer']", "twice"]),
        ({"layer": "rows"}, ["['layer']", "'rows'", "PrismDimensionNumbers"]),
        (PrismDimensionNumbers((), 1), ["['layer']", "without an axis"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["scale_by_prism", "prism"])
def test_dimension_numbers_that_do_not_fit(name, numbers, said):
    """The message names the leaf, and comes before the first step does."""
    params = {"layer": jnp.ones((3, 4))}
    if name == "prism":
        optimizer = prism(0.1, prism_weight_dimension_numbers=numbers)
    else:
        optimizer = scale_by_prism(weight_dimension_numbers=numbers)
    with pytest.raises(ValueError, match="layer") as caught:
        optimizer.update(params, optimizer.init(params), params)
    assert all(part in str(caught.value) for part in said), caught.value


def test_tree_of_dimension_numbers_of_another_structure():
    params = {"layer": jnp.ones((3, 4))}
    numbers = {"other": PrismDimensionNumbers()}
    optimizer = prism(0.1, prism_weight_dimension_numbers=numbers)
    with pytest.raises(ValueError, match="layer"):
        optimizer.init(params)


@pytest.mark.parametrize("factory", [scale_by_kron, scale_by_dense_newton])
@pytest.mark.parametrize("mode", ["quad", "", None, 3, ["EQ"]], ids=repr)
def test_unknown_geometry(mode, factory):
    """The message lists all rows, each by the one name that is documented."""
    with pytest.raises(ValueError, match="preconditioner_mode") as caught:
        factory(preconditioner_mode=mode)
    assert all(repr(str(row)) in str(caught.value) for row in PreconditionerMode)
    assert "Q0p5EQ1p5" not in str(caught.value)


@pytest.mark.parametrize("factory", [scale_by_kron, kron, *OF_AN_EARLIER_PACKAGE])
@pytest.mark.parametrize("b1", [0, 0.0, np.float32(0)], ids=repr)
def test_there_must_be_a_momentum_to_whiten(factory, b1):
    with pytest.raises(ValueError, match=r"whiten_grad=False is not allowed with b1=.*momentum"):
        factory(b1=b1, whiten_grad=False)


@pytest.mark.parametrize("mode", [*PreconditionerMode, "Q0p5EQ1p5"])
def test_geometry_by_name_or_member(mode):
    scale_by_kron(preconditioner_mode=mode)
    scale_by_kron(preconditioner_mode=str(mode))


@pytest.mark.parametrize("rank", [12, 13, 1000])
@pytest.mark.parametrize("factory", [scale_by_lra, low_rank_approximation])
def test_rank_is_less_than_the_number_of_parameters(factory, rank):
    """What is wrong with it shows at `init` only."""
    optimizer = factory(uvd_rank_of_approximation=rank)
    with pytest.raises(ValueError, match="must be less") as caught:
        optimizer.init({"layer": jnp.ones((3, 4)), "nothing": jnp.ones((0, 2))})
    assert f"uvd_rank_of_approximation={rank}" in str(caught.value)
    assert "from 0 to 11" in str(caught.value)


@pytest.mark.parametrize(
    ("factory", "structure"),
    [
        (low_rank_approximation, ("uvd_rank_of_approximation",)),
        (affine, ("max_size_triangular", "max_skew_triangular")),
        (kron, STRUCTURE_OF_KRON),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_numbers_of_structure_are_not_injected(factory, structure, compiled):
    """The message names the one that was forgotten, and says how to inject the others.

    Without `jit` what Optax hands over is an array that has a value.
    """
    params = {"layer": jnp.ones((3, 4))}
    made = jax.jit if compiled else lambda function: function
    options = {"merge_small_dims": 2, "partition_large_dims": 2} if factory is kron else {}
    for name in structure:
        static = [other for other in structure if other != name]
        injected = optax.inject_hyperparams(factory, static_args=static)(0.1, **options)
        with pytest.raises(ValueError, match="traced") as caught:
            made(injected.init)(params)
        assert str(caught.value).startswith(f"{name}=")
        assert f"static_args=({name!r}" in str(caught.value)
    others = optax.inject_hyperparams(factory, static_args=structure)(0.1, **options)
    made(others.init)(params)


def test_only_a_leaf_with_an_axis_can_be_scanned():
    optimizer = scale_by_kron(scanned_layers={"layer": False, "scale": True})
    with pytest.raises(ValueError, match=r"scanned_layers\['scale'\]"):
        optimizer.init({"layer": jnp.ones((3, 4)), "scale": jnp.ones(())})


def test_numbers_of_other_kinds_are_options_too():
    """NumPy and JAX scalars do what Python's do, but that structure is no array."""
    for kind in (np.float32, np.float64, jnp.float32, np.array):
        around_sgd(b1=kind(0.5))
        scale_by_prism(b1=kind(0.5), gamma=kind(2.0))
        kron(kind(0.1), b1=kind(0.5), preconditioner_lr=kind(0.1), damping=kind(0.0))
    scale_by_kron(max_skew_triangular=np.float32(2))
    scale_by_kron(merge_small_dims=np.int64(4), partition_large_dims=np.int32(8))
