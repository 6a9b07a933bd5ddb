"""What control rows ask of lists, as formulas and decoders take it."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from instructrec.alignment import wish_arrays
from instructrec.alignment.constraint import Constraint
from instructrec.data import catalog
from instructrec.evaluation import control, generated

NOBODY = -1
"""The target of a row that is about no user."""
COLUMNS = ("constraints", "k", "history_ids", "next_id")
"""What rows say."""
Constraints = Sequence[Sequence[Constraint]]
"""What each row asks."""


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
  def of(
    cls,
    rows: pl.DataFrame,
    items: catalog.Catalog,
    constraints: Constraints | None = None,
  ) -> "Asked":
    """Reads rows.

    Args:
      rows: with the columns `constraints`, `k`, `history_ids` and `next_id` of
        control rows.
      items: the catalogue.
      constraints: what each row asks in place of its column; None for that.

    Returns:
      What they ask.

    Raises:
      ValueError: for a text that is no constraint; see also
        `wish_arrays.WishArrays.of`.
    """
    columns = {name: rows[name].to_list() for name in COLUMNS}
    return Reader(items)(columns, constraints)

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


class Reader:
  """Reads rows of control tasks against a catalogue.

  Args:
    items: the catalogue that the rows are about.
  """

  def __init__(self, items: catalog.Catalog) -> None:
    self._items = items
    self._wishes = wish_arrays.WishArrays(items)

  def __len__(self) -> int:
    return len(self._items)

  def __call__(
    self,
    rows: Mapping[str, Sequence[Any]],
    constraints: Constraints | None = None,
  ) -> Asked:
    """What some rows ask.

    Args:
      rows: the columns `COLUMNS`, equally long.
      constraints: see `Asked.of`.

    Returns:
      The same by places in the catalogue, none of a history twice.

    Raises:
      KeyError: for an item that the catalogue lacks.
      ValueError: see `Asked.of`.
    """
    history = self.places([dict.fromkeys(ids) for ids in rows["history_ids"]])
    k = np.array(rows["k"], np.int64)
    if constraints is None:
      texts = rows["constraints"]
      constraints = [[*map(Constraint.parse, row)] for row in texts]
    wish, having = self._wishes.of(constraints, k, history)
    targets = [self._items.index(i) if i else NOBODY for i in rows["next_id"]]
    return Asked(k, history, np.array(targets, np.int64), wish, having)

  def places(
    self, rows: Sequence[Iterable[str]]
  ) -> Int[np.ndarray, "rows longest"]:
    """Places of items in the catalogue, -1 where a row has fewer.

    Args:
      rows: ids of items.

    Returns:
      As wide as the longest row.

    Raises:
      KeyError: for an item that the catalogue lacks.
    """
    found = [[*map(self._items.index, row)] for row in rows]
    return generated.padded(found, fill=-1)
