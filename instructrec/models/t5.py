"""The T5 encoder-decoder network, with candidate lists and a decoding cache.

Parameter names, shapes and logical axes are those of the public T5 1.1 and
Flan-T5 checkpoints in T5X form. Token id 0 is padding, everywhere.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from instructrec.models import attention
from instructrec.models import config as config_lib
from instructrec.models import layers, relative_positions

PAD_ID = 0


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
    return self.replace(
      layers=jax.tree.map(lambda x: jnp.take(x, sequences, axis=0), self.layers)
    )


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


def _same_segment(
  queries: Int[Array, "batch queries"], keys: Int[Array, "batch keys"]
) -> Bool[Array, "batch 1 queries keys"]:
  return queries[:, None, :, None] == keys[:, None, None, :]


class T5(nn.Module):
  """T5 as a Flax module.

  Decoder sequences may be a multiple of the encoder's rows: sequences
  i * n .. i * n + n - 1 then belong to row i, and all n ask the same keys and
  values. This is how candidates and beams share one encoder pass.

  Attributes:
    config: sizes and numerics.

  Example:
    >>> module = T5(config.T5Config(vocab_size=128, emb_dim=32))
    >>> variables = module.init(rng, inputs, shifted_targets, targets)
    >>> logits = module.apply(
    ...   variables, inputs, shifted_targets, targets, enable_dropout=False
    ... )
  """

  config: config_lib.T5Config

  def setup(self):
    cfg = self.config
    self.token_embedder = layers.Embed(cfg.vocab_size, cfg.emb_dim, cfg.dtype)
    self.encoder = Encoder(cfg, self.token_embedder)
    self.decoder = Decoder(cfg, self.token_embedder)

  def encode(
    self,
    encoder_input_tokens: Int[Array, "batch inputs"],
    encoder_segment_ids: Int[Array, "batch inputs"] | None = None,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "batch inputs embed"]:
    """Runs the encoder.

    Args:
      encoder_input_tokens: token ids, 0 is padding.
      encoder_segment_ids: number of the packed example each token belongs to,
        from 1; None when rows are not packed.
      enable_dropout: needs the rng collection "dropout".

    Returns:
      The encoder's output; rows of padding hold numbers without meaning.
    """
    mask = (encoder_input_tokens != PAD_ID)[:, None, None, :]
    if encoder_segment_ids is not None:
      mask &= _same_segment(encoder_segment_ids, encoder_segment_ids)
    return self.encoder(encoder_input_tokens, mask, not enable_dropout)

  def decode(
    self,
    encoded: Float[Array, "batch inputs embed"],
    encoder_input_tokens: Int[Array, "batch inputs"],
    decoder_input_tokens: Int[Array, "sequences length"],
    decoder_target_tokens: Int[Array, "sequences length"],
    encoder_segment_ids: Int[Array, "batch inputs"] | None = None,
    decoder_segment_ids: Int[Array, "sequences length"] | None = None,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "sequences length vocab"]:
    """Runs the decoder over whole sequences (teacher forcing).

    Args:
      encoded: result of `encode`.
      encoder_input_tokens: what was encoded, for its padding.
      decoder_input_tokens: targets shifted right, 0 first.
      decoder_target_tokens: targets, for their padding.
      encoder_segment_ids: as for `encode`.
      decoder_segment_ids: numbers that pair with `encoder_segment_ids`.
      enable_dropout: needs the rng collection "dropout".

    Returns:
      Float32 logits: position t predicts `decoder_target_tokens[:, t]`.

    Raises:
      ValueError: if `sequences` is no multiple of `batch`, if only one of the
        segment ids is given, or if packed rows have several sequences.
    """
    batch = encoder_input_tokens.shape[0]
    sequences, length = decoder_target_tokens.shape
    if sequences % batch:
      raise ValueError(
        f"{sequences} decoder sequences against {batch} encoder rows; expected "
        "a multiple, the sequences of one row next to each other"
      )
    packed = decoder_segment_ids is not None
    if packed != (encoder_segment_ids is not None):
      raise ValueError(
        "only one of encoder_segment_ids and decoder_segment_ids was given; "
        "expected both (packed rows) or neither"
      )
    if packed and sequences != batch:
      raise ValueError(
        f"packed rows with {sequences} decoder sequences against {batch} "
        "encoder rows; expected one each: candidate lists cannot be packed"
      )
    mask = jnp.tril(jnp.ones((length, length), bool))[None, None]
    mask &= (decoder_target_tokens != PAD_ID)[:, None, None, :]
    memory_mask = (encoder_input_tokens != PAD_ID)[:, None, None, :]
    if packed:
      mask &= _same_segment(decoder_segment_ids, decoder_segment_ids)
      memory_mask &= _same_segment(decoder_segment_ids, encoder_segment_ids)
    return self.decoder(
      decoder_input_tokens, encoded, mask, memory_mask, not enable_dropout
    )

  def __call__(
    self,
    encoder_input_tokens: Int[Array, "batch inputs"],
    decoder_input_tokens: Int[Array, "sequences length"],
    decoder_target_tokens: Int[Array, "sequences length"],
    encoder_segment_ids: Int[Array, "batch inputs"] | None = None,
    decoder_segment_ids: Int[Array, "sequences length"] | None = None,
    encoder_positions: Int[Array, "batch inputs"] | None = None,
    decoder_positions: Int[Array, "sequences length"] | None = None,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "sequences length vocab"]:
    """Encodes, then decodes whole sequences: see `encode` and `decode`.

    Positions are part of T5X's packed batches; T5 needs only the differences
    of positions, and within a packed example those are the differences of
    the array indices. So they are accepted and not read.
    """
    del encoder_positions, decoder_positions
    encoded = self.encode(
      encoder_input_tokens, encoder_segment_ids, enable_dropout=enable_dropout
    )
    return self.decode(
      encoded,
      encoder_input_tokens,
      decoder_input_tokens,
      decoder_target_tokens,
      encoder_segment_ids,
      decoder_segment_ids,
      enable_dropout=enable_dropout,
    )

  def start_decoding(
    self,
    encoded: Float[Array, "batch inputs embed"],
    encoder_input_tokens: Int[Array, "batch inputs"],
    *,
    num_sequences: int,
    max_length: int,
  ) -> tuple[DecodingMemory, DecodingCache]:
    """Projects the encoder's output once and makes an empty cache.

    Args:
      encoded: result of `encode`, without packing.
      encoder_input_tokens: what was encoded.
      num_sequences: sequences decoded at once, a multiple of `batch`.
      max_length: most tokens of a sequence.

    Returns:
      The memory and the cache for `decode_step`.
    """
    cfg = self.config
    memory = DecodingMemory(
      layers=self.decoder.project_memory(encoded),
      mask=(encoder_input_tokens != PAD_ID)[:, None, None, :],
    )
    shape = (num_sequences, max_length, cfg.num_heads, cfg.head_dim)
    empty = attention.KeysValues(
      keys=jnp.zeros(shape, cfg.dtype), values=jnp.zeros(shape, cfg.dtype)
    )
    cache = DecodingCache(
      layers=(empty,) * cfg.num_decoder_layers,
      position=jnp.zeros((), jnp.int32),
    )
    return memory, cache

  def decode_step(
    self,
    tokens: Int[Array, "sequences"],
    cache: DecodingCache,
    memory: DecodingMemory,
  ) -> tuple[Float[Array, "sequences vocab"], DecodingCache]:
    """Logits of the next token after `tokens`, and the longer cache.

    Args:
      tokens: the newest token of each sequence; 0 starts a sequence.
      cache: from `start_decoding` or the last step.
      memory: from `start_decoding`.

    Returns:
      Float32 logits and the cache.
    """
    return self.decoder.step(tokens, cache, memory)
