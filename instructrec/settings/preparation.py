"""What `instructrec prepare` is told."""

import dataclasses
import enum
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any

from instructrec.settings import option
from instructrec.settings.option import Option

_Path = pathlib.Path


class Source(enum.StrEnum):
  """Kinds of raw data."""

  synthetic = "synthetic"
  table = "table"
  recbole = "recbole"
  movielens = "movielens"
  amazon = "amazon"


class Table(enum.StrEnum):
  """The tables of a source."""

  interactions = "interactions"
  items = "items"
  reviews = "reviews"


class OnBadRow(enum.StrEnum):
  """What to do with rows that cannot be read."""

  error = "error"
  skip = "skip"


class Repeats(enum.StrEnum):
  """What to do with an item that a user takes again."""

  drop = "drop"
  keep = "keep"


class SplitName(enum.StrEnum):
  """How requests are split."""

  leave_one_out = "leave_one_out"
  global_time = "global_time"


class Negatives(enum.StrEnum):
  """How negatives are drawn."""

  uniform = "uniform"
  popularity = "popularity"


_FILES = {
  Source.synthetic: (),
  Source.table: ("input", "items", "reviews"),
  Source.recbole: ("input",),
  Source.movielens: ("input",),
  Source.amazon: ("input", "items"),
}
"""What each source reads; all are needed but reviews."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSettings:
  """Where raw data come from.

  Attributes:
    columns: what columns of tables are called, where they are not called as
      usual; on the command line --column=NAME=COLUMN. See
      `data.column_names.Columns.of`.
    frames: tables that are in memory, in place of --input, --items and
      --reviews, by the names of `Table`; `data.frames.of` says of what kinds.

  Raises:
    ValueError: where files are missing, or belong to another source.
  """

  source: Annotated[Source | None, Option("Kind of raw data.")] = None
  download: Annotated[
    str | None,
    Option(
      "Fetch a published set and read that, in place of --source, --input and "
      "--items: ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, ml-32m, "
      "ml-latest-small, amazon-2023-CATEGORY, also of 2018 and 2014."
    ),
  ] = None
  input: Annotated[
    _Path | None,
    Option(
      "recbole, movielens: the folder. amazon: reviews. table: interactions, "
      "with the columns user_id and item_id, and timestamp (Unix time or ISO "
      "date) or position, rating, text, summary where there are any. Files may "
      "be gzipped or pipes; - is the standard input."
    ),
  ] = None
  items: Annotated[
    _Path | None,
    Option(
      "amazon: metadata. table: items, with the columns item_id and title, and "
      "categories, brand, price, description, year where there are any."
    ),
  ] = None
  reviews: Annotated[
    _Path | None,
    Option(
      "table: review texts, with the columns user_id, item_id and text, and "
      "rating, summary where there are any."
    ),
  ] = None
  columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
  frames: Mapping[str, Any] = dataclasses.field(
    default_factory=dict, repr=False
  )
  no_header: Annotated[
    tuple[Table, ...],
    Option(
      "table: this table does not name its columns; they are called 1, 2, 3 "
      "and so on; may be repeated."
    ),
  ] = ()
  num_users: Annotated[int, Option("synthetic: how many users.", least=1)] = (
    2000
  )
  num_items: Annotated[int, Option("synthetic: how many items.", least=1)] = 400
  on_bad_row: Annotated[
    OnBadRow, Option("Stop at a bad row, or count and report it.")
  ] = OnBadRow.error

  def __post_init__(self) -> None:
    """Checks that the files are those of the source."""
    option.check_bounds(self)
    if self.download is not None:
      more = (self._given(), self.frames, self.columns, self.no_header)
      if self.source is not None or any(more):
        raise ValueError(
          f"--download={self.download} brings its own files; leave --source "
          "out, and what names files, tables and columns"
        )
      return
    if self.source is None:
      raise ValueError("pass --source with your files, or --download=NAME")
    self._check_files()
    if self.source != Source.table and (self.columns or self.no_header):
      raise ValueError(
        "--column and --no_header are of --source=table; source "
        f"{self.source} knows its columns"
      )
    if unread := [n for n in self._given() if n not in _FILES[self.source]]:
      shown = " and ".join(f"--{name}" for name in unread)
      raise ValueError(
        f"source {self.source} does not read {shown}; leave it out, or name "
        "the source of your files"
      )

  def _given(self) -> list[str]:
    """The files that are named."""
    files = {"input": self.input, "items": self.items, "reviews": self.reviews}
    return [name for name, path in files.items() if path is not None]

  def _check_files(self) -> None:
    """Checks that the tables of the source are there, each of them once."""
    assert self.source is not None
    if self.frames and self.source != Source.table:
      raise ValueError(
        f"source {self.source} reads files; tables in memory are of source "
        "table"
      )
    if unknown := sorted(set(self.frames) - set(Table)):
      raise ValueError(f"unknown tables {unknown}; expected {[*Table]}")
    given = {*self._given()}
    for name in self.frames:
      file = "input" if name == Table.interactions else name
      if file in given:
        raise ValueError(
          f"{name}: found a file and a table in memory; pass one of them"
        )
      given.add(file)
    needed = {*_FILES[self.source]} - {"reviews"}
    if needed - given:
      shown = " and ".join(f"--{name}" for name in sorted(needed))
      raise ValueError(f"source {self.source} needs {shown}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareSettings:
  """How a raw log becomes requests.

  Raises:
    ValueError: where a number is too small, or belongs to another split.
  """

  raw: SourceSettings
  output: Annotated[_Path, Option("Folder to make.")]
  min_rating: Annotated[
    float | None,
    Option("Leave out interactions that are rated lower, or not rated."),
  ] = None
  repeats: Annotated[
    Repeats,
    Option(
      "What to do with an item that a user takes again: drop it, or keep it in "
      "histories and as a target."
    ),
  ] = Repeats.drop
  min_interactions: Annotated[
    int,
    Option("k of the k-core of users and items; 1 for none.", least=1),
  ] = 5
  keep_rare_items: Annotated[
    bool,
    Option(
      "Keep items in the catalogue, and so among negatives, that the k-core "
      "took out of the log; one may be the negative of a user who took it."
    ),
  ] = False
  articles_first: Annotated[
    bool, Option('Call "Boot, Das (1981)" "Das Boot (1981)".')
  ] = False
  vocabulary: Annotated[
    _Path | None,
    Option(
      "SentencePiece model, e.g. T5's: titles that it cannot tell apart get "
      "brand, year or number behind them."
    ),
  ] = None
  split: Annotated[SplitName, Option("How requests are split.")] = (
    SplitName.leave_one_out
  )
  max_history: Annotated[
    int,
    Option("Longest history, in items; the newest are kept.", least=1),
  ] = 20
  max_train_targets: Annotated[
    int | None,
    Option("Newest training targets of each user; all if left out.", least=1),
  ] = None
  max_validation_targets: Annotated[
    int | None,
    Option(
      "global_time: first interactions of each user in the validation window "
      "that become requests; the last alone if left out.",
      least=1,
    ),
  ] = None
  max_test_targets: Annotated[
    int | None,
    Option("The same of the test window, for logs with few users.", least=1),
  ] = None
  num_negatives: Annotated[
    int, Option("Candidates beside the target.", least=1)
  ] = 9
  negatives: Annotated[Negatives, Option("How they are drawn.")] = (
    Negatives.uniform
  )
  seed: Annotated[int, Option("Of candidates and synthetic data.", least=0)] = 0
  overwrite: Annotated[bool, Option("Replace an existing output.")] = False

  def __post_init__(self) -> None:
    """Checks the numbers, and that they are of this split."""
    option.check_bounds(self)
    if self.split == SplitName.leave_one_out:
      for name in ("max_validation_targets", "max_test_targets"):
        if getattr(self, name) is not None:
          raise ValueError(
            f"--{name} needs --split=global_time: leave_one_out has one "
            "request of each user"
          )
