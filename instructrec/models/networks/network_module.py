"""What the networks share as Flax modules: logits, titles, the whole call."""

from flax import linen as nn
from jaxtyping import Array, Float, Int

from instructrec.models.networks import (
  network,
  network_config,
  title_matching,
  value_head,
)


class NetworkModule(nn.Module):
  """The part of a `network.Network` that does not depend on how it reads.

  Its `setup` makes `token_embedder`, and `decoder` with `logits_dense`, and
  calls `make_heads`; it has `read`, `features` and `decode_block`.

  Attributes:
    config: sizes and numerics.
  """

  config: network_config.NetworkConfig

  def make_heads(self) -> None:
    """Makes the submodules that not every network has."""
    if self.config.title_matching:
      self.title_matching = title_matching.TitleMatching(
        self.config, self.token_embedder
      )
    if self.config.value_head:
      self.value_head = value_head.ValueHead()

  def _matching(self) -> title_matching.TitleMatching:
    if not self.config.title_matching:
      raise ValueError(
        "the network has no title vectors, by which histories are read item by "
        "item (history_tokens) and titles are matched; set TITLE_MATCHING=True "
        "and train them, or HISTORY_LENGTH=0 to read histories as text"
      )
    return self.title_matching

  def logits(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims vocab"]:
    """Float32 logits of the token after each position."""
    return self.decoder.logits_dense(features)

  def decode_step(
    self,
    tokens: Int[Array, " sequences"],
    cache: network.Cache,
    memory: network.Memory,
  ) -> tuple[Float[Array, "sequences vocab"], network.Cache]:
    """Decodes one more token of each sequence; see `network.Network`."""
    features, longer = self.decode_block(tokens[:, None], cache, memory)
    return self.logits(features)[:, 0], longer

  def logit_factors(
    self, features: Float[Array, "*dims embed"]
  ) -> tuple[Float[Array, "*dims embed"], Float[Array, "embed vocab"]]:
    """Rows and matrix, both float32, whose product `logits` is."""
    return self.decoder.logits_dense.factors(features)

  def read_items(
    self, history: network.Titles, enable_dropout: bool
  ) -> Float[Array, "batch items embed"]:
    """One vector an item, to be read before the tokens of a prompt."""
    return self._matching().pooled(history, not enable_dropout)

  def states(self, memory: network.Memory) -> title_matching.States:
    """What a request asks of titles; see `title_matching.TitleMatching`."""
    matching = self._matching()
    return matching.states(memory.output, memory.prompt)

  def title_vectors(
    self, titles: network.Titles, *, enable_dropout: bool = False
  ) -> Float[Array, "*dims embed"]:
    """The vectors of titles, float32; see `title_matching.TitleMatching`."""
    return self._matching().vectors(titles, not enable_dropout)

  def popularity_weight(self) -> Float[Array, ""]:
    """See `title_matching.TitleMatching.popularity_weight`."""
    return self._matching().popularity_weight

  def values(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims"]:
    """What is expected before each token; see `value_head.ValueHead`."""
    if not self.config.value_head:
      raise ValueError(
        "the network has no value head, which the objective learns by; set "
        "VALUE_HEAD=True"
      )
    return self.value_head(features)

  def __call__(
    self,
    prompt: network.Prompt | None,
    targets: network.Targets,
    *,
    enable_dropout: bool = True,
  ) -> Float[Array, "sequences length vocab"]:
    """Float32 logits of whole targets; see `network.Network`."""
    if self.is_initializing() and self.config.title_matching:
      self.title_matching.make_parameters()
    memory = None
    if prompt is not None:
      memory = self.read(prompt, enable_dropout=enable_dropout)
    features = self.features(memory, targets, enable_dropout=enable_dropout)
    if self.is_initializing() and self.config.value_head:
      self.value_head(features)
    return self.logits(features)
