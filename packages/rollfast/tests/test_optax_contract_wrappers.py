"""The Optax contract: every optimizer inside of Optax's wrappers and JAX's control flow."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from .helpers import (
    COMPILATIONS,
    LEARNING_RATE,
    OF_ALL_PARAMETERS,
    assert_close,
    assert_identical,
    assert_zero,
    gradients,
    kinds,
    named_leaves,
    normal,
    parameters,
    train,
    warmed,
)


def test_unknown_extra_arguments_are_ignored(optimizer):
    """Alone, and in a chain, which hands them on."""
    params = parameters()
    chained = optax.chain(optax.identity(), optimizer.transformation)
    extra = {"value": jnp.ones([]), "of_no_use": {"a": 1.0}}
    got, _ = jax.jit(chained.update)(gradients(0), chained.init(params), params, **extra)
    state = optimizer.transformation.init(params)
    want, _ = optimizer.update(gradients(0), state, params)
    assert_close(got, want, COMPILATIONS)


def test_masked(optimizer):
    params = parameters()
    masked = optax.masked(optimizer.transformation, {"matrix": True, "vector": False})
    state = masked.init(params)
    updates, after = jax.jit(masked.update)(gradients(0), state, params)
    assert_identical(updates["vector"], gradients(0)["vector"])
    assert kinds(after) == kinds(state)
    alone = {"matrix": params["matrix"]}
    state = optimizer.transformation.init(alone)
    grads = {"matrix": gradients(0)["matrix"]}
    want, _ = jax.jit(optimizer.transformation.update)(grads, state, alone)
    assert_close(updates["matrix"], want["matrix"], COMPILATIONS)


def test_partition(optimizer):
    params = parameters()
    labels = {"matrix": "ours", "vector": "theirs"}
    parted = optax.partition({"ours": optimizer.transformation, "theirs": optax.sgd(1.0)}, labels)
    state = parted.init(params)
    updates, after = jax.jit(parted.update)(gradients(0), state, params)
    assert_identical(updates["vector"], -gradients(0)["vector"])
    assert bool(jnp.any(updates["matrix"] != 0))
    assert kinds(after) == kinds(state)


def test_multi_steps(optimizer):
    """Two gradients of half a step are one step of their mean, and nothing moves between."""
    params = parameters()
    wrapped = optax.MultiSteps(optimizer.transformation, 2)
    state = wrapped.init(params)
    step = jax.jit(wrapped.update)
    updates, between = step(gradients(0), state, params)
    assert_zero(updates)
    assert kinds(between) == kinds(state)
    updates, after = step(gradients(1), between, params)
    assert kinds(after) == kinds(state)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, gradients(0), gradients(1))
    want, _ = optimizer.update(mean, optimizer.transformation.init(params), params)
    assert_close(updates, want, COMPILATIONS)


def rate_of(count: jax.Array) -> jax.Array:
    return LEARNING_RATE * (1 + count)


def test_injected_number_and_schedule(optimizer):
    """An injected rate does what the number does, can be changed, and may follow a schedule."""
    params = parameters()
    injected = optax.inject_hyperparams(optimizer.factory)(learning_rate=LEARNING_RATE)
    state = injected.init(params)
    step = jax.jit(injected.update)
    updates, after = step(gradients(0), state, params)
    assert kinds(after) == kinds(state)
    plain = optimizer.transformation.init(params)
    want, _ = optimizer.update(gradients(0), plain, params)
    assert_close(updates, want, COMPILATIONS)
    doubled = state.hyperparams | {"learning_rate": 2 * state.hyperparams["learning_rate"]}
    updates, _ = step(gradients(0), state._replace(hyperparams=doubled), params)
    moved = jax.tree.map(lambda leaf, change: leaf + 2 * change, params, want)
    assert_close(optax.apply_updates(params, updates), moved, COMPILATIONS)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(want))

    scheduled = optax.inject_hyperparams(optimizer.factory)(learning_rate=rate_of)
    states = [scheduled.init(params)]
    step = jax.jit(scheduled.update)
    for count in range(2):
        updates, state = step(gradients(count), states[-1], params)
        states.append(state)
        assert float(state.hyperparams["learning_rate"]) == pytest.approx(float(rate_of(count)))
    assert kinds(states[1]) == kinds(states[0])


@pytest.mark.skipif(not hasattr(jax, "set_mesh"), reason="JAX has no explicit axes to enter")
@pytest.mark.parametrize("spec", [PartitionSpec("device", None), PartitionSpec(None, "device")])
def test_injected_number_on_explicit_axes(optimizer, spec):
    """Numbers that come out of a step on explicit axes are on them; types say what JAX refuses."""
    mesh = Mesh(np.array(jax.devices()[:1]), ("device",), axis_types=(AxisType.Explicit,))
    params = {"matrix": jax.device_put(normal(0, 3, 4), NamedSharding(mesh, spec))}
    injected = optax.inject_hyperparams(optimizer.factory)(learning_rate=LEARNING_RATE)
    state = injected.init(params)
    numbers = jax.device_put(state.hyperparams, NamedSharding(mesh, PartitionSpec()))
    state = state._replace(hyperparams=numbers)
    with jax.set_mesh(mesh):
        updates, _ = jax.jit(injected.update).eval_shape(params, state, params)
    assert updates["matrix"].sharding.spec == params["matrix"].sharding.spec


@pytest.mark.skipif(not hasattr(jax, "shard_map"), reason="JAX has no shard_map that checks")
def test_every_device_of_a_shard_map_takes_steps_of_its_own(optimizer):
    """From gradients that differ among devices, though what `init` makes does not."""
    params = parameters()

    def own_steps(params):
        params = jax.tree.map(lambda leaf: leaf[0], params)
        state = optimizer.transformation.init(params)
        # Types stay in a loop as well.
        zeros = jax.tree.map(jnp.zeros_like, params)
        looped = jax.lax.fori_loop(
            0,
            0,
            lambda _, carry: optimizer.transformation.update(zeros, carry[1], params),
            (zeros, state),
        )
        taken = train(optimizer.transformation.update, params, looped[1], range(2))
        return jax.tree.map(lambda leaf: leaf[None], taken[0])

    stacked = jax.tree.map(lambda leaf: leaf[None], params)
    mesh = Mesh(np.array(jax.devices()[:1]), ("device",))
    own = PartitionSpec("device")
    mapped = jax.shard_map(own_steps, mesh=mesh, in_specs=own, out_specs=own)
    got = jax.tree.map(lambda leaf: leaf[0], jax.jit(mapped)(stacked))
    assert_close(got, warmed(optimizer, 2)[0], COMPILATIONS)


def test_schedule_of_one_value_is_the_number(optimizer):
    if not optimizer.takes_schedule:
        pytest.skip("has a schedule of its own, and takes its peak")
    params = parameters()
    constant = optimizer.factory(learning_rate=lambda count: jnp.asarray(LEARNING_RATE))
    got = train(jax.jit(constant.update), params, constant.init(params), range(3))[0]
    assert_close(got, warmed(optimizer, 3)[0], COMPILATIONS)


def test_scan_and_cond(optimizer):
    """Steps in a scan, each under a cond, are the steps of a loop."""
    transformation = optimizer.transformation
    params = parameters()
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(gradients(i) for i in range(3)))

    def body(carry, grads):
        def step(carry):
            params, state = carry
            updates, state = transformation.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        taken = jax.tree.reduce(jnp.add, jax.tree.map(jnp.sum, grads)) < jnp.inf
        return jax.lax.cond(taken, step, lambda carry: carry, carry), None

    carry = params, transformation.init(params)
    got, _ = jax.jit(lambda carry: jax.lax.scan(body, carry, stacked))(carry)
    assert_close(got, warmed(optimizer, 3), COMPILATIONS)


def test_map_params(optimizer):
    """Optax can tell what the state holds for every parameter from what it holds once.

    Factors of a preconditioner are held for every parameter, though they are not like one.
    """
    params, state = warmed(optimizer)
    marked = optax.tree_utils.tree_map_params(
        optimizer.transformation, lambda _: "like a parameter", state
    )
    assert jax.tree.structure(marked) == jax.tree.structure(state)
    for (name, mark), leaf in zip(named_leaves(marked), jax.tree.leaves(state), strict=True):
        of_a_parameter = any(f"[{parameter!r}]" in name for parameter in params)
        assert isinstance(mark, str) == of_a_parameter, name
        of_all = name.endswith((".key", *OF_ALL_PARAMETERS))
        assert of_a_parameter or leaf.ndim == 0 or of_all, name
