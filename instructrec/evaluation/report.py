"""Writes an evaluation as a folder: report.md, report.json, pictures, Parquet.

Every sentence of the report is computed from the results; none is fixed.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from instructrec.evaluation import metrics, plots, results


@dataclasses.dataclass(frozen=True)
class Context:
  """What a reader needs to trust, and to repeat, the figures.

  Attributes:
    title: heading of the report.
    commands: how it was made.
    protocol: facts of the evaluation (candidates, ties, normalisation ...).
    data: facts of the data, its fingerprint among them.
    seeds: seeds by what they fix.
    environment: versions and machine; see `environment.describe`.
    config: the run's gin configuration.
    warnings: what limits the figures.
    training_log: rows of the run's `metrics.jsonl`.
  """

  title: str
  commands: Sequence[str]
  protocol: Mapping[str, Any]
  data: Mapping[str, Any]
  seeds: Mapping[str, int]
  environment: Mapping[str, Any]
  config: str
  warnings: Sequence[str]
  training_log: Sequence[Mapping[str, Any]]


def headline(result: results.EvaluationResult, metric: str = "HR@1") -> str:
  """One sentence: which method leads, and whether the lead is clear.

  Args:
    result: one group's result.
    metric: the metric to speak of.

  Returns:
    The sentence.
  """
  order = list(result.methods)
  best = order[0]
  lead = next(
    (d for d in result.differences if d.metric == metric and d.method == best),
    None,
  )
  mean = result.methods[best][metric].mean
  text = f"**{best}** reaches {metric} {mean:.3f}"
  if lead is None:
    return f"{text} (chance {result.chance[metric]:.3f})."
  gap = lead.interval
  verb = (
    "ahead of"
    if gap.low > 0
    else "behind"
    if gap.high < 0
    else "not distinguishable from"
  )
  return (
    f"{text} (chance {result.chance[metric]:.3f}), {verb} "
    f"{lead.reference}: difference {gap.mean:+.3f} "
    f"[{gap.low:+.3f}, {gap.high:+.3f}]."
  )


def table(result: results.EvaluationResult) -> str:
  """All methods and metrics with intervals, as a Markdown table.

  Args:
    result: one group's result.

  Returns:
    The table; its last row is the chance level.
  """
  lines = [
    "| method | " + " | ".join(metrics.NAMES) + " |",
    "|---" * (len(metrics.NAMES) + 1) + "|",
  ]
  for name, row in result.methods.items():
    cells = [
      f"{row[m].mean:.3f} [{row[m].low:.3f}, {row[m].high:.3f}]"
      for m in metrics.NAMES
    ]
    lines.append(f"| {name} | " + " | ".join(cells) + " |")
  chance = [f"{result.chance[m]:.3f}" for m in metrics.NAMES]
  lines.append("| *chance* | " + " | ".join(chance) + " |")
  return "\n".join(lines)


def _facts(values: Mapping[str, Any]) -> str:
  lines = ["| | |", "|---|---|"]
  for name, value in values.items():
    text = json.dumps(value) if isinstance(value, dict | list) else value
    lines.append(f"| {name} | {text} |")
  return "\n".join(lines)


def _group_section(result: results.EvaluationResult) -> list[str]:
  differences = [
    f"- {d.method} - {d.reference}: {d.metric} {d.interval.mean:+.3f} "
    f"[{d.interval.low:+.3f}, {d.interval.high:+.3f}]"
    f"{'' if d.is_outside else ' (includes 0)'}"
    for d in result.differences
    if d.metric in ("HR@1", "NDCG@10")
  ]
  nan = {name: count for name, count in result.num_nan.items() if count}
  return [
    f"## {result.group}",
    "",
    headline(result),
    "",
    f"{result.num_requests:,} requests. Means over requests with 95% "
    "bootstrap intervals.",
    "",
    table(result),
    "",
    f"![Metrics of {result.group}](metrics-{result.group}.png)",
    "",
    "Paired differences on the same requests:",
    "",
    *differences,
    "",
    f"Scores that were not a number: {nan or 'none'}.",
    "",
  ]


def _markdown(
  found: Sequence[results.EvaluationResult], context: Context
) -> str:
  lines = [f"# {context.title}", ""]
  lines += [f"- {result.group}: {headline(result)}" for result in found]
  lines += ["", *(f"> **Note:** {text}" for text in context.warnings), ""]
  for result in found:
    lines += _group_section(result)
  if context.training_log:
    lines += ["## Training", "", "![Loss](loss.png)", ""]
  lines += ["## Protocol", "", _facts(context.protocol), ""]
  lines += ["## Data", "", _facts(context.data), ""]
  lines += ["## Seeds", "", _facts(context.seeds), ""]
  lines += ["## Environment", "", _facts(context.environment), ""]
  lines += ["## Commands", "", "```", *context.commands, "```", ""]
  lines += ["## Configuration", "", "```", context.config.strip(), "```", ""]
  return "\n".join(lines)


def write(
  directory: str | os.PathLike[str],
  found: Sequence[results.EvaluationResult],
  context: Context,
) -> pathlib.Path:
  """Writes the report's folder.

  Args:
    directory: made where it is missing.
    found: one result a group.
    context: how the figures came about.

  Returns:
    The path of report.md.
  """
  folder = pathlib.Path(directory)
  folder.mkdir(parents=True, exist_ok=True)
  for result in found:
    plots.metric_bars(result, folder / f"metrics-{result.group}.png")
  if context.training_log:
    plots.loss_curve(context.training_log, folder / "loss.png")
  frames = [
    pl.DataFrame(
      {
        "group": result.group,
        "request_id": result.request_ids,
        "method": name,
        **values,
      }
    )
    for result in found
    for name, values in result.per_request.items()
  ]
  pl.concat(frames).write_parquet(folder / "per_request.parquet")
  record = {
    "results": [result.to_json() for result in found],
    **dataclasses.asdict(context),
  }
  (folder / "report.json").write_text(json.dumps(record, indent=2) + "\n")
  path = folder / "report.md"
  path.write_text(_markdown(found, context))
  return path
