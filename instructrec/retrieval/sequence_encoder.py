"""The transformer that SASRec, BERT4Rec and the two-tower matcher share.

Items enter as rows of one table and leave as products with the same table.
The table is an embedding of item ids, or that plus an embedding of the item's
title. Positions count from the oldest item and padding stands at the end: the
state after an item is then the same whatever follows it, in training as in
use.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """Sizes of the encoder.

  Attributes:
    num_items: size of the catalogue; two rows more for padding and mask.
    emb_dim: width of items and states.
    num_layers: transformer blocks.
    num_heads: attention heads; a divisor of `emb_dim`.
    max_length: longest sequence.
    dropout_rate: after the embeddings, in attention and after each block.
    causal: whether a position sees only itself and what is before it.
    num_pieces: rows of the table of title pieces; 0 for no titles.
  """

  num_items: int
  emb_dim: int
  num_layers: int
  num_heads: int
  max_length: int
  dropout_rate: float
  causal: bool
  num_pieces: int = 0

  def __post_init__(self) -> None:
    """Checks that heads divide the width.

    Raises:
      ValueError: where they do not.
    """
    if self.emb_dim % self.num_heads:
      raise ValueError(
        f"emb_dim {self.emb_dim} does not divide into {self.num_heads} heads"
      )


_init = nn.initializers.normal(0.02)


class _Block(nn.Module):
  """Pre-normalised self-attention and feed-forward, each with a residual."""

  config: EncoderConfig

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "batch length embed"],
    mask: Array,
    deterministic: bool,
  ) -> Float[Array, "batch length embed"]:
    cfg = self.config
    drop = nn.Dropout(cfg.dropout_rate, deterministic=deterministic)
    attended = nn.MultiHeadDotProductAttention(
      cfg.num_heads,
      dropout_rate=cfg.dropout_rate,
      deterministic=deterministic,
    )(nn.LayerNorm()(x), mask=mask)
    x = x + drop(attended)
    hidden = nn.Dense(4 * cfg.emb_dim)(nn.LayerNorm()(x))
    return x + drop(nn.Dense(cfg.emb_dim)(nn.gelu(hidden)))


class SequenceEncoder(nn.Module):
  """Item table and transformer.

  Attributes:
    config: its sizes.
  """

  config: EncoderConfig

  def setup(self) -> None:
    """Makes the parameters and submodules."""
    cfg = self.config
    self.ids = nn.Embed(cfg.num_items + 2, cfg.emb_dim, embedding_init=_init)
    self.positions = nn.Embed(cfg.max_length, cfg.emb_dim, embedding_init=_init)
    if cfg.num_pieces:
      self.pieces = nn.Embed(cfg.num_pieces, cfg.emb_dim, embedding_init=_init)
      self.title = nn.Dense(cfg.emb_dim)
    self.blocks = [_Block(cfg) for _ in range(cfg.num_layers)]
    self.norm = nn.LayerNorm()
    self.dropout = nn.Dropout(cfg.dropout_rate)

  def item_table(
    self, titles: Int[Array, "items pieces"] | None
  ) -> Float[Array, "tokens embed"]:
    """Vectors of padding, all items and the mask, in the order of tokens.

    Args:
      titles: pieces of each item's title, 0 for padding; None without titles.

    Returns:
      The id's vector, plus a projection of the mean over the title's pieces.
    """
    table = self.ids.embedding
    if titles is None:
      return table
    where = (titles > 0)[..., None]
    total = jnp.where(where, self.pieces(titles), 0.0).sum(1)
    mean = total / jnp.maximum(where.sum(1), 1)
    return table.at[1:-1].add(self.title(mean))

  def encode(
    self,
    tokens: Int[Array, "batch length"],
    table: Float[Array, "tokens embed"],
    *,
    deterministic: bool,
  ) -> Float[Array, "batch length embed"]:
    """States of all positions.

    Args:
      tokens: padded at the end with 0.
      table: from `item_table`.
      deterministic: True switches dropout off.

    Returns:
      States; those of padding mean nothing.
    """
    where = tokens > 0
    x = table[tokens] + self.positions(jnp.arange(tokens.shape[1]))
    x = self.dropout(x, deterministic=deterministic)
    mask = nn.make_attention_mask(jnp.ones_like(where), where)
    if self.config.causal:
      mask = nn.combine_masks(mask, nn.make_causal_mask(tokens))
    for block in self.blocks:
      x = block(x, mask, deterministic)
    return self.norm(x)

  def _states(
    self,
    tokens: Int[Array, "batch length"],
    slots: Int[Array, "batch slots"],
    titles: Int[Array, "items pieces"] | None,
    deterministic: bool,
  ) -> tuple[Float[Array, "batch slots embed"], Float[Array, "tokens embed"]]:
    table = self.item_table(titles)
    states = self.encode(tokens, table, deterministic=deterministic)
    return jnp.take_along_axis(states, slots[..., None], axis=1), table

  def __call__(
    self,
    tokens: Int[Array, "batch length"],
    slots: Int[Array, "batch slots"],
    titles: Int[Array, "items pieces"] | None,
  ) -> Float[Array, "batch slots items"]:
    """Logits of all items at some positions, without dropout.

    Args:
      tokens: padded at the end with 0.
      slots: positions to predict at.
      titles: see `item_table`.

    Returns:
      Logits, items in the order of the catalogue; those at padding are zero,
      so that all items tie where nothing is known.
    """
    states, table = self._states(tokens, slots, titles, True)
    known = jnp.take_along_axis(tokens, slots, axis=1) > 0
    return jnp.where(known[..., None], states, 0.0) @ table[1:-1].T

  def cross_entropy(
    self,
    tokens: Int[Array, "batch length"],
    slots: Int[Array, "batch slots"],
    targets: Int[Array, "batch slots"],
    titles: Int[Array, "items pieces"] | None,
  ) -> Float[Array, "batch slots"]:
    """Cross-entropy over the whole catalogue, with dropout.

    Args:
      tokens: padded at the end with 0.
      slots: positions to predict at.
      targets: the token to predict at each.
      titles: see `item_table`.

    Returns:
      Nats; those of padding as a target mean nothing.
    """
    states, table = self._states(tokens, slots, titles, False)
    # The target's logit is a product of its own: picked out of all logits, its
    # gradient would be a scatter into an array of their size.
    target = (states * table[targets]).sum(-1)
    return jax.nn.logsumexp(states @ table[1:-1].T, axis=-1) - target
