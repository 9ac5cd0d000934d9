"""A wrong option is refused when the optimizer is built: what was given, and what is allowed."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rollfast import (
    PrismDimensionNumbers,
    prism,
    scale_by_prism,
    schedule_free,
    schedule_free_adamw,
    schedule_free_prism,
    schedule_free_sgd,
    wsd_schedule,
)


def around_sgd(**options):
    return schedule_free(optax.sgd(0.1), 0.1, **options)


def prism_with_rate(**options):
    return prism(0.1, **options)


def of_100_steps(**options):
    return schedule_free_prism(0.1, 100, **options)


def wsd(**options):
    return wsd_schedule(**{"peak_lr": 0.1, "total_steps": 100, **options})


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
    assert argument in message
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


def test_numbers_of_other_kinds_are_options_too():
    """NumPy and JAX scalars do what Python's do."""
    for kind in (np.float32, np.float64, jnp.float32):
        around_sgd(b1=kind(0.5))
        scale_by_prism(b1=kind(0.5), gamma=kind(2.0))
