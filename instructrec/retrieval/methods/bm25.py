"""BM25 over item texts, the query being the texts of the history.

A zero-shot baseline: nothing is learnt from the log, as in LLMRank (Hou et
al., 2024), where a user's query is the concatenation of the titles in the
history.
"""

import dataclasses
import logging
import pathlib
import re
from collections.abc import Sequence

import bm25s
import numpy as np
from jaxtyping import Float

from instructrec.data import catalog, interaction, request
from instructrec.retrieval import retriever

# It asks for its own debugging lines when it is imported.
logging.getLogger("bm25s").setLevel(logging.WARNING)
_INDEX, _TEXTS = "bm25s", "tokens.npz"
_WORD = re.compile(r"\w+")


def tokens(text: str) -> list[str]:
  """Lower-cased runs of letters and digits; numbers tell sequels apart."""
  return _WORD.findall(text.lower())


def item_text(item: catalog.Item) -> str:
  """What BM25 reads of an item: title, brand, categories, description."""
  parts = (item.title, item.brand, *item.categories, item.description)
  return " ".join(part for part in parts if part)


@dataclasses.dataclass(eq=False, kw_only=True)
class BM25(retriever.Retriever):
  """Lucene's variant: the logarithm of one plus the odds as IDF.

  An item's score is the sum over the words of the query, repeated ones
  counted each time, of

      ln(1 + (N - df + 0.5) / (df + 0.5)) * tf / (tf + k1 (1 - b + b len / avg))

  with N items, df of them with the word, tf times in this one, whose text has
  `len` words, one at least, `avg` on average.

  Attributes:
    k1: how soon repetitions of a word stop to count.
    b: how much longer texts are held against an item, 0 to 1.
    max_history: newest items whose texts make the query.
  """

  name = "bm25"
  description = "BM25 of the item's text for the texts of the history"
  space = {  # noqa: RUF012
    "k1": (1.2, 0.6, 2.0),
    "b": (0.75, 0.25, 0.5, 1.0),
    "max_history": (50, 3, 10),
  }

  k1: float = 1.2
  b: float = 0.75
  max_history: int = 50

  def _fit(
    self,
    training_log: interaction.InteractionLog,
    items: catalog.Catalog,
    validation: Sequence[request.RankingRequest],
  ) -> None:
    del training_log, validation
    words = [tokens(item_text(items[i])) for i in self.item_ids]
    # A text without words has one that no query has: bm25s divides by lengths.
    vocabulary = ["", *sorted({word for row in words for word in row})]
    place = {word: i for i, word in enumerate(vocabulary)}
    self._words = [np.array([place[w] for w in row], np.int32) for row in words]
    self._model = bm25s.BM25(method="lucene", k1=self.k1, b=self.b)
    self._model.index(
      bm25s.tokenization.Tokenized(
        ids=[row.tolist() or [0] for row in self._words], vocab=place
      ),
      show_progress=False,
      create_empty_token=False,
    )

  def _scores(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests items"]:
    empty = np.zeros(0, np.int32)
    queries = [
      np.concatenate([empty, *(self._words[i] for i in h[-self.max_history :])])
      for h in self.histories(requests)
    ]
    result = np.zeros((len(requests), len(self.item_ids)))
    for row, query in zip(result, queries, strict=True):
      row[:] = self._model.get_scores_from_ids(query)
    return result

  def _save(self, folder: pathlib.Path) -> None:
    self._model.save(folder / _INDEX, show_progress=False)
    flat = np.concatenate(self._words)
    lengths = np.array([len(row) for row in self._words])
    np.savez(folder / _TEXTS, words=flat, lengths=lengths)

  def _load(self, folder: pathlib.Path) -> None:
    self._model = bm25s.BM25.load(folder / _INDEX)
    with np.load(folder / _TEXTS) as arrays:
      ends = np.cumsum(arrays["lengths"])
      self._words = np.split(arrays["words"], ends[:-1])
