"""The programs that `pallas_attention` runs on each TPU, forward and backward.

The lengths of instructions are short, so that a program makes the logits and
weights of its queries against all keys of a row on the chip, and writes
weighted values only; the backward pass makes the weights again. How the work is
cut is in `pallas_plan`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int8

from instructrec.models.kernels import pallas_plan


def _shape(x: Array | None, *leading: int) -> jax.ShapeDtypeStruct | None:
  """Of `x`, with leading axes before."""
  return x if x is None else jax.ShapeDtypeStruct((*leading, *x.shape), x.dtype)


def _run(
  plan: pallas_plan.Plan,
  kernel: Callable[..., None],
  operands: Sequence[pallas_plan.Operand],
  outputs: Sequence[pallas_plan.Operand],
  *,
  products: int,
  **settings: Any,
) -> tuple[Array, ...]:
  """Runs `kernel` for all blocks; `products` as for `Plan.cost`."""
  arrays, in_specs = zip(*operands, strict=True)
  out_shape, out_specs = zip(*outputs, strict=True)
  return pl.pallas_call(
    kernel,
    out_shape=out_shape,
    grid=plan.grid,
    in_specs=in_specs,
    out_specs=out_specs,
    compiler_params=pltpu.CompilerParams(
      # Rows come one after the other: they add to one gradient of the bias.
      dimension_semantics=("parallel", "parallel", "arbitrary")
    ),
    cost_estimate=plan.cost(products, (*operands, *outputs)),
    **settings,
  )(*arrays)


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
  plan = pallas_plan.Plan.of(query, keys)
  operands = plan.operands(query, keys, values, mask, bias)
  q, q_spec = operands[0]
  (attended,) = _run(
    plan,
    functools.partial(_forward_kernel, plan, masked_logit),
    operands,
    [(_shape(q), q_spec)],
    products=2,
    interpret=interpret,
    name="attention_forward",
  )
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
  plan = pallas_plan.Plan.of(query, keys)
  operands = plan.operands(query, keys, values, mask, bias)
  (q, q_spec), (k, _), (v, _), _, (b, bias_spec) = operands
  parts = plan.grid[1]  # Each block of queries has gradients of all keys.
  of_query, of_keys, of_values, of_bias = _run(
    plan,
    functools.partial(_backward_kernel, plan, masked_logit),
    [*operands, plan.by_queries(gradient)],
    [
      (_shape(q), q_spec),
      (_shape(k, parts), plan.of_key_gradients()),
      (_shape(v, parts), plan.of_key_gradients()),
      (_shape(b), bias_spec),
    ],
    products=5,
    scratch_shapes=[pltpu.VMEM(bias_spec.block_shape[1:], jnp.float32)]
    if bias_spec is not None and shared_bias
    else [],
    interpret=interpret,
    name="attention_backward",
  )
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
  plan: pallas_plan.Plan,
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
  plan: pallas_plan.Plan,
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
