"""The items of a data set: titles, and how often each was interacted with.

`generate` writes them beside the instructions, and a run that reads items
keeps a copy in its own folder. An item's number is its row in the table plus
one; 0 is padding, or no item.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from instructrec import checksums, records
from instructrec.models.scoring import features

FILE = "items.parquet"
"""Its name in a data folder and in the folder of a run."""
_HISTORIES = "instructrec.histories"
_COLUMNS = ("item_id", "title", "count")
# In place of the share of items that nobody took: their logarithm is finite.
_LEAST_SHARE = 1e-9


class Encoder(Protocol):
  """What tokenizes titles: `models.tokenizer.Tokenizer`, or its like."""

  def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, with EOS at the end."""


@dataclasses.dataclass(frozen=True, eq=False)
class ItemTable:
  """Items in the order of the catalogue.

  Attributes:
    item_ids: their ids.
    titles: what the model reads.
    counts: interactions of each in the training log.
    histories: training rows by how many titles of a history they show.
    fingerprint: SHA-256 of the file, as "sha256:<hex>".
  """

  item_ids: tuple[str, ...]
  titles: tuple[str, ...]
  counts: Int[np.ndarray, " items"]
  histories: Mapping[int, int]
  fingerprint: str

  def __len__(self) -> int:
    return len(self.item_ids)

  @classmethod
  def load(cls, directory: str | os.PathLike[str]) -> "ItemTable":
    """Opens the table of a data folder or of a run.

    Args:
      directory: what `instructrec generate` or a run that reads items wrote.

    Returns:
      The table.

    Raises:
      FileNotFoundError: where the folder has none.
      DamagedError: where it was changed, or cannot be read.
      ValueError: where it is no table of items.
    """
    remedy = "make the data again with `instructrec generate`, or copy it again"
    if not checksums.is_known(directory, FILE, remedy):
      raise FileNotFoundError(
        f"{directory} has no {FILE}, which titles are read from item by item; "
        "make the data anew with `instructrec generate`, or train with "
        "--gin.HISTORY_LENGTH=0 --gin.NUM_DRAWN=0"
      )
    checksums.verify(directory, remedy, [FILE])
    return cls.read(pathlib.Path(directory) / FILE)

  @classmethod
  def read(cls, path: pathlib.Path) -> "ItemTable":
    """Reads a table whose hash was checked elsewhere.

    Args:
      path: the file.

    Returns:
      The table.

    Raises:
      DamagedError: where it cannot be read.
      ValueError: where it is no table of items.
    """
    remedy = "make the data again with `instructrec generate`"
    with records.reading(path, remedy):
      frame = pl.read_parquet(path, glob=False)
    if missing := [name for name in _COLUMNS if name not in frame.columns]:
      raise ValueError(
        f"{path} lacks the columns {missing}; it has {frame.columns}, "
        f"expected {list(_COLUMNS)} and more"
      )
    with records.reading(path, remedy):
      histories = json.loads(pl.read_parquet_metadata(path)[_HISTORIES])
    return cls(
      item_ids=tuple(frame["item_id"]),
      titles=tuple(frame["title"]),
      counts=frame["count"].to_numpy().astype(np.int64),
      histories={int(length): rows for length, rows in histories.items()},
      fingerprint=fingerprint(path),
    )

  @functools.cached_property
  def _numbers(self) -> dict[str, int]:
    numbers = {item: i for i, item in enumerate(self.item_ids, start=1)}
    return {"": 0, **numbers}

  def numbers(self, ids: Iterable[str]) -> Int[np.ndarray, " ids"]:
    """Numbers of items.

    Args:
      ids: item ids; "" is no item.

    Returns:
      int32, from 1; 0 where there is no item.

    Raises:
      KeyError: for an unknown id, naming the nearest known ones.
    """
    known = self._numbers
    try:
      return np.array([known[item] for item in ids], np.int32)
    except KeyError as error:
      (item,) = error.args
      close = difflib.get_close_matches(item, self.item_ids, n=3)
      raise KeyError(
        f"the item table has no item with the id {item!r}; the nearest are "
        f"{', '.join(map(repr, close)) or 'unlike it'}"
      ) from None

  def title_lengths(self, vocabulary: Encoder) -> Int[np.ndarray, " items"]:
    """Tokens of every title, without EOS.

    Args:
      vocabulary: the run's.

    Returns:
      Their numbers, in the order of the table.
    """
    rows = vocabulary.encode_all(self.titles)
    return np.array([len(row) - 1 for row in rows], np.int64)

  def title_tokens(
    self, vocabulary: Encoder, length: int
  ) -> tuple[Int[np.ndarray, "items_plus_1 length"], int]:
    """Every title in tokens, without EOS.

    Args:
      vocabulary: the run's.
      length: width of the result, in tokens; longer titles lose their end.

    Returns:
      int32 by item number; row 0 and what is behind a title are zeros. And how
      many titles are cut.
    """
    rows = vocabulary.encode_all(self.titles)
    tokens = np.zeros((len(rows) + 1, length), np.int32)
    for number, row in enumerate(rows, start=1):
      kept = row[:-1][:length]
      tokens[number, : len(kept)] = kept
    return tokens, sum(len(row) - 1 > length for row in rows)

  @property
  def shares(self) -> Float[np.ndarray, " items"]:
    """Each item's share of all interactions; equal where there are none."""
    total = self.counts.sum()
    if not total:
      return np.full(len(self), 1 / len(self))
    return self.counts / total

  def targets_per_row(self, history_length: int) -> float:
    """Items that a training row offers to the others of its batch.

    Args:
      history_length: titles that are read item by item, at most.

    Returns:
      The mean over all training rows: those of the history, and the target.
    """
    rows = sum(self.histories.values())
    if not rows:
      return 1.0
    shown = sum(
      count * min(length, history_length)
      for length, count in self.histories.items()
    )
    return 1.0 + shown / rows

  def logs(
    self, targets_per_row: float, drawn: int
  ) -> Float[np.ndarray, "items_plus_1 logs"]:
    """What is known of each item beside its title.

    Args:
      targets_per_row: items of a row that the others of its batch see.
      drawn: items drawn beside them for each row, half from the whole table
        and half by popularity.

    Returns:
      float32 by item number, row 0 zeros: the logarithm of the popularity,
      smoothed by one interaction an item; and, up to a constant each, that of
      how often the item comes into a batch, among which other rows' items are
      ranked, and of how often it is drawn, as its own row knows it.
    """
    popularity = (self.counts + 1) / (self.counts.sum() + len(self))
    batches = log_rates(self.shares, targets_per_row, drawn, len(self))
    draws = _draw_rates(self.shares, len(self))
    logs = np.zeros((len(self) + 1, features.NUM_LOGS), np.float32)
    logs[1:] = np.stack([np.log(popularity), batches, np.log(draws)], axis=1)
    return logs


def _draw_rates(
  shares: Float[np.ndarray, " items"], num_items: int
) -> Float[np.ndarray, " items"]:
  return 0.5 / num_items + 0.5 * np.maximum(shares, _LEAST_SHARE)


def log_rates(
  shares: Float[np.ndarray, " items"],
  targets_per_row: float,
  drawn: int,
  num_items: int,
) -> Float[np.ndarray, " items"]:
  """How often items come into a batch, for each of its rows.

  Args:
    shares: of all interactions.
    targets_per_row: see `ItemTable.logs`.
    drawn: likewise.
    num_items: of the whole table.

  Returns:
    Logarithms, float64.
  """
  offered = targets_per_row * np.maximum(shares, _LEAST_SHARE)
  return np.log(offered + drawn * _draw_rates(shares, num_items))


def save(
  directory: str | os.PathLike[str],
  items: pl.DataFrame,
  *,
  histories: Mapping[int, int],
) -> str:
  """Writes a table, and lists its hash.

  Args:
    directory: where to.
    items: `item_id`, `title`, `count` and what else is known, an item a row.
    histories: see `ItemTable`.

  Returns:
    Its fingerprint.
  """
  path = pathlib.Path(directory) / FILE
  written = {str(length): histories[length] for length in sorted(histories)}
  # In one chunk: how many there are depends on the threads that made them.
  items.rechunk().write_parquet(
    path, metadata={_HISTORIES: json.dumps(written)}
  )
  checksums.write(directory, [FILE])
  return fingerprint(path)


def fingerprint(path: str | os.PathLike[str]) -> str:
  """The SHA-256 of a file, as "sha256:<hex>"."""
  with pathlib.Path(path).open("rb") as file:
    return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
