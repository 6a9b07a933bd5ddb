"""Tokenized examples on disk, read by index through memory maps.

The SeqIO pipeline writes them once (`instructrec.pipelines.token_cache`); from
here on nothing needs TensorFlow, and any example is one array slice away, so
that the order of training data can be a pure function of (seed, step).

A folder holds, for each feature, `<feature>.tokens.npy` (int32, all rows end
to end) and `<feature>.offsets.npy` (int64, rows + 1); for candidate lists also
`<feature>.lists.npy` (int64, examples + 1: which rows belong to which
example); `columns.parquet` with the examples' other fields; `meta.json`; and
the `SHA256SUMS` of all of them.
Where the data set has an item table, also `prompts`, `history` and `answers`
(item numbers) as features are, `target_items.npy` and, for lists,
`candidate_items.npy` (int32).
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from instructrec import checksums, records
from instructrec.training import ragged

FORMAT_VERSION = 3
META = "meta.json"
"""A file that no other kind of output has; see `output_folder.check`."""
_RAGGED = ("inputs", "targets", "prompts", "history", "answers")
_ARRAYS = {
  "lists": "targets.lists.npy",
  "target_items": "target_items.npy",
  "candidate_items": "candidate_items.npy",
}
"""Files of arrays, by field."""


@dataclasses.dataclass(frozen=True)
class TokenDataset:
  """The tokenized examples of one task and split.

  Attributes:
    name: task and split, for messages.
    inputs: one row an example.
    targets: one row an example, or one a candidate where `lists` is given.
    lists: for candidate lists, example i has the target rows
      `lists[i]:lists[i + 1]`; else None.
    columns: the other fields of the examples, one row each (`request_id`,
      `candidate_ids`, `label` ...).
    meta: what it was made from.
    prompts: one row an example: the instruction with a mark in place of its
      history. This and the following are None where they are not known.
    history: one row an example: numbers of the items that the mark stands
      for, oldest first.
    answers: one row an example: numbers of the items of a response that is a
      list of titles, empty where it is none.
    target_items: number of the item that the response names, 0 for none.
    candidate_items: number of the item of each row of `targets`, 0 for none.
  """

  name: str
  inputs: ragged.Ragged
  targets: ragged.Ragged
  lists: Int[np.ndarray, " examples_plus_1"] | None
  columns: pl.DataFrame
  meta: dict[str, Any]
  prompts: ragged.Ragged | None = None
  history: ragged.Ragged | None = None
  answers: ragged.Ragged | None = None
  target_items: Int[np.ndarray, " examples"] | None = None
  candidate_items: Int[np.ndarray, " rows"] | None = None

  def __len__(self) -> int:
    return len(self.inputs)

  @property
  def list_offsets(self) -> Int[np.ndarray, " examples_plus_1"]:
    """Where the candidate list of each example begins, and the last one ends.

    Raises:
      ValueError: where the examples carry no candidate lists.
    """
    if self.lists is None:
      raise ValueError(
        f"{self.name} holds single targets; candidates are in the tasks whose "
        "names end in _rerank"
      )
    return self.lists

  @property
  def num_candidates(self) -> Int[np.ndarray, " examples"]:
    """Candidates of each example.

    Raises:
      ValueError: where the examples carry no candidate lists.
    """
    return np.diff(self.list_offsets)

  def with_lists(
    self,
    examples: Int[np.ndarray, " taken"],
    targets: ragged.Ragged,
    counts: Int[np.ndarray, " taken"],
    items: Int[np.ndarray, " rows"] | None = None,
  ) -> "TokenDataset":
    """Some examples in memory, with other candidates to rank.

    Args:
      examples: which of them.
      targets: tokens of their new candidates, list after list.
      counts: candidates of each example.
      items: item number of each new candidate, where it is known.

    Returns:
      A data set of these examples; its columns still speak of the lists that
      it had before.
    """
    items_of = self.target_items
    return dataclasses.replace(
      self,
      inputs=self.inputs.take(examples),
      targets=targets,
      lists=np.concatenate([[0], counts]).cumsum(),
      columns=self.columns[examples],
      prompts=None if self.prompts is None else self.prompts.take(examples),
      history=None if self.history is None else self.history.take(examples),
      answers=None if self.answers is None else self.answers.take(examples),
      target_items=None if items_of is None else items_of[examples],
      candidate_items=items,
    )

  def taken(self, examples: Int[np.ndarray, " taken"]) -> "TokenDataset":
    """Some examples in memory, with their targets or candidate lists."""
    rows, lists = examples, None
    if self.lists is not None:
      counts = self.num_candidates[examples]
      lists = np.concatenate([[0], counts]).cumsum()
      # The rows of each list stand together.
      rows = np.repeat(self.lists[examples] - lists[:-1], counts)
      rows = rows + np.arange(lists[-1])

    def of(array: np.ndarray | None, where: np.ndarray) -> np.ndarray | None:
      return None if array is None else array[where]

    return dataclasses.replace(
      self,
      inputs=self.inputs.take(examples),
      targets=self.targets.take(rows),
      lists=lists,
      columns=self.columns[examples],
      prompts=None if self.prompts is None else self.prompts.take(examples),
      history=None if self.history is None else self.history.take(examples),
      answers=None if self.answers is None else self.answers.take(examples),
      target_items=of(self.target_items, examples),
      candidate_items=of(self.candidate_items, rows),
    )

  def of_forms(self, task_forms: Sequence[str]) -> "TokenDataset":
    """The examples of some task forms, such as "T2".

    Raises:
      ValueError: where none is left.
    """
    (rows,) = np.nonzero(self.columns["task_form"].is_in(task_forms).to_numpy())
    if not len(rows):
      known = sorted(set(self.columns["task_form"]))
      raise ValueError(
        f"{self.name} has examples of the task forms {known}, none of "
        f"{list(task_forms)}; leave the task out of the mixture, or name others"
      )
    return self.taken(rows)

  def of_length(self, most: int) -> "TokenDataset":
    """The examples whose response has so many tokens at most.

    Args:
      most: tokens, with EOS.

    Raises:
      ValueError: where none is left.
    """
    lengths = self.targets.lengths
    (rows,) = np.nonzero(lengths <= most)
    if not len(rows):
      raise ValueError(
        f"{self.name} has responses of {lengths.min()} tokens and more, none "
        f"of {most} or fewer; leave the task out of the mixture, or give "
        "responses more room"
      )
    return self if len(rows) == len(self) else self.taken(rows)

  def with_wishes(
    self, prompts: ragged.Ragged, texts: Sequence[str]
  ) -> "TokenDataset":
    """The same examples under other wishes.

    Args:
      prompts: of each example.
      texts: the wish in it; "" for none.

    Returns:
      A data set whose `inputs` still have the wishes of before.

    Raises:
      ValueError: where there is not one of each an example.
    """
    if len(prompts) != len(self) or len(texts) != len(self):
      raise ValueError(
        f"{self.name} has {len(self)} examples, but there are {len(prompts)} "
        f"prompts and {len(texts)} wishes; expected one of each"
      )
    column = pl.Series("wish_text", list(texts), dtype=pl.String)
    return dataclasses.replace(
      self, prompts=prompts, columns=self.columns.with_columns(column)
    )

  def pad_lists(
    self,
    examples: Int[np.ndarray, " batch"],
    length: int,
    num_candidates: int,
  ) -> Int[np.ndarray, "batch candidates length"]:
    """Gathers candidate lists, padded with 0.

    Args:
      examples: which of them.
      length: width of a candidate, in tokens.
      num_candidates: slots of a list; unused ones are padding.

    Returns:
      int32 tokens.

    Raises:
      ValueError: where a list is longer than `num_candidates`, or there are
        none.
    """
    rows, where = self._list_rows(examples, num_candidates)
    padded = self.targets.pad(rows.reshape(-1), length)
    padded = padded.reshape(*rows.shape, length)
    padded[~where] = 0
    return padded

  def _list_rows(
    self, examples: Int[np.ndarray, " batch"], num_candidates: int
  ) -> tuple[
    Int[np.ndarray, "batch candidates"], Bool[np.ndarray, "batch candidates"]
  ]:
    """Rows of `targets` in each slot of lists, and which slots are filled."""
    counts = self.num_candidates[examples]
    if counts.max() > num_candidates:
      raise ValueError(
        f"{self.name} has a list of {counts.max()} candidates, expected at "
        f"most {num_candidates}"
      )
    slots = np.arange(num_candidates)
    where = slots < counts[:, None]
    assert self.lists is not None
    rows = np.where(where, self.lists[examples][:, None] + slots, 0)
    return rows, where

  def pad_candidate_items(
    self, examples: Int[np.ndarray, " batch"], num_candidates: int
  ) -> Int[np.ndarray, "batch candidates"]:
    """Item numbers of candidate lists, padded with 0.

    Args:
      examples: which of them.
      num_candidates: slots of a list.

    Returns:
      int32; 0 also for candidates that are no items.

    Raises:
      ValueError: where a list is longer than `num_candidates`, or the items
        are not known.
    """
    rows, where = self._list_rows(examples, num_candidates)
    if self.candidate_items is None:
      raise ValueError(
        f"{self.name} does not say which items its candidates are; make the "
        "data anew with `instructrec generate`"
      )
    return np.where(where, self.candidate_items[rows], 0).astype(np.int32)

  def check_items(self) -> None:
    """Fails where the examples do not tell their items.

    Raises:
      ValueError: naming the data set.
    """
    if (
      self.history is None
      or self.prompts is None
      or (self.target_items is None)
    ):
      raise ValueError(
        f"{self.name} has no prompts, histories and items apart from its "
        "instructions; expected the rows of `instructrec generate` with an "
        "item table beside them: make the data anew, or set "
        "--gin.HISTORY_LENGTH=0 --gin.NUM_DRAWN=0"
      )

  def save(self, directory: pathlib.Path) -> None:
    """Writes the data set into an existing, empty folder."""
    for name in _RAGGED:
      if (rows := getattr(self, name)) is not None:
        rows.save(directory, name)
    for field, name in _ARRAYS.items():
      if (array := getattr(self, field)) is not None:
        np.save(directory / name, array)
    self.columns.write_parquet(directory / "columns.parquet")
    meta = {
      **self.meta,
      "format_version": FORMAT_VERSION,
      "name": self.name,
      "num_examples": len(self),
    }
    (directory / META).write_text(json.dumps(meta, indent=2) + "\n")
    checksums.write(directory)

  @classmethod
  def load(cls, directory: pathlib.Path) -> "TokenDataset":
    """Opens a folder that `save` wrote; tokens stay on disk.

    Every file is read once, for its hash.

    Args:
      directory: the folder.

    Returns:
      The data set.

    Raises:
      DamagedError: where a file in it was changed.
      ValueError: where another format version wrote it.
    """
    remedy = f"delete {directory}, it is made anew"
    checksums.verify(directory, remedy)
    meta = records.read(
      directory / META,
      keys=["name"],
      expected={"format_version": FORMAT_VERSION},
      remedy=remedy,
    )
    with records.reading(directory, remedy):
      rows = {
        name: ragged.Ragged.load(directory, name)
        for name in _RAGGED
        if (directory / f"{name}.offsets.npy").exists()
      }
      arrays = {
        field: np.load(directory / name)
        for field, name in _ARRAYS.items()
        if (directory / name).exists()
      }
      columns = pl.read_parquet(directory / "columns.parquet", glob=False)
    return cls(
      name=meta["name"],
      columns=columns,
      meta=meta,
      **{"lists": None, **rows, **arrays},
    )
