"""The matcher of the InstructRec paper: two towers over ids and titles.

In the paper (section 4.3.1, the hard negatives of its Table 9) the user tower
reads the sequence of item ids with a transformer and the titles with BERT, the
item tower the id and the title. Here an item is the sum of its id's embedding
and of a projection of the mean over its title's SentencePiece embeddings,
which are trained jointly from nothing: no pretrained BERT is at hand. The
user tower is a causal transformer over these vectors, so it reads ids and
titles, too. There is no embedding of the user id: a user is what the history
says, and a user who was not there in training can be served.
"""

import dataclasses
import pathlib

import numpy as np
from jaxtyping import Int

from instructrec.data import catalog
from instructrec.models import tokenizer
from instructrec.retrieval.methods import sasrec

_TITLES = "titles.npz"


@dataclasses.dataclass(eq=False, kw_only=True)
class TwoTower(sasrec.SASRec):
  """SASRec's training over items that have titles.

  Attributes:
    vocab_size: pieces of titles at most; the SentencePiece model is trained
      on the titles of the catalogue.
    max_pieces: pieces of a title that are read.
  """

  name = "two_tower"
  description = "a causal transformer over item ids and titles, trained here"

  vocab_size: int = 4000
  max_pieces: int = 24

  def _make_titles(self, items: catalog.Catalog) -> None:
    model = tokenizer.train_in_memory(items.titles, vocab_size=self.vocab_size)
    rows = [ids[: self.max_pieces] for ids in model.encode(items.titles)]
    self._piece_ids = np.zeros((len(rows), self.max_pieces), np.int32)
    for row, ids in zip(self._piece_ids, rows, strict=True):
      row[: len(ids)] = ids
    self._vocab = model.get_piece_size()

  @property
  def _titles(self) -> Int[np.ndarray, "items pieces"]:
    return self._piece_ids

  @property
  def _num_pieces(self) -> int:
    return self._vocab

  def _save(self, folder: pathlib.Path) -> None:
    super()._save(folder)
    np.savez(folder / _TITLES, pieces=self._piece_ids, vocab=self._vocab)

  def _load(self, folder: pathlib.Path) -> None:
    with np.load(folder / _TITLES) as arrays:
      self._piece_ids = arrays["pieces"]
      self._vocab = int(arrays["vocab"])
    super()._load(folder)
