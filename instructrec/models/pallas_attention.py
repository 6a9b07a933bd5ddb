"""T5's attention as one TPU kernel: no attention weights in main memory.

The lengths of instructions are short, so that the logits of a block of queries
against *all* keys of a row fit on the chip. A program of the kernel takes the
queries of one row and a few heads, makes their logits and weights there, and
writes weighted values only; the backward pass makes the weights again. Rows
come last in the grid: the relative position bias, which all rows share, is
read once, and its gradient is summed on the chip.

Queries, keys and values stay as the projections make them, heads beside heads
along the last axis: a block is as many heads as fill the 128 lanes of a
register, and nothing is transposed.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen import partitioning
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.extend import core
from jax.interpreters import mlir
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int8

_LANES = 128
# Rows of a tile of bytes, the narrowest type that is cut into blocks: a mask.
_ROWS = 32
# Logits that the heads of a block may have, for the memory of the chip: two
# heads of 512 x 512.
_MOST_LOGITS = 2**19


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

  rows_axis, heads_axis = partitioning.logical_to_mesh_axes(("batch", "heads"))
  return fitting(rows_axis, batch), fitting(heads_axis, heads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(settings: _Settings, *arrays: Array | None) -> Array:
  """Forward pass: query, keys, values, mask and bias to weighted values."""
  if not settings.interpret:
    arrays = (_compiled_for_tpus.bind(arrays[0]), *arrays[1:])
  projected, *_ = _partition_specs(settings, arrays)
  return _on_each_device(_forward, settings, arrays, projected)


def _attend_forward(
  settings: _Settings, *arrays: Array | None
) -> tuple[Array, tuple[Array | None, ...]]:
  return _attend(settings, *arrays), arrays


def _attend_backward(
  settings: _Settings, arrays: tuple[Array | None, ...], gradient: Array
) -> tuple[Array | None, ...]:
  """Gradients of query, keys, values and bias; the mask has none."""
  projected, _, _, _, bias_spec = _partition_specs(settings, arrays)
  *of_projected, of_bias = _on_each_device(
    _backward,
    settings,
    (*arrays, gradient),
    (projected, projected, projected, bias_spec),
  )
  return *of_projected, None, of_bias


_attend.defvjp(_attend_forward, _attend_backward)


def _partition_specs(
  settings: _Settings, arrays: Sequence[Array | None]
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
  arrays: Sequence[Array | None],
  out_specs: Any,
) -> Any:
  """Calls `function(settings, *arrays)` on each device's part of the arrays."""
  function = functools.partial(function, settings)
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


@dataclasses.dataclass(frozen=True)
class _Plan:
  """How the work of a device is cut into programs.

  The grid has the axes (heads, queries, rows), the last one innermost.

  Attributes:
    batch: rows.
    queries: of a row.
    keys: of a row.
    heads: in all.
    head_dim: width of a head.
    heads_per_block: heads of a program.
    queries_per_block: queries of a program.
  """

  batch: int
  queries: int
  keys: int
  heads: int
  head_dim: int
  heads_per_block: int
  queries_per_block: int

  @classmethod
  def of(cls, query: Array, keys: Array) -> "_Plan":
    """The plan for arrays of such shapes.

    Raises:
      ValueError: when there are too many keys for one block.
    """
    batch, queries, heads, head_dim = query.shape
    length = keys.shape[1]
    # As few as fill whole registers, or all heads there are.
    heads_per_block = next(
      count
      for count in range(1, heads + 1)
      if heads % count == 0
      and (count * head_dim % _LANES == 0 or count == heads)
    )
    most_queries = _MOST_LOGITS // (heads_per_block * length)
    if queries > most_queries:
      most_queries -= most_queries % _ROWS
    if most_queries == 0:
      most_keys = _MOST_LOGITS // (heads_per_block * _ROWS)
      raise ValueError(
        "attention_implementation='pallas' keeps all keys of a row on the "
        f"chip, and there are {length}; with {heads} heads of {head_dim} on a "
        f"device it takes up to {most_keys}: shorten the rows or set "
        "attention_implementation (gin: ATTENTION_IMPLEMENTATION) to 'einsum'"
      )
    return cls(
      batch,
      queries,
      length,
      heads,
      head_dim,
      heads_per_block,
      min(queries, most_queries),
    )

  @property
  def grid(self) -> tuple[int, int, int]:
    """Blocks of heads, blocks of queries, rows."""
    return (
      self.heads // self.heads_per_block,
      pl.cdiv(self.queries, self.queries_per_block),
      self.batch,
    )

  @property
  def _width(self) -> int:
    return self.heads_per_block * self.head_dim

  def of_queries(self) -> pl.BlockSpec:
    """Blocks of [batch, queries, heads * kv]."""
    return pl.BlockSpec(
      (None, self.queries_per_block, self._width),
      lambda head, part, row: (row, part, head),
    )

  def of_keys(self) -> pl.BlockSpec:
    """Blocks of [batch, keys, heads * kv]."""
    return pl.BlockSpec(
      (None, self.keys, self._width), lambda head, part, row: (row, 0, head)
    )

  def of_key_gradients(self) -> pl.BlockSpec:
    """Blocks of [blocks of queries, batch, keys, heads * kv]."""
    return pl.BlockSpec(
      (None, None, self.keys, self._width),
      lambda head, part, row: (part, row, 0, head),
    )

  def of_mask(self, rows: int, queries: int) -> pl.BlockSpec:
    """Blocks of [batch or 1, queries or 1, keys]."""
    return pl.BlockSpec(
      (None, 1 if queries == 1 else self.queries_per_block, self.keys),
      lambda head, part, row: (
        0 if rows == 1 else row,
        0 if queries == 1 else part,
        0,
      ),
    )

  def of_bias(self, rows: int) -> pl.BlockSpec:
    """Blocks of [batch or 1, heads, queries, keys]."""
    return pl.BlockSpec(
      (None, self.heads_per_block, self.queries_per_block, self.keys),
      lambda head, part, row: (0 if rows == 1 else row, head, part, 0),
    )

  def padded(self, array: Array, axis: int) -> Array:
    """`array` with whole blocks of queries along an axis."""
    missing = self.grid[1] * self.queries_per_block - self.queries
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, missing)
    return jnp.pad(array, widths) if missing else array

  def padded_mask(self, mask: Array) -> Array:
    """Likewise, for a mask that may have one row for all queries."""
    return mask if mask.shape[1] == 1 else self.padded(mask, 1)

  def cost(
    self,
    products: int,
    specs: Sequence[pl.BlockSpec | None],
    arrays: Sequence[Any],
  ) -> pl.CostEstimate:
    """Work for the compiler's plan: it sees nothing of the kernel.

    Args:
      products: matrix products of queries x keys x kv.
      specs: of all that is read and written.
      arrays: what they are blocks of.

    Returns:
      FLOPs, exponentials, and bytes between the chip and main memory.
    """
    moved = 0
    for spec, array in zip(specs, arrays, strict=True):
      if spec is None:
        continue
      # A block that stays in place from one program to the next moves once.
      steps = itertools.product(*map(range, self.grid))
      places = itertools.groupby(spec.index_map(*step) for step in steps)
      size = math.prod(n for n in spec.block_shape if n is not None)
      moved += sum(1 for _ in places) * size * array.dtype.itemsize
    logits = self.batch * self.heads * self.queries * self.keys
    return pl.CostEstimate(
      flops=2 * products * logits * self.head_dim,
      transcendentals=logits,
      bytes_accessed=moved,
    )


def _joined(x: Array) -> Array:
  """[batch, length, heads, kv] -> [batch, length, heads * kv]."""
  return x.reshape(*x.shape[:2], -1)


def _compiler_params() -> pltpu.CompilerParams:
  # Rows are one after the other: they add to the same gradient of the bias.
  return pltpu.CompilerParams(
    dimension_semantics=("parallel", "parallel", "arbitrary")
  )


def _forward(
  settings: _Settings,
  query: Float[Array, "batch queries heads kv"],
  keys: Float[Array, "batch keys heads kv"],
  values: Float[Array, "batch keys heads kv"],
  mask: Int8[Array, "#batch #queries keys"],
  bias: Float[Array, "#batch heads queries keys"] | None,
) -> Float[Array, "batch queries heads kv"]:
  """The forward pass of one device."""
  plan = _Plan.of(query, keys)
  inputs = (
    plan.padded(_joined(query), 1),
    _joined(keys),
    _joined(values),
    plan.padded_mask(mask),
    None if bias is None else plan.padded(bias, 2),
  )
  in_specs = (
    plan.of_queries(),
    plan.of_keys(),
    plan.of_keys(),
    plan.of_mask(*mask.shape[:2]),
    None if bias is None else plan.of_bias(len(bias)),
  )
  out = jax.ShapeDtypeStruct(inputs[0].shape, query.dtype)
  attended = pl.pallas_call(
    functools.partial(_forward_kernel, plan, settings.masked_logit),
    out_shape=out,
    grid=plan.grid,
    in_specs=in_specs,
    out_specs=plan.of_queries(),
    compiler_params=_compiler_params(),
    cost_estimate=plan.cost(2, (*in_specs, plan.of_queries()), (*inputs, out)),
    interpret=settings.interpret,
    name="attention_forward",
  )(*inputs)
  return attended[:, : plan.queries].reshape(query.shape)


def _backward(
  settings: _Settings,
  query: Float[Array, "batch queries heads kv"],
  keys: Float[Array, "batch keys heads kv"],
  values: Float[Array, "batch keys heads kv"],
  mask: Int8[Array, "#batch #queries keys"],
  bias: Float[Array, "#batch heads queries keys"] | None,
  gradient: Float[Array, "batch queries heads kv"],
) -> tuple[Array, Array, Array, Array | None]:
  """The backward pass of one device: of query, keys, values and bias."""
  plan = _Plan.of(query, keys)
  inputs = (
    plan.padded(_joined(query), 1),
    _joined(keys),
    _joined(values),
    plan.padded_mask(mask),
    None if bias is None else plan.padded(bias, 2),
    plan.padded(_joined(gradient), 1),
  )
  bias_spec = None if bias is None else plan.of_bias(len(bias))
  in_specs = (
    plan.of_queries(),
    plan.of_keys(),
    plan.of_keys(),
    plan.of_mask(*mask.shape[:2]),
    bias_spec,
    plan.of_queries(),
  )

  # Each block of queries has its own part of the gradients of the keys.
  leading = ((), (plan.grid[1],), (plan.grid[1],), ())
  out_shape = tuple(
    x if x is None else jax.ShapeDtypeStruct((*first, *x.shape), x.dtype)
    for first, x in zip(leading, (*inputs[:3], inputs[4]), strict=True)
  )
  out_specs = (
    plan.of_queries(),
    plan.of_key_gradients(),
    plan.of_key_gradients(),
    bias_spec,
  )
  of_query, of_keys, of_values, of_bias = pl.pallas_call(
    functools.partial(_backward_kernel, plan, settings.masked_logit),
    out_shape=out_shape,
    grid=plan.grid,
    in_specs=in_specs,
    out_specs=out_specs,
    scratch_shapes=[pltpu.VMEM(bias_spec.block_shape[1:], jnp.float32)]
    if bias_spec is not None and settings.shared_bias
    else [],
    compiler_params=_compiler_params(),
    cost_estimate=plan.cost(5, (*in_specs, *out_specs), (*inputs, *out_shape)),
    interpret=settings.interpret,
    name="attention_backward",
  )(*inputs)
  if of_bias is not None:
    of_bias = of_bias[:, :, : plan.queries]
    if settings.shared_bias and settings.rows_axis is not None:
      of_bias = jax.lax.psum(of_bias, settings.rows_axis)
  return (
    of_query[:, : plan.queries].reshape(query.shape),
    _sum_of_parts(of_keys).reshape(keys.shape),
    _sum_of_parts(of_values).reshape(values.shape),
    of_bias,
  )


def _sum_of_parts(x: Array) -> Array:
  if len(x) == 1:
    return x[0]
  return jnp.sum(x, axis=0, dtype=jnp.float32).astype(x.dtype)


# Axes that a product sums over: [m, d] and [n, d], [m, n] and [n, d], [m, n]
# and [m, d].
_ROWS_BY_ROWS = (((1,), (1,)), ((), ()))
_PLAIN = (((1,), (0,)), ((), ()))
_COLUMNS_BY_COLUMNS = (((0,), (0,)), ((), ()))


def _product(left: Array, right: Array, axes: Any) -> Array:
  return jax.lax.dot_general(
    left, right, axes, preferred_element_type=jnp.float32
  )


def _weights(
  query: Float[Array, "queries kv"],
  keys: Float[Array, "keys kv"],
  hidden: Float[Array, "#queries keys"],
  bias: Float[Array, "queries keys"] | None,
) -> Float[Array, "queries keys"]:
  """The attention weights of one head, in float32."""
  logits = _product(query, keys, _ROWS_BY_ROWS) + hidden
  if bias is not None:
    logits += bias.astype(jnp.float32)
  weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
  return weights / jnp.sum(weights, axis=-1, keepdims=True)


def _hidden(
  mask: Int8[Array, "#queries keys"], masked_logit: float
) -> Float[Array, "#queries keys"]:
  """What is added to the logits: 0 where the mask is 1."""
  return (1.0 - mask.astype(jnp.float32)) * masked_logit


def _forward_kernel(
  plan: _Plan,
  masked_logit: float,
  query: Any,
  keys: Any,
  values: Any,
  mask: Any,
  bias: Any,
  attended: Any,
) -> None:
  """One program of the forward pass; arrays are blocks on the chip."""
  hidden = _hidden(mask[...], masked_logit)
  for head in range(plan.heads_per_block):
    lanes = pl.ds(head * plan.head_dim, plan.head_dim)
    weights = _weights(
      query[:, lanes],
      keys[:, lanes],
      hidden,
      None if bias is None else bias[head],
    )
    attended[:, lanes] = _product(
      weights.astype(values.dtype), values[:, lanes], _PLAIN
    ).astype(attended.dtype)


def _backward_kernel(
  plan: _Plan,
  masked_logit: float,
  query: Any,
  keys: Any,
  values: Any,
  mask: Any,
  bias: Any,
  gradient: Any,
  of_query: Any,
  of_keys: Any,
  of_values: Any,
  of_bias: Any,
  *sums: Any,
) -> None:
  """One program of the backward pass; arrays are blocks on the chip."""
  if sums:  # One bias for all rows: a block begins with its first row.

    @pl.when(pl.program_id(2) == 0)
    def _() -> None:
      sums[0][...] = jnp.zeros(sums[0].shape, sums[0].dtype)

  hidden = _hidden(mask[...], masked_logit)
  for head in range(plan.heads_per_block):
    lanes = pl.ds(head * plan.head_dim, plan.head_dim)
    q, k, v, g = (x[:, lanes] for x in (query, keys, values, gradient))
    weights = _weights(q, k, hidden, None if bias is None else bias[head])
    of_values[:, lanes] = _product(
      weights.astype(g.dtype), g, _COLUMNS_BY_COLUMNS
    ).astype(of_values.dtype)
    of_weights = _product(g, v, _ROWS_BY_ROWS)
    mean = jnp.sum(weights * of_weights, axis=-1, keepdims=True)
    of_logits = weights * (of_weights - mean)
    if sums:
      sums[0][head] += of_logits
    elif bias is not None:
      of_bias[head] = of_logits.astype(of_bias.dtype)
    of_logits = of_logits.astype(q.dtype)
    of_query[:, lanes] = _product(of_logits, k, _PLAIN).astype(of_query.dtype)
    of_keys[:, lanes] = _product(of_logits, q, _COLUMNS_BY_COLUMNS).astype(
      of_keys.dtype
    )
  if sums:

    @pl.when(pl.program_id(2) == plan.batch - 1)
    def _() -> None:
      of_bias[...] = sums[0][...].astype(of_bias.dtype)
