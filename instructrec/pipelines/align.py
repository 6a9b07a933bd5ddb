"""A run that was taught lists in; one whose lists earn more out, or a refusal.

Lists are asked for before and after, of the same validation requests; between
lies what `train` does. The run that is aligned stays as it is. Of test requests
lists are asked once it is decided, and decide nothing.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Int

from instructrec import checkpoint_steps
from instructrec.evaluation import (
  alignment_comparison,
  alignment_report,
  before_after,
  control_lists,
  environment,
  generated,
  loss_log,
  promotion,
)
from instructrec.evaluation.control import Direction
from instructrec.models import tokenizer
from instructrec.pipelines import (
  agreement,
  control_evaluation,
  control_methods,
  control_requests,
  control_writing,
  train,
)
from instructrec.serving import instruction_folder, opened_run
from instructrec.settings import alignment, training
from instructrec.training import (
  distributed,
  loop,
  run_dir,
  run_record,
  trained_run,
)

_CONTROL = (
  before_after.Measure("CPA", control_methods.MODEL, "CPA"),
  before_after.Measure(
    "TCP where wanted", control_methods.MODEL, "TCP", Direction.WANTED
  ),
  before_after.Measure(
    "TCP where not wanted",
    control_methods.MODEL,
    "TCP",
    Direction.UNWANTED,
    higher_is_better=False,
  ),
  before_after.Measure(
    "mistakes in free lists",
    control_methods.FREE,
    before_after.MISTAKES,
    higher_is_better=False,
  ),
)
_ACCURACY = tuple(
  before_after.Measure(
    f"{control_lists.COST_OF}, {method}", method, control_lists.COST_OF
  )
  for method in (control_methods.MODEL, control_methods.STATE)
)
_Tell = Callable[[str], None]


def align(
  settings: alignment.AlignmentSettings,
  *,
  command: str = "instructrec.pipelines.align.align",
  tell: _Tell = print,
) -> promotion.Promotion:
  """Aligns a run, or goes on with it, and judges what it came to.

  The decision lies in the record of the aligned run, with all figures in its
  report; where it is refused, whoever opens the run is told. Of the split
  `test`, a run that was judged has a further report, and nothing is trained.

  Args:
    settings: which run, with what, and what promotes it.
    command: how it was started, for the report.
    tell: shows a line.

  Returns:
    The decision.

  Raises:
    FileNotFoundError: where the run, its data or the teacher are gone.
    CollapsedError: where the policy collapsed; nothing is promoted.
    ValueError: where they do not fit each other, or the gin files; where test
      requests are to be asked of a run that is not judged.
  """
  distributed.check_alone("lists are written and judged by one")
  thresholds = promotion.Thresholds(
    max_accuracy_loss=settings.max_accuracy_loss
  )
  run = run_dir.load(settings.model_dir)
  instructions = instruction_folder.InstructionFolder.of_run(
    run, tfds_data_dir=settings.tfds_data_dir, data=settings.data
  )
  control_requests.tasks(run, instructions, settings.split)
  control_evaluation.check_teacher(settings.teacher, instructions)
  judged = _judged(settings, run) if settings.split == alignment.TEST else None
  params, chosen = run.params(checkpoint_steps.parse(settings.step))
  start = run.parameters.folder / f"checkpoint_{chosen.step}"
  bindings = agreement.bindings(
    run, str(start), settings.gin_files, settings.bindings
  )
  tell(f"before: lists of {chosen} of {run.directory}")
  before = _Lists.ask(settings, instructions, run, params)
  if judged is None:
    _train(settings, instructions, run, bindings, tell)
  aligned = run_dir.load(settings.output)
  params, reached = aligned.params()
  tell(f"after: lists of {reached} of {aligned.directory}")
  after = _Lists.ask(settings, instructions, aligned, params)
  found = before.compared(after)
  decision = _decision(found, thresholds, judged)
  if judged is None:
    _judge(settings, run, {**decision.to_json(), "checkpoint": reached.step})
  sides = {
    "before": f"{chosen} of {run.directory}",
    "after": f"{reached} of {aligned.directory}",
  }
  context = alignment_report.Context(
    title=f"Alignment report: {aligned.directory.name}",
    command=command,
    lists={name: control_methods.WHAT[name] for name in found.methods},
    facts=sides | _facts(settings, instructions, aligned),
    environment=environment.describe(),
    training_log=loss_log.read(settings.output / loss_log.FILE),
    config=aligned.config,
  )
  folder = settings.output / alignment_comparison.FOLDERS[settings.split]
  path = alignment_report.write(folder, found, decision, context)
  tell(f"{decision}\nreport: {path}")
  return decision


def _facts(
  settings: alignment.AlignmentSettings,
  instructions: instruction_folder.InstructionFolder,
  aligned: trained_run.Run,
) -> dict[str, Any]:
  """What the report says of data and seeds."""
  return {
    "split": settings.split,
    "requests asked for": settings.num_requests,
    "instructions fingerprint": instructions.manifest["fingerprint"],
    "seed of requests and intervals": settings.seed,
    "seed of training": aligned.start.seed if aligned.start else None,
  }


def _train(
  settings: alignment.AlignmentSettings,
  instructions: instruction_folder.InstructionFolder,
  run: trained_run.Run,
  bindings: tuple[str, ...],
  tell: _Tell,
) -> None:
  """Trains; nobody takes for good meanwhile what is not judged."""
  told = training.TrainingSettings(
    gin_files=settings.gin_files,
    bindings=bindings,
    tfds_data_dir=instructions.directory,
    model_dir=settings.output,
    watched=settings.watched,
  )
  waits = ["it is not judged yet: `instructrec align` goes on with it"]
  pending = {
    "promoted": False,
    "reasons": waits,
    "model_dir": str(run.directory),
  }
  try:
    train.train(told, tell, known={run_dir.PROMOTION: pending})
  except loop.DivergedError as error:
    _judge(settings, run, {"promoted": False, "reasons": [str(error)]})
    raise


def _judge(
  settings: alignment.AlignmentSettings,
  run: trained_run.Run,
  decision: Mapping[str, Any],
) -> None:
  with run_dir.locked(settings.output, lambda line: None):
    run_dir.judge(
      settings.output, {**decision, "model_dir": str(run.directory)}
    )


def _judged(
  settings: alignment.AlignmentSettings, run: trained_run.Run
) -> Mapping[str, Any]:
  """What was decided of what a run came to."""
  found = run_record.read(settings.output).get(run_dir.PROMOTION, {})
  if "checkpoint" not in found:
    raise ValueError(
      f"{settings.output} holds no run that is judged; align one there first, "
      f"without --split={alignment.TEST}"
    )
  began = pathlib.Path(found["model_dir"])
  if began.resolve() != run.directory.resolve():
    raise ValueError(
      f"{settings.output} began with {began}, --model_dir is "
      f"{settings.model_dir}; expected the run that was aligned"
    )
  return found


def _decision(
  found: before_after.BeforeAfter,
  thresholds: promotion.Thresholds,
  judged: Mapping[str, Any] | None,
) -> promotion.Promotion:
  """What metrics come to; where it is decided already, that with them."""
  level = promotion.level(len(_CONTROL))
  control, accuracy = (
    [c for one in measures if (c := found.change(one, level)) is not None]
    for measures in (_CONTROL, _ACCURACY)
  )
  decision = promotion.decide(control, accuracy, thresholds)
  if judged is None:
    return decision
  promoted, reasons = judged["promoted"], tuple(judged["reasons"])
  return dataclasses.replace(decision, promoted=promoted, reasons=reasons)


@dataclasses.dataclass(frozen=True, eq=False)
class _Lists:
  """What a run says to requests.

  Attributes:
    writer: the run, and the rows.
    columns: by method and metric a value for each row, NaN where it has none.
  """

  writer: control_writing.ControlWriter
  columns: dict[str, dict[str, np.ndarray]]

  @classmethod
  def ask(
    cls,
    settings: alignment.AlignmentSettings,
    instructions: instruction_folder.InstructionFolder,
    run: trained_run.Run,
    params: Any,
  ) -> Self:
    """Asks a run with some parameters; of all runs the same."""
    os.environ[tokenizer.ENVIRONMENT_VARIABLE] = str(run.tokenizer.path)
    opened = opened_run.OpenedRun.over(run, params, instructions)
    requests = control_requests.ControlRequests(
      opened,
      instructions,
      settings.split,
      settings.num_requests,
      settings.seed,
    )
    writer = control_writing.ControlWriter(opened, requests)
    every = np.arange(len(writer.asked))
    items = {
      control_methods.MODEL: writer.constrained(control_methods.MODEL, every),
      control_methods.FREE: writer.free(control_methods.FREE)[0],
    }
    if opened.ranks_catalogs:
      sizes = writer.asked.k.tolist()
      items[control_methods.STATE] = generated.padded(
        [
          ranking.best(k)
          for ranking, k in zip(writer.matched(), sizes, strict=True)
        ]
      )
    return cls(
      writer, {name: _columns(writer, one) for name, one in items.items()}
    )

  def compared(self, after: "_Lists") -> before_after.BeforeAfter:
    """These before, those of another run after.

    Raises:
      ValueError: where both were asked for different lists, or do not make
        lists in the same ways.
    """
    rows = self.writer.requests.lists
    if not rows.frame.equals(after.writer.requests.lists.frame):
      raise ValueError(
        "the rows that lists were asked for changed while the run was trained; "
        "align again"
      )
    return before_after.BeforeAfter(
      groups=rows.groups,
      directions=self.writer.asked.wish.direction,
      clusters=rows.frame["user_id"].to_list(),
      before=self.columns,
      after=after.columns,
      seed=self.writer.requests.seed,
    )


def _columns(
  writer: control_writing.ControlWriter, items: Int[np.ndarray, "rows places"]
) -> dict[str, np.ndarray]:
  """Metrics of one method's lists, group by group."""
  found: dict[str, np.ndarray] = {}
  rows = writer.requests.lists
  # Rows without a user read whatever plain list, which nobody looks at.
  without = items[rows.plain]
  for group in rows.groups.values():
    wishes = writer.asked.take(group)
    lists = control_lists.Lists(items[group], wishes.k, wishes.history)
    columns = control_evaluation.columns_of(wishes, lists, without[group])
    for name, column in before_after.with_mistakes(columns).items():
      whole = found.setdefault(name, np.full(len(items), np.nan))
      whole[group] = column
  return found
