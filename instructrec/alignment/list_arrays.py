"""What rows of control tasks ask of lists, as training batches have it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from instructrec.alignment.wish_arrays import WishArrays
from instructrec.data.catalog import Catalog
from instructrec.training import token_dataset

_COLUMNS = ("k", "constraints", "history_ids", "next_id", "teacher_ids")


@dataclasses.dataclass(frozen=True, eq=False)
class ListArrays:
  """Makes the arrays of rows; `batches.ListSource`.

  Attributes:
    wishes: reads constraints.
    numbers: of items, by id, from 1; 0 for "".
    history_length: items of the longest history.
    teacher_length: items of the longest list of a retriever's best.
  """

  wishes: WishArrays
  numbers: Mapping[str, int]
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

    numbers = {item: i for i, item in enumerate(items.item_ids, start=1)}
    return cls(
      WishArrays(items),
      {"": 0, **numbers},
      longest("history_ids"),
      longest("teacher_ids"),
    )

  @property
  def identity(self) -> dict[str, int]:
    """See `batches.ListSource`."""
    return {
      "items": len(self.numbers) - 1,
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
      By item number, padded with 0: `list_history` [batch, history],
      `list_targets` [batch], what the user took next, and `list_teacher`
      [batch, best], what the retriever shows, best first. `list_sizes`
      [batch]: how many items are asked for. `list_wishes` [batch, 4]: the
      fields of a `control.Wish`. `list_has` [batch, items] (bool): which
      items have what it speaks of. All others are int32.

    Raises:
      ValueError: for constraints that cannot be read; see `WishArrays.of`.
    """
    rows = dataset.columns[examples]
    history = self._padded(rows["history_ids"].to_list(), self.history_length)
    sizes = rows["k"].to_numpy()
    wish, has = self.wishes.of(
      rows["constraints"].to_list(), sizes, history - 1
    )
    teacher = self._padded(rows["teacher_ids"].to_list(), self.teacher_length)
    targets = np.array([self.numbers[i] for i in rows["next_id"]], np.int32)
    return {
      "list_sizes": sizes.astype(np.int32),
      "list_wishes": np.stack(wish, axis=1).astype(np.int32),
      "list_has": has,
      "list_history": history,
      "list_targets": targets,
      "list_teacher": teacher,
    }

  def _padded(
    self, rows: Sequence[Sequence[str]], width: int
  ) -> Int[np.ndarray, "rows width"]:
    found = np.zeros((len(rows), width), np.int32)
    for place, row in zip(found, rows, strict=True):
      place[: len(row)] = [self.numbers[item] for item in row]
    return found


def _check(
  name: str, dataset: token_dataset.TokenDataset, list_length: int
) -> None:
  """Refuses rows that no list can be drawn for."""
  columns: Any = dataset.columns
  if missing := [c for c in _COLUMNS if c not in columns.columns]:
    raise ValueError(
      f"{name} lacks {', '.join(missing)}, which lists are rewarded by; "
      "expected control tasks: set MIXTURE_OR_TASK_NAME to "
      "'control_v1_lists', and make the data with `instructrec generate "
      "--kind=control`"
    )
  least, most = columns["k"].min(), columns["k"].max()
  if least < 1 or most > list_length:
    raise ValueError(
      f"{name} asks for {least} to {most} titles, expected 1 to {list_length} "
      "(LIST_LENGTH); where a row asks for none, leave the task out, as "
      "'control_v1_lists' does"
    )
  if columns["teacher_ids"].list.len().min() < 1:
    raise ValueError(
      f"{name} has rows without a user, whom a retriever shows nothing; leave "
      "the task out, as 'control_v1_lists' does"
    )
