"""The programs that `pallas_attention` runs on each TPU, forward and backward.

The lengths of instructions are short, so that the logits of a block of queries
against *all* keys of a row fit on the chip. A program takes the queries of one
row and a few heads, makes their logits and weights there, and writes weighted
values only; the backward pass makes the weights again. Rows come last in the
grid: the relative position bias, which all rows share, is read once, and its
gradient is summed on the chip.

Queries, keys and values stay as the projections make them, heads beside heads
along the last axis: a block is as many heads as fill the 128 lanes of a
register, and nothing is transposed.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int8

_LANES = 128
# Queries are cut into multiples of this: whole tiles of a mask, and so many
# that no more keys fit into a block than the chip has room for.
_ROWS = 128
# Of the bias in a block, for the 16 MiB of on-chip memory that a program has on
# v4 and v5e: two heads of 512 x 512 in bfloat16.
_MOST_BYTES = 2**20


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
    most_logits = _MOST_BYTES // query.dtype.itemsize
    most_queries = most_logits // (heads_per_block * length)
    if queries > most_queries:
      most_queries -= most_queries % _ROWS
    if most_queries == 0:
      most_keys = most_logits // (heads_per_block * _ROWS)
      raise ValueError(
        "attention_implementation='pallas' keeps all keys of a row on the "
        f"chip, and there are {length}; with {heads} heads of {head_dim} on a "
        f"device and {query.dtype.name} it takes up to {most_keys}: shorten "
        "the rows or set attention_implementation (gin: "
        "ATTENTION_IMPLEMENTATION) to 'einsum'"
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
    specs: Sequence[Any],
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


def forward(
  query: Float[Array, "batch queries heads kv"],
  keys: Float[Array, "batch keys heads kv"],
  values: Float[Array, "batch keys heads kv"],
  mask: Int8[Array, "#batch #queries keys"],
  bias: Float[Array, "#batch heads queries keys"] | None,
  *,
  masked_logit: float,
  interpret: bool,
) -> Float[Array, "batch queries heads kv"]:
  """The forward pass.

  Args:
    query: projected queries.
    keys: projected keys.
    values: projected values.
    mask: 1 where a query may look at a key, else 0.
    bias: added to the logits; None adds nothing.
    masked_logit: added to the logits of masked keys.
    interpret: whether JAX's interpreter runs the programs.

  Returns:
    Weighted sums of the values, in the type of the queries.

  Raises:
    ValueError: when there are too many keys.
  """
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
    functools.partial(_forward_kernel, plan, masked_logit),
    out_shape=out,
    grid=plan.grid,
    in_specs=in_specs,
    out_specs=plan.of_queries(),
    compiler_params=_compiler_params(),
    cost_estimate=plan.cost(2, (*in_specs, plan.of_queries()), (*inputs, out)),
    interpret=interpret,
    name="attention_forward",
  )(*inputs)
  return attended[:, : plan.queries].reshape(query.shape)


def backward(
  query: Float[Array, "batch queries heads kv"],
  keys: Float[Array, "batch keys heads kv"],
  values: Float[Array, "batch keys heads kv"],
  mask: Int8[Array, "#batch #queries keys"],
  bias: Float[Array, "#batch heads queries keys"] | None,
  gradient: Float[Array, "batch queries heads kv"],
  *,
  shared_bias: bool,
  masked_logit: float,
  interpret: bool,
) -> tuple[Array, Array, Array, Array | None]:
  """The backward pass.

  Args:
    query: as in `forward`.
    keys: likewise.
    values: likewise.
    mask: likewise.
    bias: likewise.
    gradient: of what `forward` returns.
    shared_bias: whether all rows have the same bias.
    masked_logit: as in `forward`.
    interpret: likewise.

  Returns:
    Gradients of query, keys, values and bias, in their types.
  """
  plan = _Plan.of(query, keys)
  inputs = (
    plan.padded(_joined(query), 1),
    _joined(keys),
    _joined(values),
    plan.padded_mask(mask),
    None if bias is None else plan.padded(bias, 2),
    plan.padded(_joined(gradient), 1),
  )
  bias_spec: Any = None if bias is None else plan.of_bias(len(bias))
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
    functools.partial(_backward_kernel, plan, masked_logit),
    out_shape=out_shape,
    grid=plan.grid,
    in_specs=in_specs,
    out_specs=out_specs,
    scratch_shapes=[pltpu.VMEM(bias_spec.block_shape[1:], jnp.float32)]
    if bias_spec is not None and shared_bias
    else [],
    compiler_params=_compiler_params(),
    cost_estimate=plan.cost(5, (*in_specs, *out_specs), (*inputs, *out_shape)),
    interpret=interpret,
    name="attention_backward",
  )(*inputs)
  if of_bias is not None:
    of_bias = of_bias[:, :, : plan.queries]
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
