"""T5's attention as one TPU kernel: no attention weights in main memory.

Here: its gradient, and how a mesh shares the work. What a device does is in
`pallas_kernels`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen import partitioning
from jax.extend import core
from jax.interpreters import mlir
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

from instructrec.models.kernels import pallas_kernels


def dot_product_attention(
  query: Float[Array, "batch queries heads kv"],
  keys: Float[Array, "batch keys heads kv"],
  values: Float[Array, "batch keys heads kv"],
  mask: Bool[Array, "#batch 1 #queries keys"],
  bias: Float[Array, "#batch heads #queries keys"] | None,
  *,
  masked_logit: float,
  interpret: bool = False,
) -> Float[Array, "batch queries heads kv"]:
  """Attention without division by sqrt(kv), logits and softmax in float32.

  Under a mesh each device takes its own rows and heads, as the rules for the
  axes "batch" and "heads" say.

  Args:
    query: projected queries.
    keys: projected keys.
    values: projected values.
    mask: True where a query may look at a key.
    bias: added to the logits; None adds nothing.
    masked_logit: added to the logits of masked keys; finite, so that a query
      with no key at all has a uniform softmax.
    interpret: run JAX's interpreter of such kernels, on any device: slow, for
      tests.

  Returns:
    Weighted sums of the values, in the type of the queries.

  Raises:
    ValueError: when there are too many keys, or (as soon as it is compiled)
      for any platform but TPUs.
  """
  batch, queries, heads, _ = query.shape
  length = keys.shape[1]
  mask = jnp.broadcast_to(mask, (*mask.shape[:-1], length))[:, 0]
  if bias is not None:
    bias = jnp.broadcast_to(bias, (len(bias), heads, queries, length))
  settings = _Settings(
    masked_logit,
    interpret,
    bias is not None and len(bias) == 1,
    *_mesh_axes(batch, heads),
  )
  return _attend(settings, query, keys, values, mask.astype(jnp.int8), bias)


@dataclasses.dataclass(frozen=True)
class _Settings:
  """What is the same for both passes.

  Attributes:
    masked_logit: as above.
    interpret: as above.
    shared_bias: whether all rows have the same bias.
    rows_axis: mesh axis or axes of the rows; None where each device has all.
    heads_axis: those of the heads.
  """

  masked_logit: float
  interpret: bool
  shared_bias: bool
  rows_axis: Any
  heads_axis: Any


def _mesh_axes(batch: int, heads: int) -> tuple[Any, Any]:
  """Mesh axes of rows and heads, where they divide evenly."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return None, None

  def fitting(axes: Any, size: int) -> Any:
    names = (axes,) if isinstance(axes, str) else axes or ()
    return None if size % math.prod(mesh.shape[n] for n in names) else axes

  spec = partitioning.logical_to_mesh_axes(("batch", "heads"))
  assert spec is not None
  rows_axis, heads_axis = spec
  return fitting(rows_axis, batch), fitting(heads_axis, heads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(settings: _Settings, *arrays: Any) -> Array:
  """Forward pass: query, keys, values, mask and bias to weighted values."""
  if not settings.interpret:
    arrays = (_compiled_for_tpus.bind(arrays[0]), *arrays[1:])
  projected, *_ = _partition_specs(settings, arrays)
  forward = functools.partial(
    pallas_kernels.forward,
    masked_logit=settings.masked_logit,
    interpret=settings.interpret,
  )
  return _on_each_device(forward, settings, arrays, projected)


def _attend_forward(
  settings: _Settings, *arrays: Any
) -> tuple[Array, tuple[Any, ...]]:
  return _attend(settings, *arrays), arrays


def _attend_backward(
  settings: _Settings, arrays: tuple[Any, ...], gradient: Array
) -> tuple[Array | None, ...]:
  """Gradients of query, keys, values and bias; the mask has none."""
  projected, _, _, _, bias_spec = _partition_specs(settings, arrays)
  *of_projected, of_bias = _on_each_device(
    functools.partial(_backward, settings),
    settings,
    (*arrays, gradient),
    (projected, projected, projected, bias_spec),
  )
  return *of_projected, None, of_bias


def _backward(settings: _Settings, *arrays: Any) -> tuple[Array | None, ...]:
  """The backward pass on one device of the mesh."""
  *of_projected, of_bias = pallas_kernels.backward(
    *arrays,
    shared_bias=settings.shared_bias,
    masked_logit=settings.masked_logit,
    interpret=settings.interpret,
  )
  if settings.shared_bias and settings.rows_axis is not None:
    of_bias = jax.lax.psum(of_bias, settings.rows_axis)
  return *of_projected, of_bias


_attend.defvjp(_attend_forward, _attend_backward)


def _partition_specs(
  settings: _Settings, arrays: Sequence[Any]
) -> list[PartitionSpec | None]:
  """How query, keys, values, mask, bias (and gradient) lie on the mesh."""
  rows, heads = settings.rows_axis, settings.heads_axis
  axes = (
    *[(rows, None, heads, None)] * 3,
    (rows, None, None),
    (rows, heads, None, None),
    (rows, None, heads, None),
  )
  return [
    None
    if array is None
    # Masks and biases may have one row for all.
    else PartitionSpec(None if len(array) == 1 else first, *rest)
    for array, (first, *rest) in zip(arrays, axes, strict=False)
  ]


def _on_each_device(
  function: Callable[..., Any],
  settings: _Settings,
  arrays: Sequence[Any],
  out_specs: Any,
) -> Any:
  """Calls `function(*arrays)` on each device's part of the arrays."""
  if jax.sharding.get_abstract_mesh().empty:
    return function(*arrays)
  given = [array for array in arrays if array is not None]

  def on_one(*parts: Array) -> Any:
    remaining = iter(parts)
    return function(
      *(None if array is None else next(remaining) for array in arrays)
    )

  specs = _partition_specs(settings, arrays)
  return jax.shard_map(
    on_one,
    in_specs=tuple(spec for spec in specs if spec is not None),
    out_specs=out_specs,
    check_vma=False,
  )(*given)


def _require_tpus(context: mlir.LoweringRuleContext, operand: Any) -> list[Any]:
  platforms = context.module_context.platforms
  if tuple(platforms) != ("tpu",):
    raise ValueError(
      "attention_implementation='pallas' is a kernel for TPUs, and this "
      f"program is compiled for {', '.join(platforms)}; set "
      "attention_implementation (gin: ATTENTION_IMPLEMENTATION) to 'einsum', "
      "or on NVIDIA GPUs to 'cudnn'"
    )
  return [operand]


# The identity, compiled for TPUs alone. What a program is compiled for is not
# known while it is traced: it may be a slice that is not there.
_compiled_for_tpus = core.Primitive("compiled_for_tpus")
_compiled_for_tpus.def_abstract_eval(lambda operand: operand)
_compiled_for_tpus.def_impl(jax.jit(_compiled_for_tpus.bind))
mlir.register_lowering(_compiled_for_tpus, _require_tpus)
