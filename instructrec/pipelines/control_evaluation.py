"""What a report says of the lists that a run writes for control tasks."""

import dataclasses
import pathlib
from typing import Self

import numpy as np
from jaxtyping import Int

from instructrec.alignment import asked, asking
from instructrec.alignment.constraint import Constraint
from instructrec.evaluation import (
  category_answers,
  control_lists,
  control_report,
  intervals,
  markdown,
  published,
)
from instructrec.evaluation.control import Direction
from instructrec.pipelines import (
  control_lead,
  control_methods,
  control_requests,
  control_turns,
  control_writing,
)
from instructrec.retrieval import methods, retriever
from instructrec.serving import instruction_folder, opened_run
from instructrec.settings import evaluation

_SHOWN = (
  (control_methods.FREE, "CorrectCount"),
  (control_methods.MODEL, "TCP"),
  (control_methods.MODEL, "TCP lift"),
  (control_methods.MODEL, "CPA within one"),
  (control_methods.ORACLE, "CPA"),
  (control_methods.MODEL, "HR@10"),
  (control_methods.TEACHER, "HR@10"),
  (control_methods.ORACLE, "HR@10"),
  (control_methods.READ, "TCP"),
  (control_methods.READ, "CPA within one"),
  (control_methods.READ, "HR@10"),
)
"""Methods and columns of the table that all groups share."""


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
  found = retriever.fingerprint(folder)
  made_by = instructions.manifest["control"]["retriever"]
  if found != made_by["fingerprint"]:
    raise ValueError(
      f"--teacher={folder} holds the retriever {found}, the lists of "
      f"{instructions.directory} are of {made_by['method']} in a folder "
      f"{made_by['folder']!r}, {made_by['fingerprint']}; name the folder that "
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
    lead = None
    if opened.ranks_catalogs:
      most = control_lead.NUM_REQUESTS
      validation = control_requests.ControlRequests(
        opened,
        instructions,
        "validation",
        min(settings.num_validation or most, most),
        settings.seed,
      )
      lead = control_lead.fitted(
        control_writing.ControlWriter(opened, validation)
      )
    assert settings.teacher is not None
    (teacher,) = methods.load_all(
      [settings.teacher], instructions.prepared.fingerprint
    ).values()
    writer = control_writing.ControlWriter(opened, requests)
    found = control_methods.ControlMethods(writer, teacher, popularity, lead)
    return cls(found, settings.seed)

  def sections(self) -> tuple[list[str], list[published.Table]]:
    """Asks for all lists.

    Returns:
      Sections of the report, as lines of Markdown; and the means of each group
      as data.
    """
    rows = [
      (markdown.cell(name), control_methods.WHAT[name])
      for name in self.methods.lists
    ]
    lines = ["## Control", "", markdown.table(("method", "lists"), rows), ""]
    if self.methods.lead is not None:
      said = control_lead.description(self.methods.lead, self.methods.writer)
      lines += [said, ""]
    means, details, tables = [], [], []
    for group, places in self.methods.writer.requests.lists.groups.items():
      columns, section = self._section(group, places)
      means.append((group, *_means(columns)))
      details += section.lines
      tables.append(section.table)
    head = ("mean", *(f"{name}: {column}" for name, column in _SHOWN))
    lines += [markdown.table(head, means), ""]
    for section in (*self._second_turns(), *self._categories()):
      details += section.lines
      tables.append(section.table)
    return lines + details, tables

  def _section(
    self, group: str, rows: Int[np.ndarray, " some"]
  ) -> tuple[control_report.Columns, control_report.Section]:
    """Columns of the rows of a group, and what the report says of them."""
    writer = self.methods.writer
    opened, wishes = writer.opened, writer.asked.take(rows)
    users = writer.requests.lists.frame["user_id"][rows]
    counts = opened.prepared.split.training_log.item_counts
    taken = np.array([counts.get(i, 0) for i in opened.catalog.item_ids])
    columns, exposures = {}, {}
    for name, method in self.methods.lists.items():
      if not method.where[rows].all():
        continue
      lists = control_lists.Lists(method.items[rows], wishes.k, wishes.history)
      without = None if method.without is None else method.without[rows]
      columns[name] = columns_of(wishes, lists, without)
      if method.misnumbered is not None:
        wrong = method.misnumbered[rows].astype(np.float64)
        columns[name][control_lists.MISNUMBERED] = wrong
      shown = lists.exposure(taken)
      if shown is not None:
        exposures[name] = shown
    return columns, control_report.section(
      group,
      columns,
      reader=writer.reader.name,
      cases=wishes.cases,
      exposures=exposures,
      reference=control_methods.MODEL,
      seed=self.seed,
      num_resamples=self.num_resamples,
      clusters=users.to_list(),
    )

  def _second_turns(self) -> list[control_report.Section]:
    """What comes of asking for fewer of what was shown."""
    lists = self.methods.writer.requests.lists
    turns = control_turns.SecondTurns(self.methods)
    groups = {
      task: lists.groups.get(f"{task}, seen") for task in control_turns.TASKS
    }
    return [
      control_report.section(
        f"fewer of those, after {task}",
        turns.columns(rows),
        reader=self.methods.writer.reader.name,
        seed=self.seed,
        num_resamples=self.num_resamples,
        clusters=lists.frame["user_id"][rows].to_list(),
      )
      for task, rows in groups.items()
      if rows is not None
    ]

  def _categories(self) -> list[control_report.Section]:
    """The reverse question."""
    writer = self.methods.writer
    rows = writer.requests.categories
    if rows is None:
      return []
    words = writer.opened.run.tokenizer
    texts = writer.titles.write_freely(
      rows.prompts, 1, max_length=int(rows.answers.lengths.max()), label="name"
    )
    said = [words.decode(text) for text in texts[:, 0]]
    # As the vocabulary gives them back.
    right = [
      [words.decode(words.encode(name)) for name in map(_name, constraints)]
      for constraints in rows.frame["constraints"].to_list()
    ]
    return [
      category_answers.section(
        group,
        [said[place] for place in places],
        [right[place] for place in places],
        seed=self.seed,
        num_resamples=self.num_resamples,
      )
      for group, places in rows.groups.items()
    ]


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


def _means(columns: control_report.Columns) -> list[str]:
  """What the first table shows of a group, "-" where there is none."""
  found = [columns.get(name, {}).get(column) for name, column in _SHOWN]
  return [
    "-" if each is None or np.isnan(each).all() else f"{np.nanmean(each):.3f}"
    for each in found
  ]


def _name(constraint: str) -> str:
  return Constraint.parse(constraint).attribute.name
