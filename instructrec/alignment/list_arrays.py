"""What rows of control tasks ask of lists, as training batches have it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from instructrec.alignment import asked
from instructrec.data.catalog import Catalog
from instructrec.evaluation import control
from instructrec.training import token_dataset

COLUMNS = (*asked.COLUMNS, "teacher_ids")
"""What the arrays are made of."""


@dataclasses.dataclass(frozen=True, eq=False)
class ListArrays:
  """Makes the arrays of rows; `batches.ListSource`.

  Attributes:
    reader: reads what is asked.
    list_length: items of the longest list that may be asked for.
    history_length: items of the longest history.
    teacher_length: items of the longest list of a retriever's best.
  """

  reader: asked.Reader
  list_length: int
  history_length: int
  teacher_length: int

  @classmethod
  def of(
    cls,
    items: Catalog,
    datasets: Mapping[str, token_dataset.TokenDataset],
    list_length: int,
  ) -> "ListArrays":
    """What makes the arrays of some tasks, equally wide for all.

    Args:
      items: the catalogue that the rows are about.
      datasets: by task.
      list_length: items of the longest list that may be asked for.

    Returns:
      The maker.

    Raises:
      ValueError: for tasks whose rows ask for no lists or for longer ones, or
        do not have what a retriever shows.
    """
    for name, dataset in datasets.items():
      _check(name, dataset, list_length)

    def longest(column: str) -> int:
      lengths = [d.columns[column].list.len() for d in datasets.values()]
      return max(1, *(int(found.to_numpy().max()) for found in lengths))

    return cls(
      asked.Reader(items),
      list_length,
      longest("history_ids"),
      longest("teacher_ids"),
    )

  @property
  def identity(self) -> dict[str, int]:
    """See `batches.ListSource`."""
    return {
      "items": len(self.reader),
      "history_length": self.history_length,
      "teacher_length": self.teacher_length,
    }

  def __call__(
    self,
    dataset: token_dataset.TokenDataset,
    examples: Int[np.ndarray, " batch"],
  ) -> dict[str, np.ndarray]:
    """The arrays of some rows.

    Args:
      dataset: one of those that the widths are of.
      examples: which of them.

    Returns:
      See `of_rows`.

    Raises:
      ValueError: for what is longer than the widths; the rest was checked when
        the maker was made.
    """
    rows = dataset.columns[examples]
    return self._arrays({name: rows[name].to_list() for name in COLUMNS})

  def of_rows(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
    """The arrays of some rows that nobody has checked yet.

    Args:
      rows: the columns `COLUMNS`, equally long.

    Returns:
      By item number, from 1 and padded with 0: `list_history` [batch, history],
      `list_targets` [batch], what the user took next, and `list_teacher`
      [batch, best], what the retriever shows, best first. `list_sizes`
      [batch]: how many items are asked for. `list_wishes` [batch, 4]: the
      fields of a `control.Wish`. `list_has` [batch, items] (bool): which
      items have what it speaks of. All others are int32.

    Raises:
      ValueError: where no list can be drawn for a row, for histories or lists
        that are longer than the widths, and as of `asked.Reader`.
    """
    shown = [*map(len, rows["teacher_ids"])]
    _check_rows("a row", rows["k"], shown, self.list_length)
    return self._arrays(rows)

  def _arrays(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
    """See `of_rows`."""
    found = self.reader(rows)
    teacher = self.reader.places(rows["teacher_ids"])
    return {
      "list_sizes": found.k.astype(np.int32),
      "list_wishes": np.stack(found.wish, axis=1).astype(np.int32),
      "list_has": found.having,
      "list_history": _numbers("history", found.history, self.history_length),
      "list_targets": (found.targets + 1).astype(np.int32),
      "list_teacher": _numbers("teacher's list", teacher, self.teacher_length),
    }


def zeros(
  rows: int, *, items: int, history: int, teacher: int
) -> dict[str, np.ndarray]:
  """Arrays of the shapes and types of those of a batch.

  Args:
    rows: of the batch.
    items: of the catalogue.
    history: of the longest history.
    teacher: of the longest list of a retriever's best.

  Returns:
    Arrays by name; see `ListArrays.of_rows`.
  """
  shapes: dict[str, tuple[int, ...]] = {
    "list_sizes": (rows,),
    "list_wishes": (rows, len(control.Wish._fields)),
    "list_has": (rows, items),
    "list_history": (rows, history),
    "list_targets": (rows,),
    "list_teacher": (rows, teacher),
  }
  types = {"list_has": bool}
  return {
    name: np.zeros(shape, types.get(name, np.int32))
    for name, shape in shapes.items()
  }


def _numbers(
  what: str, places: Int[np.ndarray, "rows longest"], width: int
) -> Int[np.ndarray, "rows width"]:
  """Item numbers of places, 0 for none, so and so wide."""
  longest = places.shape[1]
  if longest > width:
    raise ValueError(
      f"a {what} has {longest} items, and there is room for {width}; make the "
      "length larger"
    )
  return np.pad(places + 1, ((0, 0), (0, width - longest))).astype(np.int32)


def _check(
  name: str, dataset: token_dataset.TokenDataset, list_length: int
) -> None:
  """Refuses rows that no list can be drawn for."""
  columns: Any = dataset.columns
  if missing := [c for c in COLUMNS if c not in columns.columns]:
    raise ValueError(
      f"{name} lacks {', '.join(missing)}, which lists are rewarded by; "
      "expected control tasks: set MIXTURE_OR_TASK_NAME to "
      "'control_v1_lists', and make the data with `instructrec generate "
      "--kind=control`"
    )
  shown = columns["teacher_ids"].list.len()
  _check_rows(name, columns["k"], shown, list_length)


def _check_rows(
  what: str,
  sizes: Sequence[int],
  shown: Sequence[int],
  list_length: int,
) -> None:
  """As `_check`, by the sizes of lists and how many items a retriever shows."""
  least, most = min(sizes), max(sizes)
  if least < 1 or most > list_length:
    raise ValueError(
      f"{what} asks for {least} to {most} titles, expected 1 to {list_length} "
      "(LIST_LENGTH); where a row asks for none, leave the task out, as "
      "'control_v1_lists' does"
    )
  if not min(shown):
    raise ValueError(
      f"{what} is about no user, whom a retriever shows nothing; leave the "
      "task out, as 'control_v1_lists' does"
    )
