"""Multi-head attention, with keys and values that many queries may share."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import partitioning
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.kernels import pallas_attention
from instructrec.models.networks import keys_values, layers, t5_config

# Added to the logit of a masked key. Finite, so that a query with no key at
# all (a padded row) has a uniform softmax and not NaN.
MASKED_LOGIT = -1e10


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _spread(
  bias: Float[Array, "#batch heads #queries keys"], batch: int
) -> Float[Array, "batch heads #queries keys"]:
  """The bias for each row of a batch; its gradient is a sum over them.

  On CPUs that sum is a product: as a reduction over a leading axis, XLA strides
  through all of the gradient for every number of the result.
  """
  return jnp.broadcast_to(bias, (batch, *bias.shape[1:]))


def _spread_fwd(bias: Array, batch: int) -> tuple[Array, bool]:
  return _spread(bias, batch), len(bias) == 1


def _spread_bwd(batch: int, shared: bool, gradient: Array) -> tuple[Array]:
  if not shared:
    return (gradient,)
  total = jax.lax.platform_dependent(
    gradient,
    cpu=lambda g: jnp.tensordot(jnp.ones(batch, g.dtype), g, axes=1),
    default=lambda g: g.sum(0),
  )
  return (total[None],)


_spread.defvjp(_spread_fwd, _spread_bwd)


def dot_product_attention(
  query: Float[Array, "batch queries heads kv"],
  memory: keys_values.KeysValues,
  mask: Bool[Array, "#batch 1 #queries keys"],
  bias: Float[Array, "#batch heads #queries keys"] | None,
  *,
  dtype: Any,
  float32_logits: bool,
  dropout: nn.Dropout,
  deterministic: bool,
) -> Float[Array, "batch queries heads kv"]:
  """Attention without division by sqrt(kv): T5 folds it into the initialiser.

  Args:
    query: projected queries.
    memory: projected keys and values.
    mask: True where a query may look at a key.
    bias: added to the logits; None adds nothing.
    dtype: type of the attention weights.
    float32_logits: take logits and softmax in float32.
    dropout: applied to the attention weights.
    deterministic: True switches dropout off.

  Returns:
    Weighted sums of the values.
  """
  keys = memory.keys
  if float32_logits:
    query, keys = query.astype(jnp.float32), keys.astype(jnp.float32)
  # [batch, queries, heads, kv], [batch, keys, heads, kv]
  #   -> [batch, heads, queries, keys]
  logits = jnp.einsum("bqhd,bkhd->bhqk", query, keys)
  hidden = jnp.where(mask, 0.0, MASKED_LOGIT).astype(dtype)
  # Summed in `dtype` before they meet the logits, as T5X does.
  offset = hidden if bias is None else hidden + _spread(bias, len(query))
  weights = jax.nn.softmax(logits + offset.astype(logits.dtype))
  weights = dropout(weights.astype(dtype), deterministic=deterministic)
  return jnp.einsum("bhqk,bkhd->bqhd", weights, memory.values)


def fused_dot_product_attention(
  query: Float[Array, "batch queries heads kv"],
  memory: keys_values.KeysValues,
  mask: Bool[Array, "#batch 1 #queries keys"],
  bias: Float[Array, "#batch heads #queries keys"] | None,
  *,
  implementation: str,
  dropout: nn.Dropout,
  deterministic: bool,
) -> Float[Array, "batch queries heads kv"]:
  """`dot_product_attention`, but attention weights need not be kept.

  T5 drops a key for all queries alike. That is to drop its value, which needs
  no weights: the same random numbers give the same result.

  Args:
    query: projected queries.
    memory: projected keys and values.
    mask: True where a query may look at a key.
    bias: added to the logits; None adds nothing.
    implementation: "pallas", "xla" or "cudnn".
    dropout: of the attention weights, the same for all queries.
    deterministic: True switches dropout off.

  Returns:
    Weighted sums of the values; logits and softmax are float32.

  Raises:
    ValueError: for "pallas", where there are no TPUs.
    RuntimeError: from JAX for "cudnn", where there is no cuDNN.
  """
  batch, keys, heads, _ = memory.values.shape
  kept = dropout(
    jnp.ones((batch, heads, 1, keys), memory.values.dtype),
    deterministic=deterministic,
  )
  # [batch, heads, 1, keys] -> [batch, keys, heads, 1]
  values = memory.values * kept.transpose(0, 3, 1, 2)
  return fused(
    query,
    keys_values.KeysValues(memory.keys, values),
    mask,
    bias,
    implementation=implementation,
  )


def fused(
  query: Float[Array, "batch queries heads kv"],
  memory: keys_values.KeysValues,
  mask: Bool[Array, "#batch 1 #queries keys"],
  bias: Float[Array, "#batch heads #queries keys"] | None,
  *,
  implementation: str,
) -> Float[Array, "batch queries heads kv"]:
  """As `fused_dot_product_attention`, without dropout."""
  if implementation == "pallas":
    return pallas_attention.dot_product_attention(
      query, memory.keys, memory.values, mask, bias, masked_logit=MASKED_LOGIT
    )
  attend: Any = jax.nn.dot_product_attention  # Typed for literals only.
  return attend(
    query,
    memory.keys,
    memory.values,
    bias=bias,
    mask=mask,
    scale=1.0,
    implementation=implementation,
  )


class Attention(nn.Module):
  """Multi-head attention with separate steps for memory and queries.

  `project` makes the keys and values once; `attend` may then be called with
  any number of queries, for example all candidates of a request in one row.

  Attributes:
    config: number of heads, sizes, dropout rate and dtype.
  """

  config: t5_config.T5Config

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config

    def query_init(key, shape, dtype):
      # Takes the place of the division by sqrt(head_dim) at run time.
      scale = jnp.sqrt(cfg.head_dim).astype(dtype)
      return layers.fan_in_normal(key, shape, dtype) / scale

    def dense(features, axes, kernel_init=layers.fan_in_normal):
      return layers.Dense(
        features,
        axes,
        dtype=cfg.dtype,
        kernel_init=kernel_init,
        adapter=cfg.adapter,
      )

    joined = ("embed", "joined_kv")
    self.query = dense(cfg.joined_dim, joined, query_init)
    self.key = dense(cfg.joined_dim, joined)
    self.value = dense(cfg.joined_dim, joined)
    self.out = dense(cfg.emb_dim, ("joined_kv", "embed"))
    # T5 drops the same keys for all queries.
    self.dropout = nn.Dropout(cfg.dropout_rate, broadcast_dims=(-2,))

  def _split_heads(
    self, x: Float[Array, "batch length joined"]
  ) -> Float[Array, "batch length heads kv"]:
    x = x.reshape(*x.shape[:-1], self.config.num_heads, self.config.head_dim)
    return partitioning.with_sharding_constraint(
      x, ("batch", "length", "heads", "kv")
    )

  def project(
    self, x: Float[Array, "batch length embed"], deterministic: bool
  ) -> keys_values.KeysValues:
    """Keys and values of `x`; dropout in adapters unless `deterministic`."""
    return keys_values.KeysValues(
      keys=self._split_heads(self.key(x, deterministic)),
      values=self._split_heads(self.value(x, deterministic)),
    )

  def attend(
    self,
    x: Float[Array, "sequences queries embed"],
    memory: keys_values.KeysValues,
    mask: Bool[Array, "#batch 1 #merged keys"],
    bias: Float[Array, "#batch heads #merged keys"] | None,
    deterministic: bool,
  ) -> Float[Array, "sequences queries embed"]:
    """Attends from `x` to `memory`.

    `sequences` may be a multiple of memory's batch: the sequences of one
    memory row are then queries of one attention (`merged` = queries times
    that multiple), so the memory is neither copied nor projected again.

    Args:
      x: what asks.
      memory: what is asked, from `project`.
      mask: True where a query may look at a key.
      bias: relative position bias, or None.
      deterministic: True switches dropout off.

    Returns:
      The result of the `out` matrix, of the shape of `x`.
    """
    sequences, length = x.shape[:2]
    batch = memory.keys.shape[0]
    query = self._split_heads(self.query(x, deterministic))
    # [batch * n, length, heads, kv] -> [batch, n * length, heads, kv]
    query = query.reshape(batch, -1, *query.shape[2:])
    attended = self._attended(query, memory, mask, bias, deterministic)
    # [batch, n * length, heads, kv] -> [batch * n, length, joined]
    attended = attended.reshape(sequences, length, -1)
    return self.out(attended, deterministic)

  def _attended(
    self,
    query: Float[Array, "batch queries heads kv"],
    memory: keys_values.KeysValues,
    mask: Bool[Array, "#batch 1 #queries keys"],
    bias: Float[Array, "#batch heads #queries keys"] | None,
    deterministic: bool,
  ) -> Float[Array, "batch queries heads kv"]:
    """Weighted sums of the values, by whichever implementation is set."""
    cfg = self.config
    if cfg.attention_implementation == "einsum":
      return dot_product_attention(
        query,
        memory,
        mask,
        bias,
        dtype=cfg.dtype,
        float32_logits=cfg.float32_attention_logits,
        dropout=self.dropout,
        deterministic=deterministic,
      )
    return fused_dot_product_attention(
      query,
      memory,
      mask,
      bias,
      implementation=cfg.attention_implementation,
      dropout=self.dropout,
      deterministic=deterministic,
    )

  def __call__(
    self,
    x: Float[Array, "batch length embed"],
    mask: Bool[Array, "#batch 1 #length length"],
    bias: Float[Array, "#batch heads length length"] | None,
    deterministic: bool,
  ) -> Float[Array, "batch length embed"]:
    """Self-attention over whole sequences."""
    memory = self.project(x, deterministic)
    return self.attend(x, memory, mask, bias, deterministic)

  def step(
    self,
    x: Float[Array, "sequences block embed"],
    cache: keys_values.KeysValues,
    position: Int[Array, ""],
    bias: Float[Array, "1 heads block length"],
  ) -> tuple[Float[Array, "sequences block embed"], keys_values.KeysValues]:
    """Self-attention of new positions, with the earlier ones in `cache`.

    Args:
      x: the new positions of every sequence.
      cache: [sequences, length, heads, kv]; filled before `position`.
      position: index of the first new position, in [0, length - block].
      bias: relative position bias of these queries against all of the cache.

    Returns:
      The result, and the cache with the new positions written into it.
    """
    cache = keys_values.write(cache, self.project(x, True), position)
    block = x.shape[1]
    query = self._split_heads(self.query(x, True))

    def look(part: keys_values.KeysValues) -> Array:
      keys = part.keys.shape[1]
      mask = keys_values.causal(position, block, keys)
      return self._attended(query, part, mask, bias[..., :keys], True)

    attended = keys_values.within(cache, position + block, look)
    return self.out(attended.reshape(*x.shape[:2], -1), True), cache

  def extend(
    self,
    x: Float[Array, "prefixes 1 embed"],
    cache: keys_values.KeysValues,
    first: Int[Array, ""],
    paths: Int[Array, "prefixes length"],
    mask: Bool[Array, "prefixes 1 1 length"],
    bias: Float[Array, "prefixes heads 1 length"],
  ) -> tuple[Float[Array, "prefixes 1 embed"], keys_values.KeysValues]:
    """Self-attention of the newest positions of prefixes of any lengths.

    Args:
      x: the newest position of each prefix.
      cache: [1, slots, heads, kv]; one slot for each prefix known so far.
      first: the new prefixes take the slots from here on.
      paths: slots of each prefix's beginnings, its own at its last position.
      mask: True up to that position.
      bias: relative position bias.

    Returns:
      The result, and the cache with the new prefixes in it.
    """
    cache = keys_values.write_slots(cache, self.project(x, True), first)
    return self.attend(
      x, keys_values.along(cache, paths), mask, bias, True
    ), cache
