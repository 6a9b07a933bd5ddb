"""The layers of a stack, one by one or stacked, and the way through them.

A stack holds its layers one by one (`layers_0`, `layers_1` ...), as public
checkpoints do, or stacked (`layers`, every parameter with a leading axis
"layers"), which compiles in a time that does not grow with depth. Both compute
the same; this module is the only one that knows the difference.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from flax.linen import partitioning
from jaxtyping import Array

from instructrec.models.networks import network_config

# (layer, x, what is this layer's own) -> (x, what the layer gives)
LayerFn = Callable[[Any, Array, Any], tuple[Array, Any]]

_REMAT_POLICIES = {
  "minimal": jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
  "full": jax.checkpoint_policies.nothing_saveable,
}


def make(
  layer_cls: Any, config: network_config.NetworkConfig, count: int
) -> Any:
  """What a stack's attribute `layers` holds: a list, or one for all."""
  if config.scan_layers:
    return layer_cls(config)
  return [layer_cls(config) for _ in range(count)]


def paired(config: network_config.NetworkConfig, *own: Any) -> Any:
  """Several things that each layer has for itself, laid out for `through`."""
  return own if config.scan_layers else tuple(zip(*own, strict=True))


def through(
  layer_fn: LayerFn,
  layers: Any,
  x: Array,
  own: Any,
  *,
  config: network_config.NetworkConfig,
  count: int,
) -> tuple[Array, Any]:
  """Takes `x` through all layers of a stack.

  Args:
    layer_fn: applies one layer.
    layers: from `make`.
    x: enters the first layer.
    own: what each layer has for itself, one entry a layer, with scanned layers
      stacked; None where they have nothing.
    config: says whether layers are scanned, and what is recomputed.
    count: number of layers.

  Returns:
    What leaves the last layer, and what the layers give, laid out as `own`.
  """
  if config.remat_policy != "none":
    layer_fn = nn.remat(
      layer_fn,
      policy=_REMAT_POLICIES[config.remat_policy],
      # A scan's body is compiled once: there is nothing to merge with.
      prevent_cse=not config.scan_layers,
    )
  if config.scan_layers:
    scan = partitioning.scan_with_axes(
      layer_fn,
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": True},
      length=count,
      axis_name="layers",
    )
    return scan(layers, x, own)
  given = []
  for layer, entry in zip(layers, own or (None,) * count, strict=True):
    x, result = layer_fn(layer, x, entry)
    given.append(result)
  return x, tuple(given)
