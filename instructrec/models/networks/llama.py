"""LLaMA-style networks: decoder-only, in rows or against a memory of prompts.

Root-mean-square norms, SwiGLU, rotary positions, grouped-query attention. The
memory of a prompt is the keys and values of its tokens but the last, which
stands where a target begins: the first token of an answer is predicted from
it. So a row of prompt and answer, and an answer against its prompt's memory,
have the same features.
"""

from typing import Any

import flax.struct
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.networks import (
  decoding_state,
  grouped_attention,
  keys_values,
  layer_loop,
  layers,
  llama_config,
  network,
  network_module,
  rotary,
)
from instructrec.models.networks.grouped_attention import Source


@flax.struct.dataclass
class PromptMemory:
  """What a decoder-only network keeps of prompts.

  Attributes:
    layers: keys and values of all positions, one entry a layer; with scanned
      layers one entry of arrays that lead with the axis "layers".
    output: features of all positions.
    prompt: what was read.
  """

  layers: decoding_state.PerLayer
  output: Float[Array, "batch positions embed"]
  prompt: network.Prompt

  @property
  def mask(self) -> Bool[Array, "batch 1 1 positions"]:
    """What answers look at: all but the last token, which they begin with."""
    where = self.prompt.where
    before = jnp.arange(where.shape[1]) < self.prompt.last[:, None]
    return (where & before)[:, None, None, :]

  def start(
    self,
    tokens: Int[Array, "sequences length"],
    depths: Int[Array, "#sequences length"],
  ) -> tuple[Int[Array, "sequences length"], Int[Array, "sequences length"]]:
    """What stands behind the prompts: tokens and their positions.

    Args:
      tokens: newest token of each prefix of an answer, read where there is one.
      depths: length of each prefix, 0 for the empty one.

    Returns:
      The tokens, the prompt's last for the empty prefix; and their positions.
    """
    per_prompt = len(tokens) // len(self.output)
    ends = self.prompt.last[:, None]
    newest = jnp.take_along_axis(
      self.prompt.tokens, ends - self.prompt.num_items, axis=1
    )
    ends, newest = (jnp.repeat(x, per_prompt, axis=0) for x in (ends, newest))
    return jnp.where(depths == 0, newest, tokens), ends + depths


class LlamaLayer(nn.Module):
  """Attention and feed-forward block, each with a residual around it.

  Attributes:
    config: sizes and numerics.
  """

  config: llama_config.LlamaConfig

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.pre_self_attention_layer_norm = layers.RMSNorm(
      cfg.dtype, cfg.norm_epsilon
    )
    self.self_attention = grouped_attention.GroupedAttention(cfg)
    self.pre_mlp_layer_norm = layers.RMSNorm(cfg.dtype, cfg.norm_epsilon)
    self.mlp = layers.GatedMlp(cfg)
    self.dropout = nn.Dropout(cfg.dropout_rate, broadcast_dims=(-2,))

  def __call__(
    self,
    x: Float[Array, "sequences length embed"],
    rotation: rotary.Rotation,
    look: grouped_attention.Look,
    deterministic: bool,
  ) -> tuple[Float[Array, "sequences length embed"], Any]:
    """Applies the layer; see `grouped_attention.GroupedAttention`."""
    y, kept = self.self_attention(
      self.pre_self_attention_layer_norm(x), rotation, look, deterministic
    )
    x = layers.add(x, y, self.dropout, deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
    return layers.add(x, y, self.dropout, deterministic), kept


class LlamaDecoder(nn.Module):
  """The stack and its logits.

  Attributes:
    config: sizes and numerics.
    token_embedder: the table of tokens.
  """

  config: llama_config.LlamaConfig
  token_embedder: layers.Embed

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.layers = layer_loop.make(LlamaLayer, cfg, cfg.num_decoder_layers)
    self.decoder_norm = layers.RMSNorm(cfg.dtype, cfg.norm_epsilon)
    self.logits_dense = layers.Logits(cfg, self.token_embedder)

  def __call__(
    self,
    x: Float[Array, "sequences length embed"],
    positions: Int[Array, "#sequences length"],
    look: Any,
    own: Any,
    deterministic: bool,
  ) -> tuple[Float[Array, "sequences length embed"], Any]:
    """Takes vectors through all layers.

    Args:
      x: vectors of tokens, and of items.
      positions: where they stand.
      look: called with a layer's new keys and values and with what the layer
        has for itself; see `grouped_attention.Look`.
      own: what each layer has for itself; see `layer_loop.through`.
      deterministic: True switches dropout off.

    Returns:
      Features that logits are made of, and what the layers keep.
    """
    cfg = self.config
    rotation = rotary.rotation(
      positions,
      head_dim=cfg.head_dim,
      theta=cfg.rope_theta,
      scaling=cfg.rope_scaling,
    )

    def through(layer: LlamaLayer, x: Array, own: Any) -> tuple[Array, Any]:
      return layer(x, rotation, lambda new: look(new, own), deterministic)

    x, kept = layer_loop.through(
      through, self.layers, x, own, config=cfg, count=cfg.num_decoder_layers
    )
    return self.decoder_norm(x), kept


class Llama(network_module.NetworkModule):
  """A LLaMA-style network as a Flax module: a `network.Network`.

  Attributes:
    config: sizes and numerics.

  Example:
    >>> module = Llama(llama_config.LlamaConfig(vocab_size=128, emb_dim=32))
    >>> prompt = network.Prompt(tokens)
    >>> targets = network.Targets(shifted, targets)
    >>> variables = module.init(rng, prompt, targets)
    >>> logits = module.apply(variables, prompt, targets, enable_dropout=False)
  """

  config: llama_config.LlamaConfig

  reads_rows = True

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.token_embedder = layers.Embed(
      cfg.vocab_size,
      cfg.emb_dim,
      cfg.dtype,
      # Of unit variance where logits are made of it.
      embedding_init=nn.initializers.normal(cfg.emb_dim**-0.5),
      adapter=cfg.adapter,
    )
    self.decoder = LlamaDecoder(cfg, self.token_embedder)
    self.make_heads()

  def _check_length(self, length: int) -> None:
    if length > self.config.max_length:
      raise ValueError(
        f"rows of {length} positions, but the network was made for "
        f"{self.config.max_length} (LlamaConfig.max_length); shorten them, or "
        "train for longer ones"
      )

  def read(
    self, prompt: network.Prompt, *, enable_dropout: bool = True
  ) -> PromptMemory:
    """Reads prompts; see `network.Network`."""
    if prompt.segment_ids is not None:
      raise ValueError(
        "the batch has encoder_segment_ids: packed prompts apart from their "
        "answers; a decoder-only network packs rows that hold both, without "
        "encoder_input_tokens"
      )
    x = self.token_embedder(prompt.tokens)
    if prompt.history is not None:
      items = self.read_items(prompt.history, enable_dropout)
      x = jnp.concatenate([items.astype(x.dtype), x], axis=1)
    length = x.shape[1]
    self._check_length(length)
    mask = jnp.tril(jnp.ones((length, length), bool))[None, None]
    mask &= prompt.where[:, None, None, :]
    output, kept = self.decoder(
      x,
      jnp.arange(length)[None],
      lambda new, _: ((Source(new, mask),), new),
      None,
      not enable_dropout,
    )
    return PromptMemory(layers=kept, output=output, prompt=prompt)

  def features(
    self,
    memory: PromptMemory | None,
    targets: network.Targets,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "sequences length embed"]:
    """Reads whole targets, or rows; see `network.Network`."""
    depths = jnp.arange(targets.tokens.shape[1])[None]
    if memory is not None:
      if targets.segment_ids is not None:
        raise ValueError(
          "the batch has decoder_segment_ids beside encoder_input_tokens; "
          "expected packed rows that hold prompt and answer, or neither packed"
        )
      return self._answers(
        memory, targets.inputs, depths, targets.mask, not enable_dropout
      )
    self._check_length(depths.size)
    # Within a packed example, positions differ as those of the row do.
    features, _ = self.decoder(
      self.token_embedder(targets.inputs),
      depths,
      lambda new, _: ((Source(new, targets.mask),), None),
      None,
      not enable_dropout,
    )
    return features

  def tree_features(
    self, memory: PromptMemory, tree: network.Tree
  ) -> Float[Array, "trees nodes embed"]:
    """Reads trees of prefixes; see `network.Network`."""
    return self._answers(memory, tree.tokens, tree.depths, tree.mask, True)

  def _answers(
    self,
    memory: PromptMemory,
    tokens: Int[Array, "sequences length"],
    depths: Int[Array, "#sequences length"],
    mask: Bool[Array, "sequences 1 length length"],
    deterministic: bool,
  ) -> Float[Array, "sequences length embed"]:
    """Features of what stands behind prompts and looks at itself by `mask`."""
    network.check_multiple(len(tokens), len(memory.output))
    tokens, positions = memory.start(tokens, depths)
    features, _ = self.decoder(
      self.token_embedder(tokens),
      positions,
      lambda new, prompt: (
        (Source(prompt, memory.mask), Source(new, mask)),
        None,
      ),
      memory.layers,
      deterministic,
    )
    return features

  def start_decoding(
    self, memory: PromptMemory, *, sequences_per_prompt: int, max_length: int
  ) -> tuple[PromptMemory, decoding_state.DecodingCache]:
    """Makes an empty cache; see `network.Network`."""
    num_sequences = len(memory.output) * sequences_per_prompt
    cache = decoding_state.empty_cache(
      self.config, num_sequences, max_length, self.config.kv_heads
    )
    return memory, cache

  def decode_block(
    self,
    tokens: Int[Array, "sequences block"],
    cache: decoding_state.DecodingCache,
    memory: PromptMemory,
  ) -> tuple[
    Float[Array, "sequences block embed"], decoding_state.DecodingCache
  ]:
    """Decodes the next tokens of each sequence; see `network.Network`."""
    position, block = cache.position, tokens.shape[1]
    mask = keys_values.causal(position, block, cache.length)

    def look(new: keys_values.KeysValues, own: Any) -> Any:
      kept, prompt = own
      kept = keys_values.write(kept, new, position)
      own_source = Source(kept, mask, filled=position + block)
      return (Source(prompt, memory.mask), own_source), kept

    depths = position + jnp.arange(block)[None]
    features, kept = self._continued(tokens, depths, cache, memory, look)
    return features, decoding_state.DecodingCache(kept, position + block)

  def extend_prefixes(
    self,
    tokens: Int[Array, " prefixes"],
    paths: Int[Array, "prefixes length"],
    depths: Int[Array, " prefixes"],
    cache: decoding_state.DecodingCache,
    memory: PromptMemory,
  ) -> tuple[Float[Array, "prefixes vocab"], decoding_state.DecodingCache]:
    """Decodes the last token of each prefix; see `network.Network`."""
    mask = jnp.arange(paths.shape[1]) <= depths[:, None]
    mask = mask[:, None, None, :]

    def look(new: keys_values.KeysValues, own: Any) -> Any:
      kept, prompt = own
      kept = keys_values.write_slots(kept, new, cache.position)
      along = keys_values.along(kept, paths)
      return (Source(prompt, memory.mask), Source(along, mask)), kept

    features, kept = self._continued(
      tokens[:, None], depths[:, None], cache, memory, look
    )
    return self.logits(features)[:, 0], decoding_state.DecodingCache(
      kept, cache.position + len(tokens)
    )

  def _continued(
    self,
    tokens: Int[Array, "sequences block"],
    depths: Int[Array, "#sequences block"],
    cache: decoding_state.DecodingCache,
    memory: PromptMemory,
    look: Any,
  ) -> tuple[Float[Array, "sequences block embed"], decoding_state.PerLayer]:
    """Features of the next tokens of each sequence, and what layers keep."""
    tokens, positions = memory.start(tokens, depths)
    return self.decoder(
      self.token_embedder(tokens),
      positions,
      look,
      layer_loop.paired(self.config, cache.layers, memory.layers),
      True,
    )
