"""What control rows ask of lists, as formulas and decoders take it."""

import dataclasses
from typing import Self

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from instructrec.alignment import wish_arrays
from instructrec.data import catalog
from instructrec.evaluation import control

NOBODY = -1
"""The target of a row that is about no user."""


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
  """What some rows ask; items are places in the catalogue.

  Attributes:
    k: how many items.
    history: of each row, -1 where it has fewer.
    targets: what the user took next, or `NOBODY`.
    wish: how many items are to have what is spoken of.
    having: which items have it.
  """

  k: Int[np.ndarray, " rows"]
  history: Int[np.ndarray, "rows seen"]
  targets: Int[np.ndarray, " rows"]
  wish: control.Wish
  having: Bool[np.ndarray, "rows items"]

  @classmethod
  def of(cls, rows: pl.DataFrame, items: catalog.Catalog) -> Self:
    """Reads rows.

    Args:
      rows: with the columns `constraints`, `k`, `history_ids` and `next_id` of
        control rows.
      items: the catalogue.

    Returns:
      What they ask.

    Raises:
      ValueError: see `wish_arrays.WishArrays.of`.
    """
    histories = [
      [items.index(item) for item in dict.fromkeys(ids)]
      for ids in rows["history_ids"].to_list()
    ]
    longest = max(map(len, histories), default=0)
    history = np.full((rows.height, longest), -1, np.int64)
    for row, places in zip(history, histories, strict=True):
      row[: len(places)] = places
    k = rows["k"].to_numpy().astype(np.int64)
    arrays = wish_arrays.WishArrays(items)
    wish, having = arrays.of(rows["constraints"].to_list(), k, history)
    targets = [items.index(i) if i else NOBODY for i in rows["next_id"]]
    return cls(k, history, np.array(targets, np.int64), wish, having)

  def __len__(self) -> int:
    return len(self.k)

  @property
  def bounds(
    self,
  ) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    """How many items are to have it, at least and at most."""
    return control.bounds(self.wish, self.k)

  @property
  def cases(self) -> Int[np.ndarray, " rows"]:
    """See `control.cases`."""
    return control.cases(
      self.wish, self.k, self.history, self.has(self.history)
    )

  def take(self, rows: Int[np.ndarray, " taken"]) -> "Asked":
    """Some of the rows, in any order."""
    return Asked(
      self.k[rows],
      self.history[rows],
      self.targets[rows],
      control.Wish(*(each[rows] for each in self.wish)),
      self.having[rows],
    )

  def has(
    self, items: Int[np.ndarray, "rows places"]
  ) -> Bool[np.ndarray, "rows places"]:
    """Which places hold an item that has what the row speaks of."""
    return control.at_places(self.having, items)
