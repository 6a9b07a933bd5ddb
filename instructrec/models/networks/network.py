"""The seam of networks: what predicts tokens, whatever it is inside.

A prompt is read once. What reading gives, the network's own `memory`, is then
asked in any of four ways, by any number of targets, beams or samples:

  memory = read(prompt)
  features(memory, targets)          whole targets
  tree_features(memory, tree)        targets that share their beginnings
  start_decoding(memory, ...), decode_step(...)        token by token,
                               decode_block(...)       or several at once
  start_decoding(memory, ...), extend_prefixes(...)    prefixes of any lengths

T5's memory is what its encoder gives; that of a decoder-only network the keys
and values of the prompt. A target begins with `PAD_ID` to all of them: the
start token of T5, and to a decoder-only network the last token of the prompt.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

PAD_ID = 0
# A network's own: what it keeps of a prompt, and of sequences as they grow.
Memory = Any
Cache = Any


@flax.struct.dataclass
class Titles:
  """Titles of items, as tokens and as numbers.

  Attributes:
    tokens: pieces of each title, without an end token; `PAD_ID` is padding,
      and a slot of padding has nothing else.
    items: number of each item, from 1; 0 for one without a number.
  """

  tokens: Int[Array, "*dims length"]
  items: Int[Array, "*dims"]

  @classmethod
  def of(cls, arrays: Mapping[str, Array], name: str) -> "Titles | None":
    """`<name>_tokens` with `<name>_items` of a batch; None where it has none.

    Args:
      arrays: see `models.protocol`.
      name: "history" or "choice".
    """
    if f"{name}_tokens" not in arrays:
      return None
    return cls(tokens=arrays[f"{name}_tokens"], items=arrays[f"{name}_items"])

  @property
  def where(self) -> Bool[Array, "*dims"]:
    """Which slots hold a title."""
    return self.tokens[..., 0] != PAD_ID

  def flat(self) -> "Titles":
    """The same titles along one axis."""
    length = self.tokens.shape[-1]
    return Titles(self.tokens.reshape(-1, length), self.items.reshape(-1))


@flax.struct.dataclass
class Prompt:
  """What a network reads before it answers.

  Attributes:
    tokens: token ids, `PAD_ID` where padded, which is at the end.
    history: items to read before the tokens, one position each; None where the
      history is text.
    segment_ids: number of the packed example each token belongs to, from 1;
      None where rows are not packed.
  """

  tokens: Int[Array, "batch inputs"]
  history: Titles | None = None
  segment_ids: Int[Array, "batch inputs"] | None = None

  @classmethod
  def of(cls, arrays: Mapping[str, Array]) -> "Prompt | None":
    """The prompts of a batch; None where its rows hold prompt and answer.

    Args:
      arrays: see `models.protocol`.
    """
    if "encoder_input_tokens" not in arrays:
      return None
    return cls(
      tokens=arrays["encoder_input_tokens"],
      history=Titles.of(arrays, "history"),
      segment_ids=arrays.get("encoder_segment_ids"),
    )

  @property
  def where(self) -> Bool[Array, "batch positions"]:
    """Positions that are no padding: those of items, then those of tokens."""
    where = self.tokens != PAD_ID
    if self.history is None:
      return where
    return jnp.concatenate([self.history.where, where], axis=1)

  @property
  def num_items(self) -> int:
    """Positions before those of the tokens."""
    return 0 if self.history is None else self.history.items.shape[1]

  @property
  def last(self) -> Int[Array, " batch"]:
    """The position of each row's last token."""
    ends = jnp.maximum((self.tokens != PAD_ID).sum(1) - 1, 0)
    return self.num_items + ends


@flax.struct.dataclass
class Targets:
  """Whole sequences, to be predicted token by token.

  Attributes:
    inputs: what stands before each token: the tokens, one step later,
      `PAD_ID` first.
    tokens: token ids, `PAD_ID` where padded.
    segment_ids: numbers that pair with those of the prompts; None where rows
      are not packed.
  """

  inputs: Int[Array, "sequences length"]
  tokens: Int[Array, "sequences length"]
  segment_ids: Int[Array, "sequences length"] | None = None

  @property
  def mask(self) -> Bool[Array, "sequences 1 length length"]:
    """Which positions of its own sequence each position looks at."""
    length = self.tokens.shape[1]
    mask = jnp.tril(jnp.ones((length, length), bool))[None, None]
    mask &= (self.tokens != PAD_ID)[:, None, None, :]
    if self.segment_ids is not None:
      mask &= same_segment(self.segment_ids, self.segment_ids)
    return mask


@flax.struct.dataclass
class Tree:
  """Prefixes of targets in the order of a depth-first walk.

  See `scoring/candidate_tree`.

  Attributes:
    tokens: newest token of each prefix; `PAD_ID` for the empty prefix.
    depths: length of each prefix.
    ends: one past the last node that continues a prefix.
  """

  tokens: Int[Array, "trees nodes"]
  depths: Int[Array, "trees nodes"]
  ends: Int[Array, "trees nodes"]

  @classmethod
  def of(cls, arrays: Mapping[str, Array]) -> "Tree":
    """The candidate trees of a batch.

    Args:
      arrays: see `models.protocol`.
    """
    return cls(
      tokens=arrays["decoder_input_tokens"],
      depths=arrays["decoder_positions"],
      ends=arrays["decoder_subtree_ends"],
    )

  @property
  def mask(self) -> Bool[Array, "trees 1 nodes nodes"]:
    """A node looks at itself and at the prefixes that it continues."""
    node = jnp.arange(self.tokens.shape[1])
    mask = node[None, :, None] >= node[None, None, :]
    mask &= node[None, :, None] < self.ends[:, None, :]
    return mask[:, None]


def same_segment(
  queries: Int[Array, "batch queries"], keys: Int[Array, "batch keys"]
) -> Bool[Array, "batch 1 queries keys"]:
  """Whether a query and a key belong to the same packed example."""
  return queries[:, None, :, None] == keys[:, None, None, :]


def check_multiple(sequences: int, batch: int) -> None:
  """Raises ValueError unless each prompt has equally many sequences."""
  if sequences % batch:
    raise ValueError(
      f"{sequences} sequences against {batch} prompts; expected a multiple, "
      "the sequences of one prompt next to each other"
    )


@runtime_checkable
class Network(Protocol):
  """A Flax module with these methods; parameters are float32.

  `tests/models/networks/network_test.py` holds every network to what is said
  here. Sequences may be a multiple of the prompts: sequences i * n .. i * n +
  n - 1 then belong to prompt i, and all n ask one memory.
  """

  def init(self, *args: Any, **kwargs: Any) -> Any:
    """Flax's: fresh variables."""

  def apply(self, *args: Any, **kwargs: Any) -> Any:
    """Flax's: a method called with variables."""

  def clone(self, *args: Any, **kwargs: Any) -> Any:
    """Flax's: the module with other attributes."""

  @property
  def config(self) -> Any:
    """Sizes and numerics, frozen."""

  @property
  def reads_rows(self) -> bool:
    """Whether targets may hold their prompts, in rows without a memory."""

  def read(self, prompt: Prompt, *, enable_dropout: bool = True) -> Memory:
    """Reads prompts.

    Args:
      prompt: one a row.
      enable_dropout: needs the rng collection "dropout".

    Returns:
      What all that follows asks.

    Raises:
      ValueError: where a history is given to a network without title vectors.
    """

  def features(
    self,
    memory: Memory | None,
    targets: Targets,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "sequences length embed"]:
    """Reads whole targets (teacher forcing), up to the logits.

    Args:
      memory: from `read`; None for rows that hold prompt and answer.
      targets: the sequences.
      enable_dropout: needs the rng collection "dropout".

    Returns:
      What `logits` predicts each of `targets.tokens` from.

    Raises:
      ValueError: if `sequences` is no multiple of `batch`, or packed rows and
        their prompts do not go together.
    """

  def tree_features(
    self, memory: Memory, tree: Tree
  ) -> Float[Array, "trees nodes embed"]:
    """As `features`, over trees of prefixes; without packing or dropout."""

  def logits(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims vocab"]:
    """Float32 logits of the token after each position."""

  def logit_factors(
    self, features: Float[Array, "*dims embed"]
  ) -> tuple[Float[Array, "*dims embed"], Float[Array, "embed vocab"]]:
    """Rows and matrix, both float32, whose product `logits` is."""

  def values(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims"]:
    """Float32 values before each position's token; see `value_head`.

    Raises:
      ValueError: where the network has no value head.
    """

  def start_decoding(
    self, memory: Memory, *, sequences_per_prompt: int, max_length: int
  ) -> tuple[Memory, Cache]:
    """Makes ready for tokens that are not known yet.

    Args:
      memory: from `read`, neither packed nor with dropout.
      sequences_per_prompt: how many are decoded at once for each.
      max_length: most tokens of a sequence.

    Returns:
      The memory as decoding asks it, and an empty cache, such as a
      `decoding_state.DecodingCache`.
    """

  def decode_step(
    self, tokens: Int[Array, " sequences"], cache: Cache, memory: Memory
  ) -> tuple[Float[Array, "sequences vocab"], Cache]:
    """Logits of the next token after `tokens`, and the longer cache.

    Args:
      tokens: the newest token of each sequence; `PAD_ID` starts a sequence.
      cache: from `start_decoding` or the last step.
      memory: from `start_decoding`.

    Returns:
      Float32 logits and the cache.
    """

  def decode_block(
    self,
    tokens: Int[Array, "sequences block"],
    cache: Cache,
    memory: Memory,
  ) -> tuple[Float[Array, "sequences block embed"], Cache]:
    """As `decode_step`, for tokens that are known already, up to the logits.

    Args:
      tokens: the next tokens of each sequence.
      cache: from `start_decoding` or the last step, with room for all of them.
      memory: from `start_decoding`.

    Returns:
      What `logits` predicts the token after each of `tokens` from, and the
      cache.
    """

  def extend_prefixes(
    self,
    tokens: Int[Array, " prefixes"],
    paths: Int[Array, "prefixes length"],
    depths: Int[Array, " prefixes"],
    cache: Cache,
    memory: Memory,
  ) -> tuple[Float[Array, "prefixes vocab"], Cache]:
    """Logits after prefixes of answers to one prompt, of any lengths.

    The cache is that of one sequence whose "positions" are slots: each prefix
    has the keys and values of its last token in a slot of its own, and finds
    those of its earlier tokens in the slots of the prefixes that it continues.

    Args:
      tokens: the last token of each prefix; `PAD_ID` for the empty prefix.
      paths: slots of the prefix's beginnings, from the empty one to itself;
        the new prefixes have the slots from `cache.position` on. What stands
        past `depths` is not read.
      depths: length of each prefix.
      cache: from `start_decoding` for one sequence, or the last call.
      memory: from `start_decoding`.

    Returns:
      Float32 logits and the cache.
    """

  def __call__(
    self,
    prompt: Prompt | None,
    targets: Targets,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "sequences length vocab"]:
    """Float32 logits: position t predicts `targets.tokens[:, t]`.

    Called with `init`, makes all parameters.
    """
