"""T5's encoder and decoder stacks."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.networks import (
  decoding_state,
  keys_values,
  layer_loop,
  layers,
  relative_positions,
  t5_config,
  transformer_layers,
)


class Encoder(nn.Module):
  """The encoder stack.

  Attributes:
    config: sizes and numerics.
    token_embedder: the table both stacks share.
  """

  config: t5_config.T5Config
  token_embedder: layers.Embed

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.relpos_bias = relative_positions.RelativePositionBias(cfg, True)
    self.layers = layer_loop.make(
      transformer_layers.EncoderLayer, cfg, cfg.num_encoder_layers
    )
    self.encoder_norm = layers.RMSNorm(cfg.dtype)
    self.input_dropout = nn.Dropout(cfg.dropout_rate, broadcast_dims=(-2,))
    self.output_dropout = nn.Dropout(cfg.dropout_rate)

  def __call__(
    self,
    tokens: Int[Array, "batch tokens"],
    mask: Bool[Array, "batch 1 #inputs inputs"],
    deterministic: bool,
    items: Float[Array, "batch items embed"] | None = None,
  ) -> Float[Array, "batch inputs embed"]:
    """Encodes `tokens`, behind the vectors of `items` if there are any."""
    x = self.token_embedder(tokens)
    if items is not None:
      x = jnp.concatenate([items.astype(x.dtype), x], axis=1)
    x = self.input_dropout(x, deterministic=deterministic)
    bias = self.relpos_bias(x.shape[1])

    def through(
      layer: transformer_layers.EncoderLayer, x: Array, _: None
    ) -> tuple[Array, None]:
      return layer(x, mask, bias, deterministic), None

    x, _ = layer_loop.through(
      through,
      self.layers,
      x,
      None,
      config=self.config,
      count=self.config.num_encoder_layers,
    )
    return self.output_dropout(
      self.encoder_norm(x), deterministic=deterministic
    )


class Decoder(nn.Module):
  """The decoder stack, and what makes logits of its features.

  Attributes:
    config: sizes and numerics.
    token_embedder: the table both stacks share.
  """

  config: t5_config.T5Config
  token_embedder: layers.Embed

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.relpos_bias = relative_positions.RelativePositionBias(cfg, False)
    self.layers = layer_loop.make(
      transformer_layers.DecoderLayer, cfg, cfg.num_decoder_layers
    )
    self.decoder_norm = layers.RMSNorm(cfg.dtype)
    self.dropout = nn.Dropout(cfg.dropout_rate, broadcast_dims=(-2,))
    self.logits_dense = layers.Logits(
      cfg,
      self.token_embedder,
      # Undoes the unit variance of the shared table.
      tied_scale=cfg.emb_dim**-0.5,
    )

  def _normed(
    self, x: Float[Array, "sequences length embed"], deterministic: bool
  ) -> Float[Array, "sequences length embed"]:
    return self.dropout(self.decoder_norm(x), deterministic=deterministic)

  def __call__(
    self,
    tokens: Int[Array, "sequences length"],
    encoded: Float[Array, "batch inputs embed"],
    mask: Bool[Array, "sequences 1 length length"],
    memory_mask: Bool[Array, "batch 1 #length inputs"],
    deterministic: bool,
    positions: Int[Array, "sequences length"] | None = None,
  ) -> Float[Array, "sequences length embed"]:
    """Features that the token after each of `tokens` is predicted from.

    `positions` None counts from 0.
    """
    x = self.token_embedder(tokens)
    x = self.dropout(x, deterministic=deterministic)
    if positions is None:
      bias = self.relpos_bias(tokens.shape[-1])
    else:
      bias = self.relpos_bias.between(positions, positions)

    def through(
      layer: transformer_layers.DecoderLayer, x: Array, _: None
    ) -> tuple[Array, None]:
      y = layer(x, encoded, mask, memory_mask, bias, deterministic)
      return y, None

    x, _ = self._through_layers(through, x, None)
    return self._normed(x, deterministic)

  def _through_layers(
    self, layer_fn: layer_loop.LayerFn, x: Array, own: Any
  ) -> tuple[Array, Any]:
    return layer_loop.through(
      layer_fn,
      self.layers,
      x,
      own,
      config=self.config,
      count=self.config.num_decoder_layers,
    )

  def project_memory(
    self, encoded: Float[Array, "batch inputs embed"]
  ) -> decoding_state.PerLayer:
    """Cross-attention keys and values of every layer."""

    def through(
      layer: transformer_layers.DecoderLayer, encoded: Array, _: None
    ) -> tuple[Array, keys_values.KeysValues]:
      return encoded, layer.project_memory(encoded, True)

    return self._through_layers(through, encoded, None)[1]

  def step(
    self,
    tokens: Int[Array, "sequences block"],
    cache: decoding_state.DecodingCache,
    memory: decoding_state.DecodingMemory,
  ) -> tuple[
    Float[Array, "sequences block embed"], decoding_state.DecodingCache
  ]:
    """Features of the next tokens, and the cache with these in it."""
    x = self.token_embedder(tokens)
    block = tokens.shape[1]
    bias = self.relpos_bias.between(
      cache.position + jnp.arange(block)[None], jnp.arange(cache.length)[None]
    )

    def through(
      layer: transformer_layers.DecoderLayer,
      x: Array,
      own: tuple[keys_values.KeysValues, keys_values.KeysValues],
    ) -> tuple[Array, keys_values.KeysValues]:
      kept, asked = own
      return layer.step(x, kept, asked, memory.mask, cache.position, bias)

    x, entries = self._through_layers(
      through,
      x,
      layer_loop.paired(self.config, cache.layers, memory.layers),
    )
    return self._normed(x, True), decoding_state.DecodingCache(
      entries, cache.position + block
    )

  def extend(
    self,
    tokens: Int[Array, "prefixes"],
    paths: Int[Array, "prefixes length"],
    depths: Int[Array, "prefixes"],
    cache: decoding_state.DecodingCache,
    memory: decoding_state.DecodingMemory,
  ) -> tuple[Float[Array, "prefixes 1 embed"], decoding_state.DecodingCache]:
    """Features of each prefix, and the cache with the prefixes in it."""
    x = self.token_embedder(tokens[:, None])
    position = jnp.arange(paths.shape[1])[None, :]
    bias = self.relpos_bias.between(depths[:, None], position)
    mask = (position <= depths[:, None])[:, None, None, :]

    def through(
      layer: transformer_layers.DecoderLayer,
      x: Array,
      own: tuple[keys_values.KeysValues, keys_values.KeysValues],
    ) -> tuple[Array, keys_values.KeysValues]:
      kept, asked = own
      return layer.extend(
        x, kept, asked, memory.mask, cache.position, paths, mask, bias
      )

    x, entries = self._through_layers(
      through,
      x,
      layer_loop.paired(self.config, cache.layers, memory.layers),
    )
    return self._normed(x, True), decoding_state.DecodingCache(
      entries, cache.position + len(tokens)
    )
