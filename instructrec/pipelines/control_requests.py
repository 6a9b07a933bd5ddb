"""The rows of a run's control tasks that a report asks its model."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl
import seqio
from jaxtyping import Int

from instructrec.alignment import asked
from instructrec.alignment.wordings import ControlTask
from instructrec.data import request
from instructrec.instructions import format as instruction_format
from instructrec.pipelines import (
  item_features,
  registry,
  tfds_writer,
  token_cache,
)
from instructrec.serving import instruction_folder, opened_run
from instructrec.training import (
  batches,
  ragged,
  title_writing,
  token_dataset,
  trained_run,
)

_CONFIG = f"{instruction_format.CONTROL}_"
_COLUMNS = (
  "request_id",
  "user_id",
  "constraints",
  "k",
  "history_ids",
  "label_ids",
  "next_id",
  "unseen",
)


def tasks(
  run: trained_run.Run,
  instructions: instruction_folder.InstructionFolder,
  split: str,
) -> dict[ControlTask, str]:
  """The control tasks that a run is asked, and their SeqIO tasks.

  Also those that it was not trained on, such as plain lists of a run that was
  trained on PALR's.

  Args:
    run: the run.
    instructions: where the rows are.
    split: whose rows.

  Returns:
    Names by task.

  Raises:
    ValueError: where the run was trained on no control task, or there are no
      rows of one.
  """
  registry.import_tasks(run.data.modules)
  trained = {
    name.removesuffix(item_features.SUFFIX): config
    for name in token_cache.mixture_rates(run.data.mixture)
    if (config := _config(name)).startswith(_CONFIG)
  }
  if not trained:
    raise ValueError(
      f"the run in {run.directory} was trained on {run.data.mixture}, which "
      "has no control task; train one on control_v1_mixture or "
      "control_v1_general (docs/control.md), or leave out --teacher"
    )
  name, config = next(iter(trained.items()))
  prefix = name.removesuffix(config.removeprefix(_CONFIG))
  counts = instructions.manifest["rows"]
  found = {
    task: f"{prefix}{task}"
    for task in ControlTask
    if split in counts.get(f"{_CONFIG}{task}", {})
  }
  if ControlTask.PLAIN not in found:
    raise ValueError(
      f"{instructions.directory} holds no {split} rows of control tasks; make "
      "them with `instructrec generate --kind=control`, or leave out --teacher"
    )
  return found


def _config(name: str) -> str:
  """The TFDS config of ours that a SeqIO task reads, "" of others."""
  source = seqio.TaskRegistry.get(name).source
  if not isinstance(source, seqio.TfdsDataSource):
    return ""
  folder, _, config = (source.tfds_dataset.name or "").partition("/")
  return config.split(":")[0] if folder == tfds_writer.NAME else ""


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
  """Rows of some tasks, one after the other.

  Attributes:
    frame: `task` and the columns of control rows.
    prompts: as the model reads them.
    answers: tokens of the responses.
  """

  frame: pl.DataFrame
  prompts: title_writing.Prompts
  answers: ragged.Ragged

  @functools.cached_property
  def plain(self) -> Int[np.ndarray, " rows"]:
    """The row that asks the same user for a plain list; -1 for none."""
    is_plain = (pl.col("task") == ControlTask.PLAIN) & (
      pl.col("unseen").list.len() == 0
    )
    rows = self.frame.with_row_index("row")
    plain = rows.filter(is_plain).select("request_id", "row")
    found = dict(plain.iter_rows())
    return np.array(
      [
        found[name] if user else -1
        for name, user in rows.select("request_id", "next_id").iter_rows()
      ],
      np.int64,
    )

  def prompts_of(
    self, rows: Int[np.ndarray, " taken"]
  ) -> title_writing.Prompts:
    """What the model reads for some of them, in any order."""
    every = self.prompts
    return dataclasses.replace(
      every,
      rows=every.rows[rows],
      history=None if every.history is None else every.history[rows],
    )

  @property
  def groups(self) -> Mapping[str, Int[np.ndarray, " rows"]]:
    """Rows of one task that are alike in what is unseen, by a name."""
    found: dict[str, list[int]] = {}
    columns = self.frame.select("task", "unseen")
    for row, (task, unseen) in enumerate(columns.iter_rows()):
      words = f"unseen {' and '.join(unseen)}" if unseen else "seen"
      found.setdefault(f"{task}, {words}", []).append(row)
    return {name: np.array(found[name], np.int64) for name in sorted(found)}


@dataclasses.dataclass(frozen=True, eq=False)
class ControlRequests:
  """Reads rows, those of the same requests of every task.

  Attributes:
    opened: the run, which says how its model reads.
    instructions: where the rows are.
    split: whose rows.
    num_requests: drawn by seed, with all of their rows; None for all.
    seed: of the draw.
  """

  opened: opened_run.OpenedRun
  instructions: instruction_folder.InstructionFolder
  split: str
  num_requests: int | None = None
  seed: int = 0

  @functools.cached_property
  def _tasks(self) -> dict[ControlTask, str]:
    return tasks(self.opened.run, self.instructions, self.split)

  @functools.cached_property
  def lists(self) -> Rows:
    """Rows that ask for lists."""
    return self._rows(
      task for task in self._tasks if task is not ControlTask.CATEGORY
    )

  @functools.cached_property
  def categories(self) -> Rows | None:
    """Rows that ask for the category of an item; None where there are none."""
    if ControlTask.CATEGORY not in self._tasks:
      return None
    return self._rows([ControlTask.CATEGORY])

  @functools.cached_property
  def _chosen(self) -> pl.DataFrame:
    """Requests; each has a plain list that is asked for."""
    plain = self._load(ControlTask.PLAIN).columns.filter(
      pl.col("unseen").list.len() == 0
    )
    ids = plain.select("request_id").unique(maintain_order=True)
    return request.sample(ids, self.num_requests, self.seed)

  def _load(self, task: ControlTask) -> token_dataset.TokenDataset:
    return token_cache.load(
      self._tasks[task], self.split, self.instructions.directory
    )

  def _rows(self, wanted: Iterable[ControlTask]) -> Rows:
    run, items = self.opened.run, self.opened.parts.items
    frames, texts, answers, histories = [], [], [], []
    for task in wanted:
      data = self._load(task)
      rows = (
        data.columns.select(_COLUMNS)
        .with_row_index("row")
        .join(self._chosen, on="request_id", how="semi", maintain_order="left")
      )
      examples = rows["row"].to_numpy().astype(np.int64)
      frames.append(rows.drop("row").with_columns(task=pl.lit(task.value)))
      texts.append(batches.instructions(data, items).take(examples))
      answers.append(data.targets.take(examples))
      if items is not None and items.history_length:
        histories.append(items.history(data, examples))
    frame = pl.concat(frames)
    prompts = title_writing.Prompts(
      ragged.Ragged.joined(texts),
      np.arange(frame.height),
      np.concatenate(histories) if histories else None,
      run.data.inputs_length,
    )
    return Rows(frame, prompts, ragged.Ragged.joined(answers))

  def asked(self) -> asked.Asked:
    """What the rows of `lists` ask."""
    return asked.Asked.of(self.lists.frame, self.opened.catalog)
