"""Interactions: who touched what, when, and what they said about it."""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Iterator

import polars as pl

from instructrec.data import frames

SCHEMA: dict[str, pl.DataType] = {
  "user_id": pl.String(),
  "item_id": pl.String(),
  "order": pl.Int64(),
  "timestamp": pl.Int64(),
  "rating": pl.Float64(),
  "review": pl.String(),
}
_REQUIRED = ("user_id", "item_id", "order")


@dataclasses.dataclass(frozen=True, slots=True)
class Interaction:
  """One user's contact with one item.

  Attributes:
    user_id: who.
    item_id: what.
    order: sorts a user's interactions, oldest first: the timestamp where
      there is one, else the position in the user's sequence.
    timestamp: Unix time in microseconds, or None.
    rating: as the source has it, or None.
    review: summary and text, or None.
  """

  user_id: str
  item_id: str
  order: int
  timestamp: int | None = None
  rating: float | None = None
  review: str | None = None


class InteractionLog:
  """Interactions as one table, each user's together and oldest first.

  Users keep the order of their first appearance; interactions of equal
  `order` keep the order they came in.

  Args:
    frame: the columns of `SCHEMA`; missing optional ones become null.

  Raises:
    ValueError: where a required column is missing or has nulls.
  """

  def __init__(self, frame: pl.DataFrame) -> None:
    for name in _REQUIRED:
      if name not in frame.columns:
        raise ValueError(
          f"interactions lack the column {name!r}; found {frame.columns}"
        )
    frame = frames.of_schema(frame, SCHEMA)
    for name in _REQUIRED:
      if nulls := frame[name].null_count():
        raise ValueError(
          f"{nulls} interactions have no {name}; expected one in each row"
        )
    self.frame = (
      frame.with_row_index("_row")
      .with_columns(pl.col("_row").min().over("user_id").alias("_user"))
      .sort("_user", "order", maintain_order=True)
      .drop("_row", "_user")
    )

  def __len__(self) -> int:
    return self.frame.height

  def __iter__(self) -> Iterator[Interaction]:
    for row in self.frame.iter_rows():
      yield Interaction(*row)

  @property
  def num_users(self) -> int:
    """Users with at least one interaction."""
    return self.frame["user_id"].n_unique()

  @property
  def num_items(self) -> int:
    """Items with at least one interaction."""
    return self.frame["item_id"].n_unique()

  @functools.cached_property
  def item_counts(self) -> collections.Counter[str]:
    """Interactions of each item; 0 for items without any."""
    return collections.Counter(self.frame["item_id"])

  def sequences(self) -> tuple[list[str], list[list[str]]]:
    """Each user's items, oldest first.

    Returns:
      User ids, and a list of item ids for each.
    """
    grouped = self.frame.group_by("user_id", maintain_order=True).agg("item_id")
    return grouped["user_id"].to_list(), grouped["item_id"].to_list()

  def fingerprint(self) -> str:
    """SHA-256 over all rows, as "sha256:<hex>"."""
    return frame_fingerprint(self.frame)


def frame_fingerprint(frame: pl.DataFrame) -> str:
  """SHA-256 of a table's columns and values, as "sha256:<hex>".

  Args:
    frame: the table; nested columns are written as JSON.

  Returns:
    The fingerprint; it does not depend on how the table lies in memory.
  """
  digest = hashlib.sha256("\x1f".join(frame.columns).encode())
  for name in frame.columns:
    column = frame[name]
    if isinstance(column.dtype, pl.List):
      column = frame.select(
        pl.col(name).cast(pl.List(pl.String)).list.join("\x1f")
      ).to_series()
    text = column.cast(pl.String).fill_null("\x00")
    digest.update(name.encode())
    for start in range(0, len(text), 65536):
      chunk = text.slice(start, 65536)
      digest.update("\x1e".join(chunk.to_list()).encode())
  return f"sha256:{digest.hexdigest()}"
