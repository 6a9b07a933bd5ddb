"""The encoder and decoder stacks.

A stack holds its layers one by one (`layers_0`, `layers_1` ...), as public
checkpoints do, or stacked (`layers`, every parameter with a leading axis
"layers"), which compiles in a time that does not grow with depth. Both compute
the same; `_through_layers` is the only place that knows the difference.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import partitioning
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.networks import (
  attention,
  decoding_state,
  layers,
  relative_positions,
  t5_config,
  transformer_layers,
)

# (layer, x, what is this layer's own) -> (x, what the layer gives)
_LayerFn = Callable[[Any, Array, Any], tuple[Array, Any]]

_REMAT_POLICIES = {
  "minimal": jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
  "full": jax.checkpoint_policies.nothing_saveable,
}


def _make_layers(layer_cls: Any, config: t5_config.T5Config, count: int):
  """What a stack's attribute `layers` holds: a list, or one for all."""
  if config.scan_layers:
    return layer_cls(config)
  return [layer_cls(config) for _ in range(count)]


def _through_layers(
  layer_fn: _LayerFn,
  layers: Any,
  x: Array,
  own: Any,
  *,
  config: t5_config.T5Config,
  count: int,
) -> tuple[Array, Any]:
  """Takes `x` through all layers of a stack.

  Args:
    layer_fn: applies one layer.
    layers: from `_make_layers`.
    x: enters the first layer.
    own: what each layer has for itself, one entry a layer, with scanned layers
      stacked; None where they have nothing.
    config: says whether layers are scanned, and what is recomputed.
    count: number of layers.

  Returns:
    What leaves the last layer, and what the layers give, laid out as `own`.
  """
  if config.remat_policy != "none":
    layer_fn = nn.remat(
      layer_fn,
      policy=_REMAT_POLICIES[config.remat_policy],
      # A scan's body is compiled once: there is nothing to merge with.
      prevent_cse=not config.scan_layers,
    )
  if config.scan_layers:
    scan = partitioning.scan_with_axes(
      layer_fn,
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": True},
      length=count,
      axis_name="layers",
    )
    return scan(layers, x, own)
  given = []
  for layer, entry in zip(layers, own or (None,) * count, strict=True):
    x, result = layer_fn(layer, x, entry)
    given.append(result)
  return x, tuple(given)


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
    self.layers = _make_layers(
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

    x, _ = _through_layers(
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
  """The decoder stack and the logits.

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
    self.layers = _make_layers(
      transformer_layers.DecoderLayer, cfg, cfg.num_decoder_layers
    )
    self.decoder_norm = layers.RMSNorm(cfg.dtype)
    self.dropout = nn.Dropout(cfg.dropout_rate, broadcast_dims=(-2,))
    if not cfg.logits_via_embedding:
      # Logits are float32 whatever the activations are, for stability.
      self.logits_dense = layers.Dense(
        cfg.vocab_size, ("embed", "vocab"), dtype=jnp.float32
      )

  def logits(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims vocab"]:
    """Float32 logits of what the stack gives."""
    if self.config.logits_via_embedding:
      return self.token_embedder.attend(self._rescaled(features))
    return self.logits_dense(features)

  def logit_factors(
    self, features: Float[Array, "*dims embed"]
  ) -> tuple[Float[Array, "*dims embed"], Float[Array, "embed vocab"]]:
    """Rows and matrix, both float32, whose product `logits` is."""
    if self.config.logits_via_embedding:
      return self._rescaled(features), self.token_embedder.embedding.T
    kernel: Array = self.logits_dense.get_variable("params", "kernel")
    return features.astype(jnp.float32), kernel

  def _rescaled(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims embed"]:
    # Undoes the unit variance of the shared table.
    return features.astype(jnp.float32) / jnp.sqrt(self.config.emb_dim)

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
    """Features that `logits` predicts the token after each of `tokens` from.

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
    self, layer_fn: _LayerFn, x: Array, own: Any
  ) -> tuple[Array, Any]:
    return _through_layers(
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
    ) -> tuple[Array, attention.KeysValues]:
      return encoded, layer.project_memory(encoded)

    return self._through_layers(through, encoded, None)[1]

  def _paired(self, cache: Any, memory: Any) -> Any:
    """What each layer keeps and asks, laid out for `_through_layers`."""
    own: Any = (cache, memory)
    return own if self.config.scan_layers else tuple(zip(*own, strict=True))

  def step(
    self,
    tokens: Int[Array, "sequences"],
    cache: decoding_state.DecodingCache,
    memory: decoding_state.DecodingMemory,
  ) -> tuple[Float[Array, "sequences vocab"], decoding_state.DecodingCache]:
    """Logits after one more token, and the cache with that token in it."""
    x = self.token_embedder(tokens[:, None])
    bias = self.relpos_bias.row(cache.position, cache.length)

    def through(
      layer: transformer_layers.DecoderLayer,
      x: Array,
      own: tuple[attention.KeysValues, attention.KeysValues],
    ) -> tuple[Array, attention.KeysValues]:
      kept, asked = own
      return layer.step(x, kept, asked, memory.mask, cache.position, bias)

    x, entries = self._through_layers(
      through, x, self._paired(cache.layers, memory.layers)
    )
    logits = self.logits(self._normed(x, True))[:, 0]
    return logits, decoding_state.DecodingCache(entries, cache.position + 1)

  def extend(
    self,
    tokens: Int[Array, "prefixes"],
    paths: Int[Array, "prefixes length"],
    depths: Int[Array, "prefixes"],
    cache: decoding_state.DecodingCache,
    memory: decoding_state.DecodingMemory,
  ) -> tuple[Float[Array, "prefixes vocab"], decoding_state.DecodingCache]:
    """Logits after each prefix, and the cache with the prefixes in it."""
    x = self.token_embedder(tokens[:, None])
    position = jnp.arange(paths.shape[1])[None, :]
    bias = self.relpos_bias.between(depths[:, None], position)
    mask = (position <= depths[:, None])[:, None, None, :]

    def through(
      layer: transformer_layers.DecoderLayer,
      x: Array,
      own: tuple[attention.KeysValues, attention.KeysValues],
    ) -> tuple[Array, attention.KeysValues]:
      kept, asked = own
      return layer.extend(
        x, kept, asked, memory.mask, cache.position, paths, mask, bias
      )

    x, entries = self._through_layers(
      through, x, self._paired(cache.layers, memory.layers)
    )
    logits = self.logits(self._normed(x, True))[:, 0]
    return logits, decoding_state.DecodingCache(
      entries, cache.position + len(tokens)
    )
