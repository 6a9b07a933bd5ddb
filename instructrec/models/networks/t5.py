"""The T5 encoder-decoder network, with candidate lists and a decoding cache.

Parameter names, shapes and logical axes are those of the public T5 1.1 and
Flan-T5 checkpoints in T5X form; scanned layers lie stacked under `layers`, on
a first axis of that name. Token id 0 is padding, everywhere.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.networks import (
  decoding_state,
  layers,
  network,
  network_module,
  stacks,
  t5_config,
)


@flax.struct.dataclass
class Encoded:
  """T5's memory of prompts.

  Attributes:
    output: of the encoder; rows of padding hold numbers without meaning.
    prompt: what it read.
  """

  output: Float[Array, "batch positions embed"]
  prompt: network.Prompt

  @property
  def mask(self) -> Bool[Array, "batch 1 1 positions"]:
    """The positions that may be looked at."""
    return self.prompt.where[:, None, None, :]


class T5(network_module.NetworkModule):
  """T5 as a Flax module: a `network.Network`.

  Attributes:
    config: sizes and numerics.

  Example:
    >>> module = T5(t5_config.T5Config(vocab_size=128, emb_dim=32))
    >>> prompt = network.Prompt(tokens)
    >>> targets = network.Targets(shifted, targets)
    >>> variables = module.init(rng, prompt, targets)
    >>> logits = module.apply(variables, prompt, targets, enable_dropout=False)
  """

  config: t5_config.T5Config

  reads_rows = False

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.token_embedder = layers.Embed(
      cfg.vocab_size, cfg.emb_dim, cfg.dtype, adapter=cfg.adapter
    )
    self.encoder = stacks.Encoder(cfg, self.token_embedder)
    self.decoder = stacks.Decoder(cfg, self.token_embedder)
    self.make_heads()

  def read(
    self, prompt: network.Prompt, *, enable_dropout: bool = True
  ) -> Encoded:
    """Runs the encoder; see `network.Network`.

    An item of a history sees those before it and no token, so that the state
    after it is that of a shorter history; tokens see all.
    """
    mask = prompt.where[:, None, None, :]
    if prompt.segment_ids is not None:
      mask &= network.same_segment(prompt.segment_ids, prompt.segment_ids)
    items = None
    if prompt.history is not None:
      position = jnp.arange(mask.shape[-1])
      mask &= (position[:, None] >= prompt.num_items) | (
        position[None, :] <= position[:, None]
      )
      items = self.read_items(prompt.history, enable_dropout)
    output = self.encoder(prompt.tokens, mask, not enable_dropout, items)
    return Encoded(output, prompt)

  def features(
    self,
    memory: Encoded | None,
    targets: network.Targets,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "sequences length embed"]:
    """Runs the decoder over whole targets; see `network.Network`."""
    if memory is None:
      raise ValueError(
        "the batch has no encoder_input_tokens; expected them beside the "
        "targets: T5 reads no rows that hold prompt and answer"
      )
    network.check_multiple(len(targets.tokens), len(memory.output))
    return self.decoder(
      targets.inputs,
      memory.output,
      targets.mask,
      _memory_mask(memory, targets),
      not enable_dropout,
    )

  def tree_features(
    self, memory: Encoded, tree: network.Tree
  ) -> Float[Array, "trees nodes embed"]:
    """Runs the decoder over trees of prefixes; see `network.Network`."""
    return self.decoder(
      tree.tokens, memory.output, tree.mask, memory.mask, True, tree.depths
    )

  def start_decoding(
    self, memory: Encoded, *, sequences_per_prompt: int, max_length: int
  ) -> tuple[decoding_state.DecodingMemory, decoding_state.DecodingCache]:
    """Projects the encoder's output once; see `network.Network`."""
    projected = decoding_state.DecodingMemory(
      layers=self.decoder.project_memory(memory.output), mask=memory.mask
    )
    num_sequences = len(memory.output) * sequences_per_prompt
    cache = decoding_state.empty_cache(
      self.config, num_sequences, max_length, self.config.num_heads
    )
    return projected, cache

  def decode_block(
    self,
    tokens: Int[Array, "sequences block"],
    cache: decoding_state.DecodingCache,
    memory: decoding_state.DecodingMemory,
  ) -> tuple[
    Float[Array, "sequences block embed"], decoding_state.DecodingCache
  ]:
    """Decodes the next tokens of each sequence; see `network.Network`."""
    return self.decoder.step(tokens, cache, memory)

  def extend_prefixes(
    self,
    tokens: Int[Array, " prefixes"],
    paths: Int[Array, "prefixes length"],
    depths: Int[Array, " prefixes"],
    cache: decoding_state.DecodingCache,
    memory: decoding_state.DecodingMemory,
  ) -> tuple[Float[Array, "prefixes vocab"], decoding_state.DecodingCache]:
    """Decodes the last token of each prefix; see `network.Network`."""
    features, longer = self.decoder.extend(tokens, paths, depths, cache, memory)
    return self.logits(features)[:, 0], longer


def _memory_mask(
  memory: Encoded, targets: network.Targets
) -> Bool[Array, "batch 1 #length positions"]:
  """What targets look at: of packed prompts, that of their own example."""
  theirs, ours = memory.prompt.segment_ids, targets.segment_ids
  if (theirs is None) != (ours is None):
    raise ValueError(
      "only one of encoder_segment_ids and decoder_segment_ids was given; "
      "expected both (packed rows) or neither"
    )
  if theirs is None or ours is None:
    return memory.mask
  if len(theirs) != len(ours):
    raise ValueError(
      f"packed rows with {len(ours)} decoder sequences against {len(theirs)} "
      "encoder rows; expected one each: candidate lists cannot be packed"
    )
  return memory.mask & network.same_segment(ours, theirs)
