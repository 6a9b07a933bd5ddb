"""How a model answers with lists of titles: settings, and what they start."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from instructrec.models import tokenizer
from instructrec.models.generation import (
  catalog_decoder,
  catalog_trie,
  catalog_walk,
  list_policy,
  title_lists,
)
from instructrec.models.generation.catalog_decoder import GREEDY, SAMPLE
from instructrec.models.networks import network
from instructrec.models.networks import reading as reading_lib

METHODS = (GREEDY, SAMPLE)
SENTINELS = tokenizer.counting_sentinels(32_100)
"""Of T5's vocabulary: `<extra_id_1>` to `<extra_id_99>`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListDecoder:
  """Writes lists of a catalogue's titles (`title_lists`).

  Attributes:
    separator_ids: the tokens between titles, by how many are to come; without
      a word the sentinels of T5's vocabulary, `<extra_id_1>` first.
    max_items: titles of the longest list; who asks for more gets so many.
    method: "greedy" takes the likeliest token each time, "sample" draws it.
    num_decodes: lists a request; of "greedy" there is one.
    constrained: see `list_policy.ListPolicy`; False measures what the model
      does by itself.
    probability: likewise, of constrained lists.
    temperature: of "sample", above 0.
    max_length: tokens of a list that is not constrained; None for as many as a
      constrained one may have.
    exclude_history: whether the items of a batch's `history_items` or
      `list_history` are left out.
    catalog: what is written where `predict_batch` is asked, or what makes it
      then; None where `predict_lists` alone is, which is told.
  """

  separator_ids: tuple[int, ...] = SENTINELS
  max_items: int = 10
  method: str = GREEDY
  num_decodes: int = 1
  constrained: bool = True
  probability: str = catalog_walk.OPEN
  temperature: float = 1.0
  max_length: int | None = None
  exclude_history: bool = True
  catalog: catalog_trie.CatalogTrie | catalog_decoder.CatalogSource | None = (
    None
  )

  def __post_init__(self) -> None:
    """Checks names and numbers.

    Raises:
      ValueError: where one is out of its range, or they do not go together.
    """
    if self.method not in METHODS:
      raise ValueError(
        f"method is {self.method!r}; expected one of {', '.join(METHODS)}"
      )
    if self.num_decodes < 1 or (self.method == GREEDY and self.num_decodes > 1):
      raise ValueError(
        f"num_decodes is {self.num_decodes} with the method {self.method!r}; "
        "expected at least 1, and 1 of 'greedy'"
      )
    if self.method == SAMPLE and self.temperature <= 0.0:
      raise ValueError(
        f"temperature is {self.temperature!r}; expected more than 0, or the "
        "method 'greedy'"
      )
    self.policy  # noqa: B018  Checks the rest.

  @property
  def policy(self) -> list_policy.ListPolicy:
    """How tokens have their probability."""
    return list_policy.ListPolicy(
      separator_ids=tuple(self.separator_ids),
      max_items=self.max_items,
      constrained=self.constrained,
      probability=self.probability,
      max_length=self.max_length,
    )

  def own_catalog(
    self, *, vocab_size: int, eos_id: int
  ) -> catalog_trie.CatalogTrie:
    """The catalogue of the settings, looked at.

    Args:
      vocab_size: token ids that the network knows.
      eos_id: its end token.

    Raises:
      ValueError: where they have none, or its titles cannot stand in lists.
    """
    trie = catalog_decoder.made(
      self.catalog, vocab_size=vocab_size, eos_id=eos_id
    )
    self.policy.check(trie)
    return trie

  def __call__(
    self,
    reading: reading_lib.Reading,
    trie: catalog_trie.CatalogTrie,
    *,
    rng: PRNGKeyArray | None = None,
    requests: list_policy.ListRequests | None = None,
  ) -> list_policy.TitleLists:
    """Writes lists; see `title_lists.write_lists`.

    Args:
      reading: the network with a batch of prompts.
      trie: the catalogue.
      rng: needed by "sample" alone.
      requests: what is asked; None for as many titles as the batch's targets
        have or, where it has no targets, `max_items`.

    Returns:
      The lists.

    Raises:
      ValueError: where the catalogue is of another vocabulary, "sample" has no
        key, or targets are no lists.
    """
    catalog_decoder.check_vocabulary(reading, trie)
    if requests is None:
      requests = list_policy.ListRequests(self._lengths(reading))
    if self.exclude_history:
      for name in ("history_items", "list_history"):
        requests = requests.without(reading.arrays.get(name))
    return title_lists.write_lists(
      reading,
      trie,
      requests,
      self.policy,
      num_lists=self.num_decodes,
      temperature=self.temperature if self.method == SAMPLE else 0.0,
      rng=rng,
    )

  def _lengths(self, reading: reading_lib.Reading) -> Int[Array, " batch"]:
    """How many titles are asked for, as targets have them."""
    targets = reading.arrays.get("decoder_target_tokens")
    if targets is None:
      rows = len(reading.arrays["encoder_input_tokens"])
      return jnp.full(rows, self.max_items, jnp.int32)
    if targets.ndim != 2:
      raise ValueError(
        f"decoder_target_tokens has the shape {targets.shape}; expected "
        "[batch, length], a list each, or requests that say how many titles"
      )
    some = (targets != network.PAD_ID).any(axis=-1)
    separators = self.policy.separates(targets).sum(axis=-1)
    return jnp.where(some, separators + 1, 0).astype(jnp.int32)
