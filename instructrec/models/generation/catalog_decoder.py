"""How a model writes items of a catalogue: settings, and what they start."""

import dataclasses
from typing import Any, Protocol

from jaxtyping import PRNGKeyArray

from instructrec.models.generation import (
  catalog_beam,
  catalog_sample,
  catalog_trie,
  catalog_walk,
  leaf_intervals,
)
from instructrec.models.networks import reading as reading_lib

BEAM, GREEDY, SAMPLE = "beam", "greedy", "sample"
METHODS = (BEAM, GREEDY, SAMPLE)


class CatalogSource(Protocol):
  """What makes a catalogue for a network, when it is asked."""

  def __call__(
    self, *, vocab_size: int, eos_id: int
  ) -> catalog_trie.CatalogTrie:
    """The catalogue, in the network's tokens."""


def made(
  catalog: catalog_trie.CatalogTrie | CatalogSource | None,
  *,
  vocab_size: int,
  eos_id: int,
) -> catalog_trie.CatalogTrie:
  """The catalogue of a decoder's settings.

  Args:
    catalog: what they have.
    vocab_size: token ids that the network knows.
    eos_id: its end token.

  Raises:
    ValueError: where they have none.
  """
  if catalog is None:
    raise ValueError(
      "the decoder has no catalogue to write titles of; bind its `catalog`, or "
      "call predict_items or predict_lists with one"
    )
  if isinstance(catalog, catalog_trie.CatalogTrie):
    return catalog
  return catalog(vocab_size=vocab_size, eos_id=eos_id)


def check_vocabulary(
  reading: reading_lib.Reading, trie: catalog_trie.CatalogTrie
) -> None:
  """Raises ValueError unless a catalogue is in a network's tokens."""
  ours = (reading.vocab_size, reading.eos_id)
  if (trie.vocab_size, trie.eos_id) != ours:
    raise ValueError(
      f"the catalogue was made for {trie.vocab_size} tokens and the end "
      f"token {trie.eos_id}; the network has {ours[0]} and {ours[1]}: build "
      "the tables for these"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CatalogDecoder:
  """Writes titles of a catalogue and nothing else.

  Attributes:
    method: "beam" finds the likeliest items, none twice (`catalog_beam`);
      "greedy" takes the likeliest token each time, and "sample" draws it
      (`catalog_sample`).
    num_beams: prefixes that "beam" keeps.
    num_decodes: items asked for; of "greedy" there is one.
    probability: "open", among all tokens, or "closed", among those that lead to
      an allowed item; see `catalog_beam.beam_search`.
    temperature: of "sample", above 0.
    exclude_history: whether the items of a batch's `history_items` are left
      out.
    catalog: what is written where `predict_batch` is asked, or what makes it
      then; None where `predict_items` alone is, which is told.
  """

  method: str = BEAM
  num_beams: int = 10
  num_decodes: int = 10
  probability: str = catalog_walk.OPEN
  temperature: float = 1.0
  exclude_history: bool = True
  catalog: catalog_trie.CatalogTrie | CatalogSource | None = None

  def __post_init__(self) -> None:
    """Checks names and numbers.

    Raises:
      ValueError: where one is out of its range.
    """
    for name, known in (
      ("method", METHODS),
      ("probability", catalog_walk.PROBABILITIES),
    ):
      if getattr(self, name) not in known:
        raise ValueError(
          f"{name} is {getattr(self, name)!r}; expected one of "
          f"{', '.join(known)}"
        )
    most = {BEAM: self.num_beams, GREEDY: 1}.get(self.method)
    if self.num_decodes < 1 or (most and self.num_decodes > most):
      raise ValueError(
        f"num_decodes is {self.num_decodes} with method {self.method!r} and "
        f"num_beams {self.num_beams}; expected at least 1 and at most "
        f"{most or 'any number'}"
      )
    if self.method == SAMPLE and self.temperature <= 0.0:
      raise ValueError(
        f"temperature is {self.temperature!r}; expected more than 0, or the "
        "method 'greedy'"
      )

  def own_catalog(
    self, *, vocab_size: int, eos_id: int
  ) -> catalog_trie.CatalogTrie:
    """The catalogue of the settings.

    Args:
      vocab_size: token ids that the network knows.
      eos_id: its end token.

    Raises:
      ValueError: where they have none.
    """
    return made(self.catalog, vocab_size=vocab_size, eos_id=eos_id)

  def __call__(
    self,
    reading: reading_lib.Reading,
    trie: catalog_trie.CatalogTrie,
    *,
    normalization: str,
    rng: PRNGKeyArray | None = None,
    conditions: leaf_intervals.Conditions = leaf_intervals.ANYTHING,
  ) -> catalog_walk.CatalogDecodes:
    """Writes items; see `catalog_beam.beam_search` and `catalog_sample.sample`.

    Args:
      reading: the network with a batch of prompts.
      trie: the catalogue.
      normalization: of scores.
      rng: needed by "sample" alone.
      conditions: what requests say of items.

    Returns:
      The items.

    Raises:
      ValueError: where the catalogue is of another vocabulary, or "sample" has
        no key.
    """
    check_vocabulary(reading, trie)
    if self.exclude_history:
      conditions = conditions.without(reading.arrays.get("history_items"))
    common: dict[str, Any] = {
      "batch_size": len(reading.arrays["encoder_input_tokens"]),
      "num_decodes": self.num_decodes,
      "probability": self.probability,
      "normalization": normalization,
      "conditions": conditions,
    }
    if self.method == BEAM:
      return catalog_beam.beam_search(
        reading, trie, num_beams=self.num_beams, **common
      )
    temperature = self.temperature if self.method == SAMPLE else 0.0
    return catalog_sample.sample(
      reading, trie, rng=rng, temperature=temperature, **common
    )
