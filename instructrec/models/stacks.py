"""The encoder and decoder stacks, and what decoding carries between steps."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from instructrec.models import attention, layers, relative_positions
from instructrec.models import config as config_lib


@flax.struct.dataclass
class DecodingMemory:
  """What decoding asks of the encoder: constant over all steps.

  Attributes:
    layers: cross-attention keys and values, one entry a decoder layer.
    mask: [batch, 1, 1, inputs]; True where the input is no padding.
  """

  layers: tuple[attention.KeysValues, ...]
  mask: Bool[Array, "batch 1 1 inputs"]


@flax.struct.dataclass
class DecodingCache:
  """What decoding remembers of its own tokens: grows with each step.

  Attributes:
    layers: self-attention keys and values [sequences, length, heads, kv], one
      entry a decoder layer.
    position: index of the next token.
  """

  layers: tuple[attention.KeysValues, ...]
  position: Int[Array, ""]

  def select(self, sequences: Int[Array, "sequences"]) -> "DecodingCache":
    """The cache whose row i is row `sequences[i]` of this one."""
    selected = jax.tree.map(
      lambda x: jnp.take(x, sequences, axis=0), self.layers
    )
    return DecodingCache(layers=selected, position=self.position)


def _with_remat(layer_cls: Any, policy: str) -> Any:
  """Wraps a layer so that its backward pass recomputes what `policy` says."""
  if policy == "none":
    return layer_cls
  checkpoint_policy = (
    jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims
    if policy == "minimal"
    else None
  )
  # `deterministic` is the last argument of both layers; self counts as 0.
  static = 4 if layer_cls is EncoderLayer else 6
  return nn.remat(layer_cls, policy=checkpoint_policy, static_argnums=(static,))


class EncoderLayer(nn.Module):
  """Self-attention and feed-forward block, each with a residual around it.

  Attributes:
    config: sizes and numerics.
  """

  config: config_lib.T5Config

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.pre_attention_layer_norm = layers.RMSNorm(cfg.dtype)
    self.attention = attention.Attention(cfg)
    self.pre_mlp_layer_norm = layers.RMSNorm(cfg.dtype)
    self.mlp = layers.GatedMlp(cfg)
    self.dropout = nn.Dropout(cfg.dropout_rate, broadcast_dims=(-2,))

  def __call__(
    self,
    x: Float[Array, "batch inputs embed"],
    mask: Bool[Array, "batch 1 #inputs inputs"],
    bias: Float[Array, "1 heads inputs inputs"],
    deterministic: bool,
  ) -> Float[Array, "batch inputs embed"]:
    """Applies the layer; `mask` is True where attention is allowed."""
    y = self.attention(
      self.pre_attention_layer_norm(x), mask, bias, deterministic
    )
    x = x + self.dropout(y, deterministic=deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
    return x + self.dropout(y, deterministic=deterministic)


class DecoderLayer(nn.Module):
  """Self-attention, attention to the encoder, feed-forward block.

  Attributes:
    config: sizes and numerics.
  """

  config: config_lib.T5Config

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.pre_self_attention_layer_norm = layers.RMSNorm(cfg.dtype)
    self.self_attention = attention.Attention(cfg)
    self.pre_cross_attention_layer_norm = layers.RMSNorm(cfg.dtype)
    self.encoder_decoder_attention = attention.Attention(cfg)
    self.pre_mlp_layer_norm = layers.RMSNorm(cfg.dtype)
    self.mlp = layers.GatedMlp(cfg)
    self.dropout = nn.Dropout(cfg.dropout_rate, broadcast_dims=(-2,))

  def project_memory(
    self, encoded: Float[Array, "batch inputs embed"]
  ) -> attention.KeysValues:
    """Cross-attention keys and values of the encoder's output."""
    return self.encoder_decoder_attention.project(encoded)

  def _after_self_attention(
    self,
    x: Float[Array, "sequences length embed"],
    attended: Float[Array, "sequences length embed"],
    memory: attention.KeysValues,
    memory_mask: Bool[Array, "batch 1 #length inputs"],
    deterministic: bool,
  ) -> Float[Array, "sequences length embed"]:
    x = x + self.dropout(attended, deterministic=deterministic)
    y = self.encoder_decoder_attention.attend(
      self.pre_cross_attention_layer_norm(x),
      memory,
      memory_mask,
      None,
      deterministic,
    )
    x = x + self.dropout(y, deterministic=deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
    return x + self.dropout(y, deterministic=deterministic)

  def __call__(
    self,
    x: Float[Array, "sequences length embed"],
    encoded: Float[Array, "batch inputs embed"],
    mask: Bool[Array, "sequences 1 length length"],
    memory_mask: Bool[Array, "batch 1 #length inputs"],
    bias: Float[Array, "1 heads length length"],
    deterministic: bool,
  ) -> Float[Array, "sequences length embed"]:
    """Applies the layer to whole sequences."""
    y = self.self_attention(
      self.pre_self_attention_layer_norm(x), mask, bias, deterministic
    )
    return self._after_self_attention(
      x, y, self.project_memory(encoded), memory_mask, deterministic
    )

  def step(
    self,
    x: Float[Array, "sequences 1 embed"],
    cache: attention.KeysValues,
    memory: attention.KeysValues,
    memory_mask: Bool[Array, "batch 1 1 inputs"],
    position: Int[Array, ""],
    bias: Float[Array, "1 heads 1 length"],
  ) -> tuple[Float[Array, "sequences 1 embed"], attention.KeysValues]:
    """Applies the layer to one new position of every sequence."""
    y, cache = self.self_attention.step(
      self.pre_self_attention_layer_norm(x), cache, position, bias
    )
    return self._after_self_attention(x, y, memory, memory_mask, True), cache


class Encoder(nn.Module):
  """The encoder stack.

  Attributes:
    config: sizes and numerics.
    token_embedder: the table both stacks share.
  """

  config: config_lib.T5Config
  token_embedder: layers.Embed

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.relpos_bias = relative_positions.RelativePositionBias(cfg, True)
    layer_cls = _with_remat(EncoderLayer, cfg.remat_policy)
    self.layers = [layer_cls(cfg) for _ in range(cfg.num_encoder_layers)]
    self.encoder_norm = layers.RMSNorm(cfg.dtype)
    self.input_dropout = nn.Dropout(cfg.dropout_rate, broadcast_dims=(-2,))
    self.output_dropout = nn.Dropout(cfg.dropout_rate)

  def __call__(
    self,
    tokens: Int[Array, "batch inputs"],
    mask: Bool[Array, "batch 1 #inputs inputs"],
    deterministic: bool,
  ) -> Float[Array, "batch inputs embed"]:
    """Encodes `tokens`."""
    x = self.token_embedder(tokens)
    x = self.input_dropout(x, deterministic=deterministic)
    bias = self.relpos_bias(tokens.shape[-1])
    for layer in self.layers:
      x = layer(x, mask, bias, deterministic)
    return self.output_dropout(
      self.encoder_norm(x), deterministic=deterministic
    )


class Decoder(nn.Module):
  """The decoder stack and the logits.

  Attributes:
    config: sizes and numerics.
    token_embedder: the table both stacks share.
  """

  config: config_lib.T5Config
  token_embedder: layers.Embed

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.relpos_bias = relative_positions.RelativePositionBias(cfg, False)
    layer_cls = _with_remat(DecoderLayer, cfg.remat_policy)
    self.layers = [layer_cls(cfg) for _ in range(cfg.num_decoder_layers)]
    self.decoder_norm = layers.RMSNorm(cfg.dtype)
    self.dropout = nn.Dropout(cfg.dropout_rate, broadcast_dims=(-2,))
    if not cfg.logits_via_embedding:
      # Logits are float32 whatever the activations are, for stability.
      self.logits_dense = layers.Dense(
        cfg.vocab_size, ("embed", "vocab"), dtype=jnp.float32
      )

  def _logits(
    self, x: Float[Array, "sequences length embed"], deterministic: bool
  ) -> Float[Array, "sequences length vocab"]:
    x = self.dropout(self.decoder_norm(x), deterministic=deterministic)
    if self.config.logits_via_embedding:
      # Undoes the unit variance of the shared table.
      return self.token_embedder.attend(x) / jnp.sqrt(self.config.emb_dim)
    return self.logits_dense(x)

  def __call__(
    self,
    tokens: Int[Array, "sequences length"],
    encoded: Float[Array, "batch inputs embed"],
    mask: Bool[Array, "sequences 1 length length"],
    memory_mask: Bool[Array, "batch 1 #length inputs"],
    deterministic: bool,
  ) -> Float[Array, "sequences length vocab"]:
    """Float32 logits of the token after each of `tokens`."""
    x = self.token_embedder(tokens)
    x = self.dropout(x, deterministic=deterministic)
    bias = self.relpos_bias(tokens.shape[-1])
    for layer in self.layers:
      x = layer(x, encoded, mask, memory_mask, bias, deterministic)
    return self._logits(x, deterministic)

  def project_memory(
    self, encoded: Float[Array, "batch inputs embed"]
  ) -> tuple[attention.KeysValues, ...]:
    """Cross-attention keys and values of every layer."""
    return tuple(layer.project_memory(encoded) for layer in self.layers)

  def step(
    self,
    tokens: Int[Array, "sequences"],
    cache: DecodingCache,
    memory: DecodingMemory,
  ) -> tuple[Float[Array, "sequences vocab"], DecodingCache]:
    """Logits after one more token, and the cache with that token in it."""
    x = self.token_embedder(tokens[:, None])
    length = cache.layers[0].keys.shape[1]
    bias = self.relpos_bias.row(cache.position, length)
    entries = []
    for layer, own, keys_values in zip(
      self.layers, cache.layers, memory.layers, strict=True
    ):
      x, entry = layer.step(
        x, own, keys_values, memory.mask, cache.position, bias
      )
      entries.append(entry)
    logits = self._logits(x, True)[:, 0]
    return logits, DecodingCache(tuple(entries), cache.position + 1)
