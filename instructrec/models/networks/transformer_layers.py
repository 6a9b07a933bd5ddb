"""One layer of each stack: attention and feed-forward with their residuals."""

from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.networks import (
  attention,
  keys_values,
  layers,
  t5_config,
)


class EncoderLayer(nn.Module):
  """Self-attention and feed-forward block, each with a residual around it.

  Attributes:
    config: sizes and numerics.
  """

  config: t5_config.T5Config

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
    x = layers.add(x, y, self.dropout, deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
    return layers.add(x, y, self.dropout, deterministic)


class DecoderLayer(nn.Module):
  """Self-attention, attention to the encoder, feed-forward block.

  Attributes:
    config: sizes and numerics.
  """

  config: t5_config.T5Config

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
    self,
    encoded: Float[Array, "batch inputs embed"],
    deterministic: bool,
  ) -> keys_values.KeysValues:
    """Cross-attention keys and values of the encoder's output."""
    return self.encoder_decoder_attention.project(encoded, deterministic)

  def _after_self_attention(
    self,
    x: Float[Array, "sequences length embed"],
    attended: Float[Array, "sequences length embed"],
    memory: keys_values.KeysValues,
    memory_mask: Bool[Array, "batch 1 #length inputs"],
    deterministic: bool,
  ) -> Float[Array, "sequences length embed"]:
    x = layers.add(x, attended, self.dropout, deterministic)
    y = self.encoder_decoder_attention.attend(
      self.pre_cross_attention_layer_norm(x),
      memory,
      memory_mask,
      None,
      deterministic,
    )
    x = layers.add(x, y, self.dropout, deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
    return layers.add(x, y, self.dropout, deterministic)

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
    memory = self.project_memory(encoded, deterministic)
    return self._after_self_attention(x, y, memory, memory_mask, deterministic)

  def step(
    self,
    x: Float[Array, "sequences block embed"],
    cache: keys_values.KeysValues,
    memory: keys_values.KeysValues,
    memory_mask: Bool[Array, "batch 1 1 inputs"],
    position: Int[Array, ""],
    bias: Float[Array, "1 heads block length"],
  ) -> tuple[Float[Array, "sequences block embed"], keys_values.KeysValues]:
    """Applies the layer to the next positions of every sequence."""
    y, cache = self.self_attention.step(
      self.pre_self_attention_layer_norm(x), cache, position, bias
    )
    return self._after_self_attention(x, y, memory, memory_mask, True), cache

  def extend(
    self,
    x: Float[Array, "prefixes 1 embed"],
    cache: keys_values.KeysValues,
    memory: keys_values.KeysValues,
    memory_mask: Bool[Array, "1 1 1 inputs"],
    first: Int[Array, ""],
    paths: Int[Array, "prefixes length"],
    mask: Bool[Array, "prefixes 1 1 length"],
    bias: Float[Array, "prefixes heads 1 length"],
  ) -> tuple[Float[Array, "prefixes 1 embed"], keys_values.KeysValues]:
    """Applies the layer to the newest position of every prefix."""
    y, cache = self.self_attention.extend(
      self.pre_self_attention_layer_norm(x), cache, first, paths, mask, bias
    )
    return self._after_self_attention(x, y, memory, memory_mask, True), cache
