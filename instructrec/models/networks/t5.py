"""The T5 encoder-decoder network, with candidate lists and a decoding cache.

Parameter names, shapes and logical axes are those of the public T5 1.1 and
Flan-T5 checkpoints in T5X form; scanned layers lie stacked under `layers`, on
a first axis of that name. Token id 0 is padding, everywhere.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.networks import (
  decoding_state,
  layers,
  stacks,
  t5_config,
  title_matching,
)

PAD_ID = 0


def _same_segment(
  queries: Int[Array, "batch queries"], keys: Int[Array, "batch keys"]
) -> Bool[Array, "batch 1 queries keys"]:
  return queries[:, None, :, None] == keys[:, None, None, :]


def _positions(
  tokens: Int[Array, "batch inputs"], history: title_matching.Titles | None
) -> Bool[Array, "batch 1 1 positions"]:
  """Positions of the encoder that are no padding."""
  where = tokens != PAD_ID
  if history is not None:
    where = jnp.concatenate([history.where, where], axis=1)
  return where[:, None, None, :]


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

  config: t5_config.T5Config

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.token_embedder = layers.Embed(cfg.vocab_size, cfg.emb_dim, cfg.dtype)
    self.encoder = stacks.Encoder(cfg, self.token_embedder)
    self.decoder = stacks.Decoder(cfg, self.token_embedder)
    if cfg.title_matching:
      self.title_matching = title_matching.TitleMatching(
        cfg, self.token_embedder
      )

  def encode(
    self,
    encoder_input_tokens: Int[Array, "batch inputs"],
    encoder_segment_ids: Int[Array, "batch inputs"] | None = None,
    history: title_matching.Titles | None = None,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "batch positions embed"]:
    """Runs the encoder.

    Args:
      encoder_input_tokens: token ids, 0 is padding.
      encoder_segment_ids: number of the packed example each token belongs to,
        from 1; None when rows are not packed.
      history: items to read before the tokens, one position each. An item sees
        those before it and no token, so that the state after it is that of a
        shorter history; tokens see all.
      enable_dropout: needs the rng collection "dropout".

    Returns:
      The encoder's output; rows of padding hold numbers without meaning.

    Raises:
      ValueError: where a history is given to a network without title vectors.
    """
    if history is not None and not self.config.title_matching:
      raise ValueError(
        "histories were given item by item (history_tokens, history_items) to "
        "a network without title vectors; set TITLE_MATCHING=True, or "
        "HISTORY_LENGTH=0 to read histories as text"
      )
    mask = _positions(encoder_input_tokens, history)
    if encoder_segment_ids is not None:
      mask &= _same_segment(encoder_segment_ids, encoder_segment_ids)
    if history is None:
      return self.encoder(encoder_input_tokens, mask, not enable_dropout)
    num_items, positions = history.items.shape[1], mask.shape[-1]
    position = jnp.arange(positions)
    mask &= (position[:, None] >= num_items) | (
      position[None, :] <= position[:, None]
    )
    return self.encoder(
      encoder_input_tokens,
      mask,
      not enable_dropout,
      self.title_matching.pooled(history, not enable_dropout),
    )

  def memory_mask(
    self,
    encoder_input_tokens: Int[Array, "batch inputs"],
    history: title_matching.Titles | None = None,
    encoder_segment_ids: Int[Array, "batch inputs"] | None = None,
    decoder_segment_ids: Int[Array, "batch length"] | None = None,
  ) -> Bool[Array, "batch 1 #length positions"]:
    """Which positions of the encoder's output the decoder may look at.

    Args:
      encoder_input_tokens: see `encode`.
      history: likewise.
      encoder_segment_ids: likewise.
      decoder_segment_ids: numbers that pair with `encoder_segment_ids`.

    Returns:
      True where it may.

    Raises:
      ValueError: if only one of the segment ids is given, or packed rows have
        several sequences.
    """
    if (decoder_segment_ids is None) != (encoder_segment_ids is None):
      raise ValueError(
        "only one of encoder_segment_ids and decoder_segment_ids was given; "
        "expected both (packed rows) or neither"
      )
    mask = _positions(encoder_input_tokens, history)
    if decoder_segment_ids is not None and encoder_segment_ids is not None:
      batch, sequences = len(encoder_segment_ids), len(decoder_segment_ids)
      if sequences != batch:
        raise ValueError(
          f"packed rows with {sequences} decoder sequences against {batch} "
          "encoder rows; expected one each: candidate lists cannot be packed"
        )
      mask &= _same_segment(decoder_segment_ids, encoder_segment_ids)
    return mask

  def states(
    self,
    encoder_input_tokens: Int[Array, "batch inputs"],
    history: title_matching.Titles | None = None,
  ) -> title_matching.States:
    """What a request asks of titles; see `title_matching.States`.

    Args:
      encoder_input_tokens: see `encode`; neither packed nor with dropout.
      history: likewise.

    Returns:
      Queries, whose products with `title_vectors` are logits.
    """
    encoded = self.encode(
      encoder_input_tokens, history=history, enable_dropout=False
    )
    return self.states_of(encoded, encoder_input_tokens, history)

  def states_of(
    self,
    encoded: Float[Array, "batch positions embed"],
    encoder_input_tokens: Int[Array, "batch inputs"],
    history: title_matching.Titles | None = None,
  ) -> title_matching.States:
    """As `states`, from what the encoder gave."""
    return self.title_matching.states(encoded, encoder_input_tokens, history)

  def title_vectors(
    self, titles: title_matching.Titles, *, enable_dropout: bool = False
  ) -> Float[Array, "*dims embed"]:
    """The vectors of titles, float32; see `title_matching.TitleMatching`."""
    return self.title_matching.vectors(titles, not enable_dropout)

  def popularity_weight(self) -> Float[Array, ""]:
    """See `title_matching.TitleMatching.popularity_weight`."""
    return self.title_matching.popularity_weight

  def features(
    self,
    encoder_input_tokens: Int[Array, "batch inputs"],
    decoder_input_tokens: Int[Array, "sequences length"],
    decoder_target_tokens: Int[Array, "sequences length"],
    encoder_segment_ids: Int[Array, "batch inputs"] | None = None,
    decoder_segment_ids: Int[Array, "sequences length"] | None = None,
    history: title_matching.Titles | None = None,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "sequences length embed"]:
    """Encodes, then decodes whole sequences (teacher forcing), but for logits.

    Args:
      encoder_input_tokens: see `encode`.
      decoder_input_tokens: targets shifted right, 0 first.
      decoder_target_tokens: targets, for their padding.
      encoder_segment_ids: see `encode`.
      decoder_segment_ids: numbers that pair with `encoder_segment_ids`.
      history: see `encode`; not in packed rows.
      enable_dropout: needs the rng collection "dropout".

    Returns:
      Features: position t is what `decoder_target_tokens[:, t]` is predicted
      from.

    Raises:
      ValueError: if `sequences` is no multiple of `batch`, if only one of the
        segment ids is given, or if packed rows have several sequences.
    """
    memory_mask = self.memory_mask(
      encoder_input_tokens, history, encoder_segment_ids, decoder_segment_ids
    )
    encoded = self.encode(
      encoder_input_tokens,
      encoder_segment_ids,
      history,
      enable_dropout=enable_dropout,
    )
    return self.decode(
      encoded,
      memory_mask,
      decoder_input_tokens,
      decoder_target_tokens,
      decoder_segment_ids,
      enable_dropout=enable_dropout,
    )

  def decode(
    self,
    encoded: Float[Array, "batch positions embed"],
    memory_mask: Bool[Array, "batch 1 #length positions"],
    decoder_input_tokens: Int[Array, "sequences length"],
    decoder_target_tokens: Int[Array, "sequences length"],
    decoder_segment_ids: Int[Array, "sequences length"] | None = None,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "sequences length embed"]:
    """As `features`, from what the encoder gave.

    Args:
      encoded: from `encode`.
      memory_mask: its positions that each position may look at.
      decoder_input_tokens: see `features`.
      decoder_target_tokens: likewise.
      decoder_segment_ids: likewise.
      enable_dropout: likewise.

    Returns:
      Features.

    Raises:
      ValueError: if `sequences` is no multiple of `batch`.
    """
    batch = encoded.shape[0]
    sequences, length = decoder_target_tokens.shape
    if sequences % batch:
      raise ValueError(
        f"{sequences} decoder sequences against {batch} encoder rows; expected "
        "a multiple, the sequences of one row next to each other"
      )
    mask = jnp.tril(jnp.ones((length, length), bool))[None, None]
    mask &= (decoder_target_tokens != PAD_ID)[:, None, None, :]
    if decoder_segment_ids is not None:
      mask &= _same_segment(decoder_segment_ids, decoder_segment_ids)
    return self.decoder(
      decoder_input_tokens, encoded, mask, memory_mask, not enable_dropout
    )

  def tree_features(
    self,
    encoder_input_tokens: Int[Array, "batch inputs"],
    decoder_input_tokens: Int[Array, "trees nodes"],
    decoder_positions: Int[Array, "trees nodes"],
    decoder_subtree_ends: Int[Array, "trees nodes"],
    history: title_matching.Titles | None = None,
  ) -> Float[Array, "trees nodes embed"]:
    """As `features`, over trees of prefixes; without packing or dropout.

    There may be several trees a row, next to each other, as there may be
    several sequences.

    Args:
      encoder_input_tokens: see `encode`.
      decoder_input_tokens: newest token of each prefix, in the order of a
        depth-first walk; 0 for the empty prefix.
      decoder_positions: length of each prefix.
      decoder_subtree_ends: one past the last node that continues a prefix.
      history: see `encode`.

    Returns:
      What `logits` turns into predictions of the token after each prefix.
    """
    node = jnp.arange(decoder_input_tokens.shape[1])
    # A node looks at itself and at the prefixes that it continues.
    mask = (node[None, :, None] >= node[None, None, :]) & (
      node[None, :, None] < decoder_subtree_ends[:, None, :]
    )
    return self.decoder(
      decoder_input_tokens,
      self.encode(encoder_input_tokens, history=history, enable_dropout=False),
      mask[:, None],
      _positions(encoder_input_tokens, history),
      True,
      decoder_positions,
    )

  def logits(
    self, features: Float[Array, "sequences length embed"]
  ) -> Float[Array, "sequences length vocab"]:
    """Float32 logits of what `features` and `tree_features` return."""
    return self.decoder.logits(features)

  def logit_factors(
    self, features: Float[Array, "sequences length embed"]
  ) -> tuple[
    Float[Array, "sequences length embed"], Float[Array, "embed vocab"]
  ]:
    """Rows and matrix, both float32, whose product `logits` is."""
    return self.decoder.logit_factors(features)

  def __call__(
    self,
    encoder_input_tokens: Int[Array, "batch inputs"],
    decoder_input_tokens: Int[Array, "sequences length"],
    decoder_target_tokens: Int[Array, "sequences length"],
    encoder_segment_ids: Int[Array, "batch inputs"] | None = None,
    decoder_segment_ids: Int[Array, "sequences length"] | None = None,
    encoder_positions: Int[Array, "batch inputs"] | None = None,
    decoder_positions: Int[Array, "sequences length"] | None = None,
    history: title_matching.Titles | None = None,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "sequences length vocab"]:
    """Float32 logits: position t predicts `decoder_target_tokens[:, t]`.

    Args and errors are those of `features`. Positions are part of T5X's packed
    batches; T5 needs only the differences of positions, and within a packed
    example those are the differences of the array indices. So they are
    accepted and not read.
    """
    del encoder_positions, decoder_positions
    if self.is_initializing() and self.config.title_matching:
      self._make_matching()
    features = self.features(
      encoder_input_tokens,
      decoder_input_tokens,
      decoder_target_tokens,
      encoder_segment_ids,
      decoder_segment_ids,
      history,
      enable_dropout=enable_dropout,
    )
    return self.logits(features)

  def _make_matching(self) -> None:
    """Runs what makes the parameters of `title_matching`."""
    ones = jnp.ones((1, 1, 1), jnp.int32)
    history = title_matching.Titles(ones, ones[0])
    self.title_matching.vectors(history)
    encoded = jnp.zeros((1, 2, self.config.emb_dim))
    self.title_matching.states(encoded, ones[0], history)

  def start_decoding(
    self,
    encoder_input_tokens: Int[Array, "batch inputs"],
    *,
    num_sequences: int,
    max_length: int,
    history: title_matching.Titles | None = None,
  ) -> tuple[decoding_state.DecodingMemory, decoding_state.DecodingCache]:
    """Encodes, projects the encoder's output once and makes an empty cache.

    Args:
      encoder_input_tokens: see `encode`; neither packed nor with dropout.
      num_sequences: sequences decoded at once, a multiple of `batch`.
      max_length: most tokens of a sequence.
      history: see `encode`.

    Returns:
      The memory and the cache for `decode_step`.
    """
    encoded = self.encode(
      encoder_input_tokens, history=history, enable_dropout=False
    )
    memory = decoding_state.DecodingMemory(
      layers=self.decoder.project_memory(encoded),
      mask=_positions(encoder_input_tokens, history),
    )
    cache = decoding_state.empty_cache(self.config, num_sequences, max_length)
    return memory, cache

  def decode_step(
    self,
    tokens: Int[Array, "sequences"],
    cache: decoding_state.DecodingCache,
    memory: decoding_state.DecodingMemory,
  ) -> tuple[Float[Array, "sequences vocab"], decoding_state.DecodingCache]:
    """Logits of the next token after `tokens`, and the longer cache.

    Args:
      tokens: the newest token of each sequence; 0 starts a sequence.
      cache: from `start_decoding` or the last step.
      memory: from `start_decoding`.

    Returns:
      Float32 logits and the cache.
    """
    return self.decoder.step(tokens, cache, memory)

  def extend_prefixes(
    self,
    tokens: Int[Array, "prefixes"],
    paths: Int[Array, "prefixes length"],
    depths: Int[Array, "prefixes"],
    cache: decoding_state.DecodingCache,
    memory: decoding_state.DecodingMemory,
  ) -> tuple[Float[Array, "prefixes vocab"], decoding_state.DecodingCache]:
    """Logits after prefixes of one input, of any lengths.

    The cache is that of one sequence whose "positions" are slots: each prefix
    has the keys and values of its last token in a slot of its own, and finds
    those of its earlier tokens in the slots of the prefixes that it continues.

    Args:
      tokens: the last token of each prefix; 0 for the empty prefix.
      paths: slots of the prefix's beginnings, from the empty one to itself;
        the new prefixes have the slots from `cache.position` on. What stands
        past `depths` is not read.
      depths: length of each prefix.
      cache: from `start_decoding` with one sequence, or the last call.
      memory: from `start_decoding`.

    Returns:
      Float32 logits and the cache.
    """
    return self.decoder.extend(tokens, paths, depths, cache, memory)
