"""Dimension numbers of Equinox models."""

from typing import Any

import jax

from rollfast.prism.dimension_numbers import PrismDimensionNumbers
from rollfast.typing import PyTree

__all__ = ["get_equinox_prism_spec"]


def get_equinox_prism_spec(model: Any, skip_depthwise_conv: bool = True) -> PyTree:
    """Return the dimension numbers of an Equinox model, for `prism_weight_dimension_numbers`.

    The weights of linear, convolution and transposed convolution layers are matrices of inputs
    (and kernel axes) by outputs; every other leaf is None, and goes to Adam. Layers that were
    stacked along leading axes, to be scanned, stay layers.

    Args:
        model: An Equinox model, or what `eqx.filter` leaves of one.
        skip_depthwise_conv: Whether depthwise convolutions, with one input to a group, go to
            Adam too; as matrices they are stacks of single rows.

    Returns:
        A tree of the structure of the model.

    Raises:
        ImportError: Equinox is not installed.
    """
    try:
        import equinox as eqx
    except ImportError as error:
        raise ImportError(
            "get_equinox_prism_spec needs Equinox; install it with `pip install equinox`."
        ) from error
    convolutions = (eqx.nn.Conv, eqx.nn.ConvTranspose)
    layers = (eqx.nn.Linear, *convolutions)

    def specify(layer: Any) -> PyTree:
        nothing = jax.tree.map(lambda _: None, layer)
        if not isinstance(layer, layers) or layer.weight is None:
            return nothing
        if isinstance(layer, convolutions):
            depthwise = 1 < layer.groups == layer.in_channels
            if depthwise and skip_depthwise_conv:
                return nothing
        own_axes = 2 + (layer.num_spatial_dims if isinstance(layer, convolutions) else 0)
        # Axes before a layer's own count layers that were stacked to be scanned.
        outputs = layer.weight.ndim - own_axes
        numbers = PrismDimensionNumbers(tuple(range(outputs + 1, layer.weight.ndim)), outputs)
        return eqx.tree_at(lambda node: node.weight, nothing, numbers, is_leaf=lambda x: x is None)

    return jax.tree.map(specify, model, is_leaf=lambda node: isinstance(node, layers))
