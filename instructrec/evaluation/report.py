"""Writes an evaluation as a folder: pages, JSON, pictures, Parquet and TREC.

Every sentence on the figures is computed from the results; none is fixed.
"""

import dataclasses
import json
import logging
import math
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from instructrec import checksums, foreign_text, records
from instructrec.evaluation import (
  file_names,
  following_report,
  html,
  intervals,
  markdown,
  metrics,
  per_request,
  plots,
  results,
  significance,
  trec,
)
from instructrec.evaluation import (
  following as following_lib,
)

SCHEMA_VERSION = 4
FILE = "report.json"
_LOG = logging.getLogger(__name__)


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
    training_log: rows of the run's `metrics.jsonl`; see `read_training_log`.
    wall_seconds: how long each stage took.
    sections: further sections, as lines of Markdown behind the results.
    following: how far wishes are followed; None where it was not measured.
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
  following: following_lib.Following | None = None


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
  path = pathlib.Path(folder)
  if not checksums.is_known(path, FILE, per_request.REMEDY):
    raise FileNotFoundError(
      f"{folder} holds no report ({FILE} is missing); `instructrec evaluate` "
      "and `instructrec retrieve evaluate` write one"
    )
  checksums.verify(path, per_request.REMEDY, [FILE])
  record = records.read(
    path / FILE, keys=["schema_version"], remedy=per_request.REMEDY
  )
  if record["schema_version"] != SCHEMA_VERSION:
    raise ValueError(
      f"{folder} has schema_version {record['schema_version']}, expected "
      f"{SCHEMA_VERSION}; {per_request.REMEDY}"
    )
  return record


def read_training_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """Reads the rows of a run's `metrics.jsonl`.

  No figure depends on it: a log that is gone and lines that are no rows (the
  last one of a killed run may be cut) are named in a warning and left out.

  Args:
    path: the file; each line an object with `step`, `split` and numbers.

  Returns:
    The rows.
  """
  file = pathlib.Path(path)
  if not file.is_file():
    _LOG.warning("%s is missing; the report goes without a loss curve", file)
    return []
  lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
  rows = [_row(line) for line in lines]
  if bad := [number for number, row in enumerate(rows, 1) if row is None]:
    _LOG.warning(
      "%s: %d of %d lines are no rows with step, split and numbers and are "
      "left out; the first is line %d",
      file,
      len(bad),
      len(lines),
      bad[0],
    )
  return [row for row in rows if row is not None]


def _row(line: str) -> dict[str, Any] | None:
  try:
    row = json.loads(line)
  except (ValueError, RecursionError):
    return None
  if not isinstance(row, dict) or not isinstance(row.get("split"), str):
    return None
  if not isinstance(row.get("step"), int):
    return None
  values = [value for name, value in row.items() if name != "split"]
  numbers = all(v is None or isinstance(v, int | float) for v in values)
  return row if numbers else None


def _has_curve(rows: Sequence[Mapping[str, Any]]) -> bool:
  return any(
    row["split"] == "train" and row.get("loss") is not None for row in rows
  )


def headline(
  result: results.EvaluationResult, metric: str | None = None
) -> str:
  """What leads, what it clearly beats, and what it does not.

  Args:
    result: one group's result.
    metric: the metric to speak of; None for the first of those compared.

  Returns:
    One or two sentences. "Ahead" means that the paired difference is clear:
    its interval leaves out zero, and Holm's p-value is below 0.05; "below
    chance", that the interval is.
  """
  metric = metric or result.compared[0]
  best = max(result.methods, key=lambda name: result.methods[name][metric].mean)
  own, chance = result.methods[best][metric], result.chance[metric]
  text = f"**{foreign_text.in_markdown(best)}** reaches {metric} {own.mean:.3f}"
  side = _side(own, chance, result)
  if side < 0:
    text += ", below chance"
  elif not side:
    text += ", not distinguishable from chance"
  text += f" (chance {chance:.3f})"
  beaten: list[str] = []
  unclear: list[str] = []
  for other in result.methods:
    if other == best:
      continue
    gap = result.difference(best, other, metric)
    (beaten if gap.is_clear else unclear).append(
      f"{foreign_text.in_markdown(other)} ({markdown.signed(gap.interval)})"
    )
  if beaten:
    text += f", ahead of {_listing(beaten)}"
  if unclear:
    text += f"{'; but' if beaten else ','} not distinguishable from "
    text += _listing(unclear)
  text += "."
  pairs = [d for d in result.differences if d.metric == metric]
  if pairs and not any(d.is_clear for d in pairs):
    text += f" No method is clearly ahead of another at {metric}."
  return text


def _side(
  own: intervals.Interval, chance: float, result: results.EvaluationResult
) -> int:
  """Whether a mean is clearly below (-1) or above (1) chance, or neither (0).

  A few requests that all miss, or all hit, have an interval without width: it
  is held to how often chance alone does that.
  """
  count = (result.is_clustered and result.num_users) or result.num_requests
  if own.low == own.high and own.mean in (0.0, 1.0):
    by_chance = (chance if own.mean else 1 - chance) ** count
    if by_chance >= significance.LEVEL / 2:
      return 0
  return (own.low > chance) - (own.high < chance)


def _listing(names: Sequence[str]) -> str:
  return ", ".join(names[:-1]) + " and " + names[-1] if names[1:] else names[0]


def _remarks(result: results.EvaluationResult) -> list[str]:
  remarks = []
  if result.is_clustered:
    remarks.append(
      f"The requests are of {result.num_users:,} users, some of whom have "
      "several: these are not independent, so intervals and tests draw users "
      "with all of their requests."
    )
  if result.num_requests < 100:
    remarks.append(
      f"> **Note:** {result.num_requests} requests are few; intervals of so "
      "few tend to be too narrow."
    )
  full = [name for name, value in result.chance.items() if value > 1 - 1e-9]
  if full:
    remarks.append(
      f"{', '.join(full)} {'is' if len(full) == 1 else 'are'} 1 for every "
      "method: no list has more candidates."
    )
  longest = result.num_candidates[1]
  deeper = [m for m in result.chance if (metrics.cutoff(m) or 0) > longest]
  if deeper := [name for name in deeper if name not in full]:
    remarks.append(
      f"{', '.join(deeper)}: no list has more than {longest} candidates, so "
      "that these take whole lists."
    )
  return [line for remark in remarks for line in (remark, "")]


def _strata_section(
  result: results.EvaluationResult, picture: str | None
) -> list[str]:
  """By what is known of the requests, and what is shown of the catalogue."""
  group = foreign_text.in_markdown(result.group)
  lines = []
  if result.breakdowns:
    lines += [f"### {group}: by position, popularity and history", ""]
    lines += [
      "HR@1 / NDCG@10 of each part of the requests"
      + (", and HR@1 with its standard error." if picture else "."),
      "",
    ]
  for split in result.breakdowns:
    if len(split.labels) > 1:
      lines += [markdown.breakdown_table(split), ""]
    else:
      lines += [f"Of all requests, {split.name}: {split.labels[0]}.", ""]
  if picture:
    splits = "; ".join(split.name for split in result.breakdowns)
    text = (
      f"Lines of HR@1 of each method on {result.group}, by {splits}; the "
      "tables above have the values"
    )
    lines += [markdown.picture(text, picture), ""]
  if result.exposures:
    lines += [
      f"### {group}: what is shown",
      "",
      "Coverage is the share of the catalogue in the first places of any "
      "request; Gini is 0 where all items are shown equally often and near 1 "
      "where few take all places; popularity counts training interactions.",
      "",
      markdown.exposure_table(result.exposures),
      "",
    ]
  if result.agreements:
    lines += [
      f"### {group}: the same candidates in other orders",
      "",
      "Methods that read or group whole lists were asked again with the "
      "candidates in other orders; the figures above are those of the first. "
      "Tau-b is 1 where all rankings are equal, 0 where they have nothing to "
      "do with each other.",
      "",
      markdown.agreement_table(result.agreements),
      "",
    ]
  return lines


def _group_section(
  result: results.EvaluationResult, picture: str, strata: str | None
) -> list[str]:
  nan = {name: count for name, count in result.num_nan.items() if count}
  short, long = result.num_candidates
  length = f"{short}" if short == long else f"{short} to {long}"
  lines = [
    f"## {foreign_text.in_markdown(result.group)}",
    "",
    f"{result.num_requests:,} requests of {length} candidates. Means over "
    f"requests with 95% bootstrap intervals ({result.num_resamples:,} "
    "resamples); chance is what any order gets that knows nothing.",
    "",
    markdown.metric_table(result),
    "",
    *_remarks(result),
    *(
      f"- {foreign_text.in_markdown(f'{name}: {text}')}"
      for name, text in result.descriptions.items()
    ),
    *([""] if result.descriptions else []),
    markdown.picture(
      f"Bars of {', '.join(result.chance)} of {', '.join(result.methods)} on "
      f"{result.group}, with 95% intervals and chance; the table above has the "
      "values",
      picture,
    ),
    "",
  ]
  if result.runs:
    lines += [
      "Mean and standard deviation over runs; intervals and tests on this page "
      "are of each request's mean over runs, and speak of other requests, not "
      "of other runs.",
      "",
      markdown.run_table(result),
      "",
    ]
  if result.differences:
    lines += [
      "Paired differences on the same requests: mean with its 95% bootstrap "
      "interval; p of the paired randomisation test, two-sided, "
      f"{result.num_resamples:,} flips, corrected by Holm for all pairs at "
      "that metric; effect size d (mean over standard deviation); how many "
      "requests are better and worse. Bold: the interval leaves out 0 and p "
      f"is below {significance.LEVEL}.",
      "",
      markdown.difference_table(result),
      "",
    ]
  lines += [f"Scores that were not a number: {nan or 'none'}.", ""]
  return lines + _strata_section(result, strata)


def _markdown(
  found: Sequence[results.EvaluationResult],
  pictures: Sequence[tuple[str, str | None]],
  context: Context,
) -> str:
  lines = [f"# {foreign_text.in_markdown(context.title)}", ""]
  lines += [
    f"- {foreign_text.in_markdown(result.group)}: {headline(result)}"
    for result in found
  ]
  for warning in context.warnings:
    lines += ["", f"> **Note:** {foreign_text.in_markdown(warning)}"]
  lines += ["", "All figures on this page come from:", ""]
  lines += [markdown.fenced("\n".join(context.commands)), ""]
  for result, (bars, strata) in zip(found, pictures, strict=True):
    lines += _group_section(result, bars, strata)
  lines += context.sections
  if context.following is not None:
    lines += following_report.section(context.following)
  if _has_curve(context.training_log):
    text = "Training and validation loss against the training step"
    lines += ["## Training", "", markdown.picture(text, "loss.png"), ""]
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
  if not (folder / FILE).is_file():
    return
  shutil.rmtree(folder / "trec", ignore_errors=True)
  pictures = ("metrics-*.png", "strata-*.png", "loss.png")
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
    bars, strata = f"metrics-{name}.png", f"strata-{name}.png"
    plots.metric_bars(result, folder / bars)
    drawn = plots.strata_lines(result, folder / strata)
    pictures.append((bars, strata if drawn else None))
  if context.following is not None:
    plots.following_bars(context.following, folder / following_report.PICTURE)
  if _has_curve(context.training_log):
    plots.loss_curve(context.training_log, folder / "loss.png")
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
  plain = json.dumps(_finite(record), indent=2, allow_nan=False)
  (folder / FILE).write_text(plain + "\n", encoding="utf-8")
  checksums.write(folder, [FILE, per_request.FILE])
  path = folder / "report.md"
  text = _markdown(found, pictures, context)
  path.write_text(text, encoding="utf-8")
  page = html.page(text, context.title, folder)
  (folder / "report.html").write_text(page, encoding="utf-8")
  return path
