"""Writes an evaluation as a folder: pages, JSON, pictures, Parquet and TREC."""

import dataclasses
import math
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from instructrec import foreign_text
from instructrec.evaluation import (
  documentation,
  file_names,
  following_report,
  group_section,
  headlines,
  loss_log,
  markdown,
  per_request,
  plots,
  published,
  report_folder,
  results,
  training_plots,
  trec,
)
from instructrec.evaluation import (
  examples as examples_lib,
)
from instructrec.evaluation import (
  following as following_lib,
)

SCHEMA_VERSION = 4


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
    config: the run's configuration as text.
    warnings: what limits the figures.
    training_log: rows of the run's `metrics.jsonl`; see `loss_log.read`.
    wall_seconds: how long each stage took.
    sections: further sections, as lines of Markdown behind the results.
    figures: what their tables show, as data.
    following: how far wishes are followed; None where it was not measured.
    model: the method that the report is about; None where there is no such.
    baselines: methods that the page's first lines hold against it.
    meanings: what the names of groups mean, in words; groups may be missing.
    examples: by group; groups may be missing.
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
  wall_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
  sections: Sequence[str] = ()
  figures: Sequence[published.Table] = ()
  following: following_lib.Following | None = None
  model: str | None = None
  baselines: Sequence[str] = ()
  meanings: Mapping[str, str] = dataclasses.field(default_factory=dict)
  examples: Mapping[str, Sequence[examples_lib.Example]] = dataclasses.field(
    default_factory=dict
  )


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
    remedy=per_request.REMEDY,
    writers=per_request.WRITERS,
  )


def _markdown(
  found: Sequence[results.EvaluationResult],
  pictures: Sequence[tuple[str, str | None]],
  context: Context,
  folder: pathlib.Path,
) -> str:
  lines = [f"# {foreign_text.in_markdown(context.title)}", ""]
  if context.model is not None:
    lines += headlines.baselines(found, context.model, context.baselines)
  lines += ["The best of each group:", ""]
  lines += [
    f"- {foreign_text.in_markdown(result.group)}: {headlines.headline(result)}"
    for result in found
  ]
  for warning in context.warnings:
    lines += ["", f"> **Note:** {foreign_text.in_markdown(warning)}"]
  lines += ["", "All figures on this page come from:", ""]
  lines += [markdown.fenced("\n".join(context.commands)), ""]
  lines += documentation.section(folder)
  for result, (bars, strata) in zip(found, pictures, strict=True):
    lines += group_section.section(
      result,
      bars,
      strata,
      context.meanings.get(result.group, ""),
      context.examples.get(result.group, ()),
    )
  lines += context.sections
  if context.following is not None:
    lines += following_report.section(context.following)
  if loss_log.has_curve(context.training_log):
    text = "Training and validation loss against the training step"
    lines += ["## Training", "", markdown.picture(text, "loss.svg"), ""]
  sections = {
    "Protocol": context.protocol,
    "Data": context.data,
    "Seeds": context.seeds,
    "Wall time": {
      name: f"{seconds:,.1f} s"
      for name, seconds in context.wall_seconds.items()
    },
    "Environment": context.environment,
  }
  for heading, values in sections.items():
    if values:
      lines += [f"## {heading}", "", markdown.facts(values), ""]
  lines += ["## Configuration", "", markdown.fenced(context.config.strip())]
  return foreign_text.printable("\n".join([*lines, ""]))


def _finite(value: Any) -> Any:
  """JSON has no NaN and no infinity: null stands for them."""
  if isinstance(value, Mapping):
    return {str(key): _finite(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def _remove_earlier(folder: pathlib.Path) -> None:
  """Files of groups and methods that an earlier report had may mislead."""
  if not (folder / report_folder.FILE).is_file():
    return
  shutil.rmtree(folder / "trec", ignore_errors=True)
  pictures = ("metrics-*.svg", "strata-*.svg", "loss.svg")
  for pattern in (*pictures, following_report.PICTURE):
    for path in folder.glob(pattern):
      path.unlink()


def write(
  directory: str | os.PathLike[str],
  found: Sequence[results.EvaluationResult],
  context: Context,
) -> pathlib.Path:
  """Writes the report's folder.

  Beside report.md are the same page as report.html, which needs no other file;
  report.json (all means, intervals and differences); per_request.parquet (a
  row for each group, request and method), with the `SHA256SUMS` of these two,
  which are read again; pictures; and, where lists were kept, `trec/<group>/`
  with qrels and runs.

  Args:
    directory: made where it is missing; an earlier report in it is replaced.
    found: one result a group.
    context: how the figures came about.

  Returns:
    The path of report.md.

  Raises:
    ValueError: where there is no result, two have the same group, or one has
      no values of single requests.
  """
  groups = [result.group for result in found]
  if not groups or len(set(groups)) < len(groups):
    raise ValueError(f"results are of {groups}, expected one for each group")
  for result in found:
    if not result.per_request:
      raise ValueError(
        f"the result of {result.group!r} has no values of single requests, as "
        "after reading it from JSON; evaluate again to write a report"
      )
  folder = pathlib.Path(directory)
  folder.mkdir(parents=True, exist_ok=True)
  _remove_earlier(folder)
  names = file_names.unique(groups)
  pictures: list[tuple[str, str | None]] = []
  for result, name in zip(found, names, strict=True):
    bars, strata = f"metrics-{name}.svg", f"strata-{name}.svg"
    plots.metric_intervals(result, folder / bars)
    drawn = plots.strata_lines(result, folder / strata)
    pictures.append((bars, strata if drawn else None))
  if context.following is not None:
    plots.following_bars(context.following, folder / following_report.PICTURE)
  if loss_log.has_curve(context.training_log):
    training_plots.loss_curve(context.training_log, folder / "loss.svg")
  per_request.table(found).write_parquet(folder / per_request.FILE)
  for result, name in zip(found, names, strict=True):
    if result.lists is not None:
      trec.write(folder / "trec" / name, result.lists)
  measured = context.following
  record = {
    "schema_version": SCHEMA_VERSION,
    "results": [result.to_json() for result in found],
    **dataclasses.asdict(context),
    "following": None if measured is None else measured.to_json(),
  }
  return report_folder.write(
    folder,
    _finite(record),
    _markdown(found, pictures, context, folder),
    title=context.title,
    others=(per_request.FILE,),
  )
