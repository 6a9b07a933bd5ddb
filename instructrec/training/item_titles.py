"""The items of a table as the catalogue that a model writes titles of."""

import dataclasses
import pathlib
from typing import Any

from instructrec.models import ranking_model, tokenizer
from instructrec.models.generation import catalog_trie
from instructrec.training import item_table


def trie(
  table: item_table.ItemTable,
  words: item_table.Encoder,
  *,
  vocab_size: int,
  eos_id: int,
  most_tokens: int | None = None,
) -> catalog_trie.CatalogTrie:
  """The titles of a table, sorted; an item's number is that of its row.

  Args:
    table: the items.
    words: the vocabulary of the network.
    vocab_size: token ids that the network knows.
    eos_id: its end token.
    most_tokens: see `CatalogTrie.build`.

  Returns:
    The catalogue.

  Raises:
    SharedTitlesError: where several items have the same tokens.
    ValueError: where a title is none, or too long.
  """
  return catalog_trie.CatalogTrie.build(
    words.encode_all(table.titles),
    eos_id=eos_id,
    vocab_size=vocab_size,
    most_tokens=most_tokens,
    names=table.titles,
  )


@dataclasses.dataclass(frozen=True)
class ItemTitles:
  """The catalogue in a folder, read when a decoder asks for it.

  Attributes:
    folder: of a run, or of instructions, with a table of items.
    vocabulary: the SentencePiece model of the network.
    most_tokens: of a title, as far as the network was trained.
  """

  folder: pathlib.Path
  vocabulary: pathlib.Path
  most_tokens: int | None = None

  def __call__(
    self, *, vocab_size: int, eos_id: int
  ) -> catalog_trie.CatalogTrie:
    """Reads the table.

    Args:
      vocab_size: see `trie`.
      eos_id: likewise.

    Returns:
      The catalogue.

    Raises:
      FileNotFoundError: where there is no table.
      DamagedError: where it was changed.
      ValueError: as of `trie`.
    """
    return trie(
      item_table.ItemTable.load(self.folder),
      tokenizer.Tokenizer(self.vocabulary),
      vocab_size=vocab_size,
      eos_id=eos_id,
      most_tokens=self.most_tokens,
    )


def writes(model: Any) -> bool:
  """Whether a model has a decoder of catalogues that wants one."""
  if not isinstance(model, ranking_model.NetworkRankingModel):
    return False
  return model.decoder is not None and model.decoder.catalog is None


def bound(model: Any, titles: ItemTitles) -> Any:
  """A model with its catalogue; the same where it does not want one."""
  return model.writing(titles) if writes(model) else model
