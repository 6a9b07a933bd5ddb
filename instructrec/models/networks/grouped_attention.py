"""Grouped-query attention with rotary positions, over keys of several sources.

A sequence looks at itself and at its prompt at once, in one softmax. The
prompt's keys and values exist once, however many sequences ask them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import partitioning
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.networks import (
  attention,
  keys_values,
  layers,
  llama_config,
  rotary,
)


class Source(NamedTuple):
  """Keys and values that queries may look at.

  Attributes:
    memory: of `sources` rows; those of several sequences may be one.
    mask: True where a query may look at a key.
    filled: keys that are written, where that is not known before; None for all.
  """

  memory: keys_values.KeysValues
  mask: Bool[Array, "#rows 1 #queries keys"]
  filled: Int[Array, ""] | None = None


# From a layer's new keys and values to what its queries look at, and to what
# the caller wants to keep.
Look = Callable[[keys_values.KeysValues], tuple[Sequence[Source], Any]]


def grouped_attention(
  query: Float[Array, "sequences queries heads kv"], sources: Sequence[Source]
) -> Float[Array, "sequences queries heads kv"]:
  """One softmax over the keys of all sources; logits and softmax in float32.

  Args:
    query: projected queries, scaled.
    sources: each with as many rows as there are sequences, or a divisor:
      sequences i * n .. i * n + n - 1 then look at row i. Their heads are a
      divisor of the queries' heads.

  Returns:
    Weighted sums of the values.
  """
  sequences, length, num_heads, width = query.shape

  def shared(x: Array, rows: int) -> Array:
    """[sequences, ...] -> [rows, sequences a row, ...]."""
    return x.reshape(rows, -1, *x.shape[1:])

  logits = []
  for memory, mask, _ in sources:
    rows, _, kv_heads, _ = memory.keys.shape
    grouped = shared(query, rows).reshape(
      rows, -1, length, kv_heads, num_heads // kv_heads, width
    )
    found = jnp.einsum(
      "rnqhgd,rkhd->rnhgqk",
      grouped,
      memory.keys,
      preferred_element_type=jnp.float32,
    )
    # [#rows, 1, #queries, keys] -> [#rows, 1, 1, 1, #queries, keys]
    found = jnp.where(mask[:, None, :, None], found, attention.MASKED_LOGIT)
    logits.append(found.reshape(sequences, *found.shape[2:]))
  weights = jax.nn.softmax(jnp.concatenate(logits, axis=-1))
  weights = weights.astype(query.dtype)
  total = jnp.zeros((), query.dtype)
  first = 0
  for memory, *_ in sources:
    rows, keys = memory.values.shape[:2]
    part = shared(weights[..., first : first + keys], rows)
    first += keys
    summed = jnp.einsum("rnhgqk,rkhd->rnqhgd", part, memory.values)
    total = total + summed.reshape(sequences, length, num_heads, width)
  return total


def attend(
  query: Float[Array, "sequences queries heads kv"],
  sources: Sequence[Source],
  implementation: str,
) -> Float[Array, "sequences queries heads kv"]:
  """`grouped_attention`, fused where a sequence looks at itself alone.

  Args:
    query: projected queries, scaled.
    sources: see `grouped_attention`; of the last not all need be written.
    implementation: see `NetworkConfig.attention_implementation`.

  Returns:
    Weighted sums of the values.
  """
  *others, last = sources
  if last.filled is not None:

    def look(part: keys_values.KeysValues) -> Array:
      mask = last.mask[..., : part.keys.shape[1]]
      return attend(query, [*others, Source(part, mask)], implementation)

    return keys_values.within(last.memory, last.filled, look)
  if implementation == "einsum" or others:
    return grouped_attention(query, sources)
  memory, mask, _ = last
  if implementation == "pallas":
    # The kernel has keys and values of its own for each head.
    groups = query.shape[2] // memory.keys.shape[2]
    memory = jax.tree.map(lambda x: jnp.repeat(x, groups, axis=2), memory)
  return attention.fused(
    query, memory, mask, None, implementation=implementation
  )


class GroupedAttention(nn.Module):
  """Attention whose queries share keys and values in groups.

  Attributes:
    config: number of heads, sizes, dropout rate and dtype.
  """

  config: llama_config.LlamaConfig

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config

    def dense(features, axes):
      return layers.Dense(
        features,
        axes,
        dtype=cfg.dtype,
        kernel_init=layers.fan_in_normal,
        adapter=cfg.adapter,
      )

    self.query = dense(cfg.joined_dim, ("embed", "joined_kv"))
    self.key = dense(cfg.kv_dim, ("embed", "joined_kv"))
    self.value = dense(cfg.kv_dim, ("embed", "joined_kv"))
    self.out = dense(cfg.emb_dim, ("joined_kv", "embed"))
    # The same keys are dropped for all queries, which is to drop their values.
    self.dropout = nn.Dropout(cfg.dropout_rate)

  def _split_heads(
    self, x: Float[Array, "batch length joined"]
  ) -> Float[Array, "batch length heads kv"]:
    x = x.reshape(*x.shape[:-1], -1, self.config.head_dim)
    return partitioning.with_sharding_constraint(
      x, ("batch", "length", "heads", "kv")
    )

  def __call__(
    self,
    x: Float[Array, "sequences length embed"],
    rotation: rotary.Rotation,
    look: Look,
    deterministic: bool,
  ) -> tuple[Float[Array, "sequences length embed"], Any]:
    """Attends from `x` to what `look` makes of its keys and values.

    Args:
      x: what asks.
      rotation: of the positions of `x`.
      look: see `Look`.
      deterministic: True switches dropout off.

    Returns:
      The result of the `out` matrix, of the shape of `x`; and what `look`
      keeps.
    """
    cfg = self.config
    query = self._split_heads(self.query(x, deterministic))
    keys = self._split_heads(self.key(x, deterministic))
    values = self._split_heads(self.value(x, deterministic))
    # [sequences, length, heads, kv], of which one number a head is drawn.
    kept = self.dropout(
      jnp.ones((*values.shape[:-1], 1), values.dtype),
      deterministic=deterministic,
    )
    new = keys_values.KeysValues(
      keys=rotary.rotate(keys, rotation), values=values * kept
    )
    sources, given = look(new)
    attended = attend(
      rotary.rotate(query, rotation) * cfg.head_dim**-0.5,
      sources,
      cfg.attention_implementation,
    )
    attended = attended.reshape(*x.shape[:-1], -1)
    return self.out(attended, deterministic), given
