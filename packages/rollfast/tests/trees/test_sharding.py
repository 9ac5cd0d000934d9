"""Work on arrays that are sharded over explicit axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rollfast.trees.sharding import on_automatic_axes

from ..helpers import normal

pytestmark = pytest.mark.skipif(
    not hasattr(jax, "set_mesh"), reason="JAX has no explicit axes that become automatic"
)


def sharded(array: jax.Array, kind: AxisType) -> jax.Array:
    """Return an array whose last axis is sharded, over one device."""
    mesh = Mesh(np.array(jax.devices()[:1]), ("device",), axis_types=(kind,))
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec(None, "device")))


def squared(array: jax.Array, options: dict) -> tuple[jax.Array, jax.Array]:
    return options["scale"] * array @ array.T, jnp.sum(array)


def test_a_product_over_a_sharded_axis_is_no_error():
    array = normal(0, 3, 4)
    explicit = sharded(array, AxisType.Explicit)
    options = {"scale": 2, "function": squared, "none": None}
    with pytest.raises(Exception, match="sharded"):
        jax.jit(lambda array: array @ array.T)(explicit)
    like = jnp.zeros((3, 3)), jnp.zeros([])
    made = jax.jit(lambda array: on_automatic_axes(squared, (array, options), like))(explicit)
    for ours, expected in zip(made, squared(array, options), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_results_have_the_shardings_that_are_asked_for():
    array = sharded(normal(0, 3, 4), AxisType.Explicit)
    like = {"same": array, "whole": jnp.zeros((3, 4))}
    made = on_automatic_axes(lambda a: {"same": a + 1, "whole": 2 * a}, (array,), like)
    assert jax.typeof(made["same"]).sharding.spec == PartitionSpec(None, "device")
    assert jax.typeof(made["whole"]).sharding.spec == PartitionSpec(None, None)


def test_a_number_on_the_same_axes_may_be_no_argument():
    array = sharded(normal(0, 3, 4), AxisType.Explicit)

    def scaled(array, number):
        return on_automatic_axes(lambda array: number * array, (array,), array)

    with jax.set_mesh(array.sharding.mesh):
        made = jax.jit(scaled)(array, jnp.full([], 2.0))
    np.testing.assert_array_equal(made, 2 * np.asarray(array))


def test_axes_that_are_mapped_stay_so():
    kinds = (AxisType.Explicit, AxisType.Explicit)
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("mapped", "device"), axis_types=kinds)
    array = normal(0, 3, 4)

    def product(array):
        return on_automatic_axes(lambda array: array @ array.T @ array, (array,), array)

    with jax.set_mesh(mesh):
        explicit = jax.device_put(array, NamedSharding(mesh, PartitionSpec(None, "device")))
        whole = PartitionSpec()
        mapped = jax.shard_map(product, in_specs=whole, out_specs=whole, axis_names={"mapped"})
        made = jax.jit(mapped)(explicit)
    # Two products in float32, whose terms may cancel.
    np.testing.assert_allclose(made, array @ array.T @ array, rtol=1e-5)


def test_what_is_left_to_jax_has_the_shardings_that_are_asked_for():
    array = sharded(normal(0, 3, 4), AxisType.Explicit)
    whole = PartitionSpec(None, None)
    mesh = array.sharding.mesh

    def scaled(array, number):
        like = jax.sharding.reshard(array, NamedSharding(mesh, whole))
        return on_automatic_axes(lambda array: number * array, (array,), like)

    with jax.set_mesh(mesh):
        number = jax.device_put(2.0, NamedSharding(mesh, PartitionSpec()))
        made = jax.jit(scaled).eval_shape(array, number)
    assert made.sharding.spec == whole


def test_no_error_is_lost():
    """The second may come of another way to the result than the first."""
    raised = iter([ValueError("first"), ValueError("second")])

    def fails(array):
        raise next(raised)

    array = sharded(normal(0, 3, 4), AxisType.Explicit)
    with pytest.raises(ValueError, match="second") as caught:
        on_automatic_axes(fails, (array,), array)
    assert str(caught.value.__context__) == "first"


@pytest.mark.parametrize("kind", [AxisType.Auto, None])
def test_elsewhere_the_function_is_called_with_what_is_given(kind):
    array = normal(0, 3, 4) if kind is None else sharded(normal(0, 3, 4), kind)
    given = []
    assert (
        on_automatic_axes(lambda *arguments: given.extend(arguments), (array, "text"), {}) is None
    )
    assert given[0] is array
    assert given[1] == "text"
