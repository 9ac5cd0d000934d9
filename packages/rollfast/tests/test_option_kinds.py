"""An option of a wrong kind, or without a finite value, is refused when the optimizer is built."""

import inspect
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rollfast import (
    affine,
    dense_newton,
    kron,
    low_rank_approximation,
    prism,
    schedule_free,
    schedule_free_adamw,
    schedule_free_kron,
    schedule_free_prism,
    schedule_free_sgd,
    wsd_schedule,
    xmat,
)


def around_sgd(learning_rate=0.1, **options):
    return schedule_free(optax.sgd(0.1), learning_rate, **options)


FLAT = (xmat, low_rank_approximation, dense_newton)
FACTORIES = {
    kron: {},
    affine: {},
    **{factory: {} for factory in FLAT},
    prism: {"learning_rate": 0.1},
    around_sgd: {},
    schedule_free_sgd: {},
    schedule_free_adamw: {},
    schedule_free_kron: {"learning_rate": 0.1, "total_steps": 100},
    schedule_free_prism: {"learning_rate": 0.1, "total_steps": 100},
    wsd_schedule: {"peak_lr": 0.1, "total_steps": 100},
}
# Which take arguments of `schedule_free` in their own signature.
SIGNATURES = {around_sgd: schedule_free}
# Infinity is a value of these: a limit that no axis reaches.
UNLIMITED = ("max_size_triangular", "max_skew_triangular")

STRUCTURE = (
    *UNLIMITED,
    "min_ndim_triangular",
    "merge_small_dims",
    "partition_large_dims",
    "lax_map_batch_size",
)

Kind = tuple[tuple[str, ...], tuple[object, ...]]
# Names of options and what all of them must refuse, whatever optimizer takes them.
NOT_NUMBERS: tuple[object, ...] = ("q", [], (), {}, 1j, np.array("q"))
NOT_FINITE = (math.inf, -math.inf, math.nan, np.float32("inf"))
REALS: Kind = (
    (
        "b1",
        "b2",
        "eps",
        "gamma",
        "sf_b1",
        "prism_b1",
        "adam_b1",
        "adam_b2",
        "adam_eps",
        "beta_lipschitz",
        "weight_decay",
        "averaging_power",
        "warmup_steps",
        "warmup_fraction",
        "decay_fraction",
        "total_steps",
        "peak_lr",
        "learning_rate",
        "preconditioner_lr",
        "precond_lr",
        "preconditioner_update_probability",
    ),
    (*NOT_NUMBERS, *NOT_FINITE, None),
)
REALS_OR_NONE: Kind = (
    (
        "damping",
        "preconditioner_init_scale",
        "precond_init_scale",
        "adam_learning_rate",
    ),
    (*NOT_NUMBERS, *NOT_FINITE),
)
CLIPS: Kind = (
    ("update_global_norm_clip", "raw_global_grad_clip"),
    (*NOT_NUMBERS, -math.inf, math.nan, 0.0, jnp.ones(2)),
)
LIMITS: Kind = (UNLIMITED, (*NOT_NUMBERS, None, math.nan, jnp.ones([]), np.array(1.0)))
COUNTS: Kind = (
    ("newton_schulz_iters", "ns_iters", "lax_map_batch_size", "min_ndim_triangular"),
    (*NOT_NUMBERS, *NOT_FINITE, None, 1.5, -1),
)
COUNTS_OR_NONE: Kind = (
    ("merge_small_dims", "partition_large_dims", "preconditioner_update_interval"),
    (*NOT_NUMBERS, *NOT_FINITE, True, 1.5, 0),
)
FLAGS: Kind = (
    (
        "track_lipschitz",
        "whiten_grad",
        "update_preconditioner_first",
        "lax_map_scanned_layers",
        "permissive_spike_protection",
        "nesterov",
        "shape_nesterov",
        "bias_correction",
        "matricize",
        "use_max_learning_rate",
    ),
    ("no", "", 1, 0.0, None, np.int32(1), jnp.array(True)),
)
FLAGS_OR_NONE: Kind = (("cache_preconditioner",), ("a", 1, jnp.array(True)))
DTYPES: Kind = (
    ("mu_dtype", "precond_dtype", "state_dtype", "compute_dtype"),
    ("int32", "int8", "foo", "", jnp.uint8, np.dtype(bool), 3, ["float32"]),
)
PRECISIONS: Kind = (
    ("precond_update_precision", "precond_grads_precision", "precision"),
    ("foo", "", 3, ["high"], "TENSORFLOAT32"),
)
NAMES: Kind = (
    (
        "preconditioner_mode",
        "grad_clip_mode",
        "memory_save_mode",
        "step_normalizer_order",
        "precond_init_moment",
        "weighting_mode",
        "decay_shape",
        "ns_form",
    ),
    (["EQ"], {}, 3, "foo"),
)
PAIRS: Kind = (
    ("grad_clip_max_amps",),
    (
        "ab",
        (None, 10),
        np.array([2.0, 10.0]),
        (2.0, None),
        (2.0, "b"),
        (-math.inf, 1.0),
        (2.0, math.nan),
        1j,
    ),
)
KINDS = (
    *(REALS, REALS_OR_NONE, CLIPS, LIMITS, COUNTS, COUNTS_OR_NONE, FLAGS, FLAGS_OR_NONE, DTYPES),
    *(PRECISIONS, NAMES, PAIRS),
)


def takes(factory, name):
    return name in inspect.signature(SIGNATURES.get(factory, factory)).parameters


def is_a_word_of(factory, name):
    """Say whether it is a `bias_correction` that is a word, as AdamW's is."""
    return (factory, name) == (schedule_free_adamw, "bias_correction")


WRONG = [
    (factory, name, value)
    for names, values in KINDS
    for name in names
    for factory in FACTORIES
    if takes(factory, name) and not is_a_word_of(factory, name)
    for value in values
]


def test_every_option_is_taken_by_an_optimizer():
    """A name that nobody takes would test nothing."""
    tested = {name for _, name, _ in WRONG}
    assert tested == {name for names, _ in KINDS for name in names}


def objection(factory, **options):
    """Return the message with which options are refused; None where they are not."""
    try:
        factory(**FACTORIES[factory] | options)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.__name__)
def test_wrong_kind(factory):
    """The message begins with the option as it is called there, and says what is allowed."""
    said = {
        f"{name}={value!r}": (objection(factory, **{name: value}), name, value)
        for where, name, value in WRONG
        if where is factory
    }
    assert [given for given, (message, *_) in said.items() if message is None] == []
    for given, (message, name, value) in said.items():
        # Of a pair the message may show the one that is wrong.
        assert message.startswith(f"{name}=" if isinstance(value, tuple) else given)
        assert " is not allowed; it must " in message


def test_what_is_allowed():
    """The other side of each check."""
    for dtype in (None, "bfloat16", jnp.float16, np.float64, float):
        kron(mu_dtype=dtype, precond_dtype=dtype)
    kron(mu_dtype="complex64", precond_dtype="complex64")
    for flag in (True, False, np.True_, np.bool_(0)):
        kron(track_lipschitz=flag, cache_preconditioner=flag, permissive_spike_protection=flag)
    for precision in (None, "highest", "bfloat16", "BF16_BF16_F32"):
        kron(precond_update_precision=precision, precond_grads_precision=precision)
    for unlimited in UNLIMITED:
        kron(**{unlimited: math.inf})
        affine(**{unlimited: math.inf})
    kron(-0.1, min_ndim_triangular=0, damping=None, preconditioner_lr=lambda count: 0.1)
    kron(grad_clip_max_amps=[jnp.ones([]), 10], raw_global_grad_clip=jnp.ones([]))
    kron(grad_clip_max_amps=(2.0, math.inf), raw_global_grad_clip=math.inf)
    kron(lambda count: 0.1, b1=jnp.zeros([]), weight_decay=np.float32(1))


@pytest.mark.parametrize(
    ("factory", "name"), [(kron, "preconditioner_lr"), (dense_newton, "precond_lr")]
)
def test_step_that_pro4p_does_not_survive(factory, name):
    """The message names both options; every other geometry takes the same number."""
    with pytest.raises(ValueError, match=rf"^{name}=1.5 .*preconditioner_mode='PRO4P'.*\[0, 1\]"):
        factory(preconditioner_mode="PRO4P", **{name: 1.5})
    factory(preconditioner_mode="PRO4P", **{name: 1})
    factory(preconditioner_mode="PRO4P", **{name: lambda count: 1.5})
    factory(preconditioner_mode="QUAD4P", **{name: 1.5})


def test_numbers_that_are_injected_stay_arrays():
    """Whatever number is no structure may be injected, with and without `jit`."""
    static = ("max_size_triangular", "max_skew_triangular", "min_ndim_triangular")
    injected = optax.inject_hyperparams(kron, static_args=(*static, "lax_map_batch_size"))(
        learning_rate=0.1,
        b1=0.5,
        weight_decay=0.1,
        damping=1e-9,
        preconditioner_lr=lambda count: 0.1,
        preconditioner_init_scale=1.0,
        raw_global_grad_clip=1.0,
        grad_clip_max_amps=2.0,
        preconditioner_update_interval=2,
    )
    params = {"layer": jnp.ones((3, 4))}
    for made in (jax.jit, lambda function: function):
        state = made(injected.init)(params)
    updates, _ = jax.jit(injected.update)(params, state, params)
    assert bool(jnp.all(jnp.isfinite(updates["layer"])))


@pytest.mark.parametrize("factory", [kron, dense_newton])
def test_numbers_are_injected_where_a_parameter_is_complex(factory):
    """Optax hands all of them over in the widest dtype of the parameters."""
    params = {"real": jnp.ones((4, 3)), "complex": jnp.ones((2, 2), "complex64")}
    static = [name for name in STRUCTURE if takes(factory, name)]
    injected = optax.inject_hyperparams(factory, static_args=static)(learning_rate=0.1)
    with warnings.catch_warnings():
        # That the imaginary part is dropped.
        warnings.simplefilter("ignore")
        state = injected.init(params)
        updates, _ = injected.update(params, state, params)
    assert all(bool(jnp.all(jnp.isfinite(update))) for update in jax.tree.leaves(updates))
