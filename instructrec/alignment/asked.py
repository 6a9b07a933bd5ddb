"""What control rows ask of lists, as formulas and decoders take it."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from instructrec.alignment.constraint import Constraint
from instructrec.data import catalog
from instructrec.evaluation import control
from instructrec.evaluation.control import Direction
from instructrec.instructions.attributes import Attributes

NOBODY = -1
"""The target of a row that is about no user."""


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
  """What some rows ask; items are places in the catalogue.

  Something wanted and something else that is not are one wish: that all items
  have the one and not the other.

  Attributes:
    k: how many items.
    history: of each row, -1 where it has fewer.
    targets: what the user took next, or `NOBODY`.
    wish: how many items are to have what is spoken of.
    having: which items have it, a mask a row.
  """

  k: Int[np.ndarray, " rows"]
  history: Int[np.ndarray, "rows seen"]
  targets: Int[np.ndarray, " rows"]
  wish: control.Wish
  having: Sequence[Bool[np.ndarray, " items"]]

  @classmethod
  def of(
    cls,
    rows: pl.DataFrame,
    items: catalog.Catalog,
    attributes: Attributes,
  ) -> Self:
    """Reads rows.

    Args:
      rows: with the columns `constraints`, `k`, `history_ids` and `next_id` of
        control rows.
      items: the catalogue.
      attributes: of the items.

    Returns:
      What they ask.

    Raises:
      ValueError: where a row asks for what the catalogue has not, or for
        several things of which one goes with a number.
    """
    masks = _Masks(attributes)
    asked = [
      masks.read(texts, k)
      for texts, k in rows.select("constraints", "k").iter_rows()
    ]
    histories = [
      [items.index(item) for item in dict.fromkeys(ids)]
      for ids in rows["history_ids"].to_list()
    ]
    history = np.full(
      (rows.height, max(map(len, histories), default=0)), -1, np.int64
    )
    for row, places in zip(history, histories, strict=True):
      row[: len(places)] = places
    having = [mask for mask, _, _ in asked]
    known = [
      int(mask[places].sum())
      for mask, places in zip(having, histories, strict=True)
    ]
    sizes = np.array([int(mask.sum()) for mask in having], np.int64)
    unseen = len(items) - np.array([len(h) for h in histories], np.int64)
    pool = sizes - np.array(known, np.int64)
    return cls(
      k=rows["k"].to_numpy().astype(np.int64),
      history=history,
      targets=np.array(
        [items.index(i) if i else NOBODY for i in rows["next_id"]], np.int64
      ),
      wish=control.Wish(
        direction=np.array([int(d) for _, d, _ in asked], np.int64),
        count=np.array([n for _, _, n in asked], np.int64),
        pool=pool,
        others=unseen - pool,
      ),
      having=having,
    )

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
    """Some of the rows."""
    return Asked(
      self.k[rows],
      self.history[rows],
      self.targets[rows],
      control.Wish(*(each[rows] for each in self.wish)),
      [self.having[row] for row in rows],
    )

  def has(
    self, items: Int[np.ndarray, "rows places"]
  ) -> Bool[np.ndarray, "rows places"]:
    """Which places hold an item that has what the row speaks of."""
    found = np.zeros(items.shape, bool)
    for row, mask, places in zip(found, self.having, items, strict=True):
      row[:] = control.at_places(mask, places)
    return found


class _Masks:
  """Reads constraints; rows that say the same share their mask."""

  def __init__(self, attributes: Attributes) -> None:
    self._attributes = attributes
    self._numbers = {a: n for n, a in enumerate(attributes.attributes)}
    self._made: dict[Any, np.ndarray] = {}

  def read(
    self, texts: Sequence[str], k: int
  ) -> tuple[np.ndarray, Direction, int]:
    """Which items are spoken of, how many of the list, and the number."""
    found = [Constraint.parse(text) for text in texts]
    key = tuple((one.attribute, one.direction) for one in found)
    if key not in self._made:
      self._made[key] = self._mask(found)
    if len(found) > 1:
      return self._made[key], Direction.WANTED, 0
    if not found:
      return self._made[key], Direction.PLAIN, 0
    return self._made[key], found[0].direction, found[0].number(k)

  def _mask(self, found: Sequence[Constraint]) -> np.ndarray:
    """What a constraint speaks of, or what several leave to be shown."""
    if not found:
      return np.zeros(self._attributes.num_items, bool)
    masks = [self._having(one) for one in found]
    if len(found) == 1:
      return masks[0]
    if numbered := [one for one in found if one.count is not None]:
      raise ValueError(
        f"a row asks for {', '.join(map(str, found))}; expected no others "
        f"beside {numbered[0]}, which goes with a number"
      )
    wanted = [one.direction is Direction.WANTED for one in found]
    return np.logical_and.reduce(
      [
        mask if inside else ~mask
        for mask, inside in zip(masks, wanted, strict=True)
      ]
    )

  def _having(self, one: Constraint) -> np.ndarray:
    number = self._numbers.get(one.attribute)
    if number is None:
      raise ValueError(
        f"a row asks for {one}, which no item of the catalogue has; generate "
        "the rows from the data that are evaluated"
      )
    return self._attributes.mask(number)
