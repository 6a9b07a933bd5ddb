"""What is said of a run that was aligned: figures, curves and a decision."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from instructrec import foreign_text
from instructrec.evaluation import (
  before_after,
  intervals,
  markdown,
  promotion,
  report_folder,
  training_plots,
)

SCHEMA_VERSION = 1
CURVES = "curves.svg"
_PANELS = {
  "Rewards of items": ("reward/ranking", "reward/task", "reward/item"),
  "Reward of lists": ("reward/list",),
  "Divergence from the reference": ("policy/divergence", "policy/log_ratio"),
  "Entropy (nats an item)": (
    "entropy/item",
    "entropy/item_1",
    "entropy/item_5",
    "entropy/item_10",
  ),
  "Lists": ("lists/errors", "lists/distinct", "lists/popularity"),
  "Without lesson, without gradient": ("policy/same_rewards", "policy/clipped"),
}
_HOW = (
  "Each metric of the same requests before and after, with 95% "
  "bootstrap intervals over users. A difference is after - before: with its "
  "interval, the p-value of a paired randomisation test, the effect size, and "
  "how many requests rise and fall; bold where test and interval agree. Of "
  "metrics that are 0 before and after, mistakes alone are shown. "
  "docs/evaluation.md says what each metric is. The best checkpoint was chosen "
  "by rewards of validation rows: figures to publish are those of test rows, "
  "of the same command with --split=test."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
  """What a reader needs to trust, and to repeat, the figures.

  Attributes:
    title: heading of the report.
    command: how it was made.
    lists: what the lists of each method are, in words.
    facts: of runs, data and seeds.
    environment: see `environment.describe`.
    training_log: rows of the run's `metrics.jsonl`.
    config: the run's settings as text.
  """

  title: str
  command: str
  lists: Mapping[str, str]
  facts: Mapping[str, Any]
  environment: Mapping[str, Any]
  training_log: Sequence[Mapping[str, Any]]
  config: str


def read(folder: str | os.PathLike[str]) -> dict[str, Any]:
  """What `report.json` of a report holds.

  Args:
    folder: what `write` wrote.

  Returns:
    The record.

  Raises:
    FileNotFoundError: where the folder holds no report.
    DamagedError: where the file was changed.
    ValueError: where it is of another version.
  """
  return report_folder.read(
    folder,
    SCHEMA_VERSION,
    remedy="align the run again",
    writers="`instructrec align` writes one beside the run",
  )


def write(
  folder: pathlib.Path,
  found: before_after.BeforeAfter,
  decision: promotion.Promotion,
  context: Context,
) -> pathlib.Path:
  """Writes report.md, report.html, report.json and the curves.

  Args:
    folder: made where it is missing; an earlier report in it is replaced.
    found: the metrics.
    decision: what they came to.
    context: how the figures came about.

  Returns:
    The path of report.md.
  """
  folder.mkdir(parents=True, exist_ok=True)
  tables = {
    group: {method: found.compared(group, method) for method in found.methods}
    for group in found.groups
  }
  has_curves = training_plots.training_curves(
    context.training_log, _PANELS, folder / CURVES
  )
  record = {
    "schema_version": SCHEMA_VERSION,
    "promotion": decision.to_json(),
    "groups": {
      group: {
        "num_requests": len(found.groups[group]),
        "methods": {
          method: {name: _json(figures) for name, figures in each.items()}
          for method, each in methods.items()
        },
      }
      for group, methods in tables.items()
    },
    "command": context.command,
    "facts": context.facts,
    "environment": context.environment,
  }
  text = "\n".join(
    [
      *_head(decision, context),
      *(line for group in tables for line in _group(group, tables[group])),
      *_foot(context, has_curves=has_curves),
    ]
  )
  return report_folder.write(
    folder, record, foreign_text.printable(text), title=context.title
  )


def _head(decision: promotion.Promotion, context: Context) -> list[str]:
  """The decision, and what it rests on."""
  word = "Promoted" if decision.promoted else "Refused"
  lines = [f"# {foreign_text.in_markdown(context.title)}", "", f"**{word}.**"]
  if not decision.promoted:
    lines[-1] += " What it began with stays the run to use."
  if (split := context.facts["split"]) != "validation":
    lines[-1] += (
      f" So lists of validation requests decided; all figures below are of "
      f"{split} requests, which decide nothing."
    )
  lines += ["", *(f"- {markdown.cell(reason)}" for reason in decision.reasons)]
  lines += ["", markdown.fenced(context.command), "", "## Promotion", ""]
  share = decision.thresholds.max_accuracy_loss
  lines += [
    "A metric of control must be better for certain, none worse for certain "
    f"(intervals that hold together at {promotion.CONFIDENCE:.0%}), and of no "
    f"metric of accuracy may more than {share:.0%} be lost. Lower is better "
    "where a metric has a star.",
    "",
  ]
  rows = [
    (
      markdown.cell(change.name) + ("" if change.higher_is_better else " *"),
      f"{change.num_requests:,}",
      f"{change.before:.3f}",
      f"{change.after:.3f}",
      markdown.signed(change.difference),
      "better" if change.is_better else "worse" if change.is_worse else "-",
    )
    for change in (*decision.control, *decision.accuracy)
  ]
  head = ("metric", "requests", "before", "after", "difference", "for certain")
  lines += [markdown.table(head, rows), "", "## Lists", "", _HOW, ""]
  methods = [
    (markdown.cell(name), markdown.cell(text))
    for name, text in context.lists.items()
  ]
  return [*lines, markdown.table(("method", "lists"), methods), ""]


def _group(
  group: str, methods: Mapping[str, Mapping[str, before_after.Compared]]
) -> list[str]:
  """The table of a group: a row for each metric of each method."""
  rows = [
    (
      f"{markdown.cell(method)}: {markdown.cell(name)}",
      _shown(each.before),
      _shown(each.after),
      markdown.compared(each.difference),
    )
    for method, metrics in methods.items()
    for name, each in metrics.items()
    if name == before_after.MISTAKES or each.before.mean or each.after.mean
  ]
  head = ("metric", "before", "after", "difference")
  return [
    f"## {foreign_text.in_markdown(group)}",
    "",
    markdown.table(head, rows),
    "",
  ]


def _foot(context: Context, *, has_curves: bool) -> list[str]:
  """Curves, and what is needed to repeat it all."""
  lines = []
  if has_curves:
    text = "Rewards, divergence, entropy and lists against the training step"
    lines += ["## Training", "", markdown.picture(text, CURVES), ""]
  for heading, values in (
    ("Run", context.facts),
    ("Environment", context.environment),
  ):
    lines += [f"## {heading}", "", markdown.facts(values), ""]
  config = markdown.fenced(context.config.strip())
  return [*lines, "## Configuration", "", config, ""]


def _shown(found: intervals.Interval) -> str:
  return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _json(found: before_after.Compared) -> dict[str, Any]:
  return {
    "before": dataclasses.asdict(found.before),
    "after": dataclasses.asdict(found.after),
    "difference": found.difference.to_json(),
  }
