"""The users' sequences of items, as training rows tell them."""

from collections.abc import Iterable

import numpy as np
import polars as pl
from jaxtyping import Int

from instructrec.training import token_dataset


def item_sequences(
  datasets: Iterable[token_dataset.TokenDataset],
) -> list[Int[np.ndarray, " items"]]:
  """Each user's longest sequence of items; the newest, where several are.

  A sequence is what one row shows of the user's history, with the item that
  its response names behind it. Rows without a user give none.

  Args:
    datasets: training rows of some tasks.

  Returns:
    Item numbers, oldest first, at least one; one array a user, in the order
    of their ids.

  Raises:
    ValueError: where rows do not tell their items.
  """
  found = list(datasets)
  tables = []
  for number, data in enumerate(found):
    data.check_items()
    assert data.history is not None
    assert data.target_items is not None
    shown = data.history.lengths
    lengths = np.where(shown > 0, shown + (data.target_items > 0), 0)
    tables.append(
      data.columns.select(
        "user_id",
        pl.Series("length", lengths, pl.Int64),
        # A request's id ends with the place of its target in the user's log.
        pl.col("request_id")
        .str.extract(r"(\d+)$")
        .cast(pl.Int64, strict=False)
        .fill_null(-1)
        .alias("place"),
        pl.lit(number).alias("dataset"),
        pl.int_range(pl.len()).alias("row"),
      )
    )
  chosen = (
    pl.concat(tables)
    .filter((pl.col("length") > 0) & (pl.col("user_id") != ""))
    .sort("user_id", "length", "place", maintain_order=True)
    .group_by("user_id", maintain_order=True)
    .last()
  )
  return [
    _sequence(found[dataset], row)
    for dataset, row in chosen.select("dataset", "row").iter_rows()
  ]


def _sequence(
  data: token_dataset.TokenDataset, row: int
) -> Int[np.ndarray, " items"]:
  assert data.history is not None
  assert data.target_items is not None
  shown = data.history.tokens[slice(*data.history.offsets[row : row + 2])]
  target = data.target_items[row : row + 1]
  return np.concatenate([shown, target[target > 0]]).astype(np.int32)
