"""What a report says of the lists that a run writes for control tasks."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from jaxtyping import Int

from instructrec.alignment import asked, asking
from instructrec.alignment.constraint import Constraint
from instructrec.evaluation import (
  control_lists,
  control_report,
  intervals,
  markdown,
)
from instructrec.evaluation.control import Direction
from instructrec.pipelines import control_methods, control_requests
from instructrec.retrieval import methods, retriever
from instructrec.serving import instruction_folder, opened_run
from instructrec.settings import evaluation
from instructrec.training import title_writing


def check_teacher(
  folder: pathlib.Path, instructions: instruction_folder.InstructionFolder
) -> None:
  """Looks whether a retriever is the one whose lists the rows teach.

  Args:
    folder: what `retrieve fit` wrote.
    instructions: with rows of control tasks.

  Raises:
    FileNotFoundError: where the folder holds no retriever.
    ValueError: where it holds another.
  """
  found = retriever.read_manifest(folder)
  made_by = instructions.manifest["control"]["retriever"]
  for key in ("method", "settings"):
    if found[key] != made_by[key]:
      raise ValueError(
        f"--teacher={folder} has the {key} {found[key]}, the lists of "
        f"{instructions.directory} are of {made_by[key]}; name the folder that "
        "was given to `generate --retriever`"
      )


@dataclasses.dataclass(frozen=True, eq=False)
class ControlEvaluation:
  """Asks a run for lists, and says how far they obey.

  Attributes:
    methods: what writes the lists.
    seed: of bootstrap and tests.
    num_resamples: likewise.
  """

  methods: control_methods.ControlMethods
  seed: int = 0
  num_resamples: int = intervals.NUM_RESAMPLES

  @classmethod
  def of(
    cls,
    opened: opened_run.OpenedRun,
    instructions: instruction_folder.InstructionFolder,
    settings: evaluation.EvaluationSettings,
    popularity: retriever.Retriever,
  ) -> Self:
    """An evaluation as it is asked for.

    Args:
      opened: the run with its parameters.
      instructions: where the rows are.
      settings: which of them; they name a teacher.
      popularity: a retriever of what most people took.

    Raises:
      FileNotFoundError: where the teacher's folder holds no retriever.
      ValueError: where it was fitted on other data.
    """
    requests = control_requests.ControlRequests(
      opened,
      instructions,
      settings.split,
      settings.num_requests,
      settings.seed,
    )
    assert settings.teacher is not None
    (teacher,) = methods.load_all(
      [settings.teacher], instructions.prepared.fingerprint
    ).values()
    found = control_methods.ControlMethods(
      opened, requests, teacher, popularity
    )
    return cls(found, settings.seed)

  def sections(self) -> list[str]:
    """Asks for all lists.

    Returns:
      Sections of the report, as lines of Markdown.
    """
    rows = [
      (markdown.cell(name), what) for name, what in control_methods.WHAT.items()
    ]
    lines = ["## Control", "", markdown.table(("method", "lists"), rows), ""]
    for group, places in self.methods.requests.lists.groups.items():
      lines += self._section(group, places)
    return lines + list(self._categories())

  def _section(self, group: str, rows: Int[np.ndarray, " some"]) -> list[str]:
    frame, wishes = (
      self.methods.requests.lists.frame[rows],
      self.methods.asked.take(rows),
    )
    log = self.methods.opened.prepared.split.training_log
    taken = np.array(
      [log.item_counts.get(i, 0) for i in self.methods.opened.catalog.item_ids]
    )
    columns, exposures = {}, {}
    for name, method in self.methods.lists.items():
      if not method.where[rows].all():
        continue
      lists = control_lists.Lists(method.items[rows], wishes.k, wishes.history)
      without = None if method.without is None else method.without[rows]
      columns[name] = columns_of(wishes, lists, without)
      shown = lists.exposure(taken)
      if shown is not None:
        exposures[name] = shown
    return control_report.section(
      group,
      columns,
      reader=self.methods.reader.name,
      cases=wishes.cases,
      exposures=exposures,
      reference=control_methods.MODEL,
      seed=self.seed,
      num_resamples=self.num_resamples,
      clusters=frame["user_id"].to_list(),
    )

  def _categories(self) -> Iterator[str]:
    """The reverse question: how often the category is named to the letter."""
    rows, words = (
      self.methods.requests.categories,
      self.methods.opened.run.tokenizer,
    )
    if rows is None:
      return
    writer = self.methods.writer
    texts = title_writing.TitleWriter(
      writer.model, writer.params, writer.trie, writer.items, writer.batch_size
    ).write_freely(
      rows.prompts,
      1,
      max_length=int(rows.answers.lengths.max()),
      label="answer",
    )[:, 0]
    said = np.array([words.decode(text) for text in texts])
    right = np.array(
      [
        words.decode(rows.answers.tokens[start:stop])
        for start, stop in zip(
          rows.answers.offsets, rows.answers.offsets[1:], strict=False
        )
      ]
    )
    known = [
      {words.decode(words.encode(name)) for name in _names(texts)}
      for texts in rows.frame["constraints"].to_list()
    ]
    answers, counts = np.unique(right, return_counts=True)
    commonest = np.full(len(right), answers[counts.argmax()])
    for group, places in rows.groups.items():
      yield from (f"## Control: {group}", "")
      found = [
        (name, *_shares(each, right, known, places, self.seed))
        for name, each in (
          (control_methods.MODEL, said),
          ("commonest answer", commonest),
        )
      ]
      head = ("method", "most specific category", "any of its categories")
      yield from (
        f"{len(places):,} questions.",
        "",
        markdown.table(head, found),
      )
      yield ""


def columns_of(
  wishes: asked.Asked,
  lists: control_lists.Lists,
  without: Int[np.ndarray, "lists places"] | None,
) -> dict[str, np.ndarray]:
  """Columns of one method's lists for the rows of one task.

  Args:
    wishes: what is asked.
    lists: of the method.
    without: its lists for the same users without a wish.

  Returns:
    As `control_lists.per_list`: without targets where the rows are about no
    user, and without what is measured of wishes where they have none.
  """
  has_user = bool((wishes.targets != asked.NOBODY).all())
  is_plain = bool((wishes.wish.direction == Direction.PLAIN).all())
  plain = plain_has = None
  if without is not None and has_user and not is_plain:
    k = np.minimum(lists.k, asking.LIST_LENGTH)
    plain = control_lists.Lists(without, k, lists.history)
    plain_has = wishes.has(without)
  columns = control_lists.per_list(
    lists,
    wishes.targets,
    wishes.wish,
    wishes.has(lists.items),
    plain=plain,
    plain_has=plain_has,
    names=control_lists.ACCURACY if has_user else (),
  )
  if is_plain:
    columns = {
      name: column
      for name, column in columns.items()
      if not name.startswith(("TCP", "CPA"))
    }
  return columns


def _names(constraints: Sequence[str]) -> list[str]:
  return [Constraint.parse(text).attribute.name for text in constraints]


def _shares(
  said: np.ndarray,
  right: np.ndarray,
  known: Sequence[set[str]],
  rows: Int[np.ndarray, " some"],
  seed: int,
) -> list[str]:
  """How often answers are the right one, and one of those that hold."""
  hits = np.array(
    [[said[row] == right[row], said[row] in known[row]] for row in rows], float
  )
  return [
    f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
    for found in intervals.bootstrap(hits, seed=seed)
  ]
