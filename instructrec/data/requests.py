"""Requests in ranges: as many users as there are, a few in memory."""

from collections.abc import Iterable

import polars as pl

from instructrec.data import request


class Requests:
  """The requests of prepared data.

  Args:
    frame: rows of `splits.REQUEST_SCHEMA` with `candidates` and `label`; from
      a file or from memory. The rows of a split stand together, and in each
      split those of a user.

  Raises:
    ValueError: where the rows of a split do not stand together.
  """

  def __init__(self, frame: pl.LazyFrame) -> None:
    self._frame = frame
    found = (
      frame.select("split")
      .with_row_index("row")
      .group_by("split")
      .agg(pl.len(), pl.col("row").min().alias("start"), pl.col("row").max())
      .sort("start")
      .collect()
    )
    for name, length, start, last in found.iter_rows():
      if last - start + 1 != length:
        raise ValueError(
          f"the {length} requests of split {name!r} lie between rows {start} "
          f"and {last}, expected each split in one piece; prepare the data anew"
        )
    self.counts: dict[str, int] = dict(found.select("split", "len").iter_rows())
    """Requests by split, in order."""
    self._starts = dict(found.select("split", "start").iter_rows())

  def __len__(self) -> int:
    return sum(self.counts.values())

  def read(
    self, split: str, start: int = 0, stop: int | None = None
  ) -> pl.DataFrame:
    """Some requests of a split.

    Args:
      split: its name.
      start: number of the first one.
      stop: number behind the last one; None for all.

    Returns:
      The rows, with `newest`: whether it is its user's newest of the split.
    """
    count = self.counts.get(split, 0)
    stop = count if stop is None else min(stop, count)
    # One row more tells whether the last one is its user's newest.
    more = min(stop + 1, count) - start
    frame = self._frame.slice(self._starts.get(split, 0) + start, max(0, more))
    next_user = pl.col("user_id").shift(-1)
    return (
      frame.collect()
      .with_columns((next_user.ne_missing(pl.col("user_id"))).alias("newest"))
      .head(max(0, stop - start))
    )

  def sample(self, split: str, count: int | None, seed: int) -> pl.DataFrame:
    """Requests of a split, all or some drawn by seed, in the table's order.

    Args:
      split: its name.
      count: how many; None for all.
      seed: of the draw.

    Returns:
      The rows, as of `read`.

    Raises:
      ValueError: where the split has none.
    """
    frame = self.read(split)
    if not frame.height:
      raise ValueError(
        f"the prepared data have no requests of the split {split!r}; expected "
        f"one of {[*self.counts]}"
      )
    return request.sample(frame, count, seed)

  def taken(self) -> dict[str, int]:
    """How often each item is the target of a training request."""
    found = (
      self._frame.filter(pl.col("split") == "train")
      .group_by("target")
      .len()
      .sort("target")
      .collect()
    )
    return dict(found.iter_rows())

  def find(self, request_ids: Iterable[str]) -> pl.DataFrame:
    """The requests of some ids, in the order of the table."""
    wanted = pl.Series(list(request_ids), dtype=pl.String).unique()
    return self._frame.filter(
      pl.col("request_id").is_in(wanted.implode())
    ).collect()
