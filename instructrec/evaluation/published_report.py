"""What is published of a report: the figures, without single requests."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from instructrec.evaluation import following as following_lib
from instructrec.evaluation import (
  following_report,
  published,
  report,
  results,
)
from instructrec.evaluation.published import PublishedError


def from_folder(
  folder: str | os.PathLike[str],
  name: str,
  *,
  title: str | None = None,
  groups: Sequence[str] = (),
  rows: Mapping[str, str] | None = None,
  metrics: Sequence[str] = (),
  reference: str | None = None,
  compared: Sequence[str] = (),
) -> published.Published:
  """Takes the figures of a report that was written before.

  The reports of `evaluate`, `retrieve evaluate` and `compare` are all alike;
  that of `compare --seeds` has several training seeds in one row. Tables of
  further sections keep the reference that they have, as those of the parts of a
  score, or have none, as those of control.

  Args:
    folder: of the report.
    name: of the file to publish.
    title: a line on what it shows; None for the report's own.
    groups: which groups become tables, or tables of further sections; empty
      for all groups.
    rows: name on the page -> method in the report, in the order of the page;
      None for all methods under their own names.
    metrics: which; empty for all that the report has.
    reference: the row that differences are taken to; None for the best.
    compared: metrics whose differences have a column; empty for the first.

  Returns:
    What to save.

  Raises:
    FileNotFoundError: where the folder holds no report.
    PublishedError: where the report lacks what is asked for.
  """
  record = report.read(folder)
  found = [results.EvaluationResult.from_json(r) for r in record["results"]]
  further = [
    published.read_table(each, f"{folder}, figures {i}")
    for i, each in enumerate(record.get("figures", ()))
  ]
  own = [result.group for result in found] + [each.name for each in further]
  if unknown := sorted(set(groups) - set(own)):
    raise PublishedError(f"{folder} has no groups {unknown}; it has {own}")
  tables = [
    table(result, rows, metrics, reference, compared)
    for result in found
    if not groups or result.group in groups
  ]
  chosen = [each for each in further if each.name in groups]
  known = {row.name for each in chosen for row in each.rows}
  # Of groups, some have no filter, say; but what none has is a mistake.
  if chosen and rows and (unknown := sorted({*rows.values()} - known)):
    raise PublishedError(
      f"{[each.name for each in chosen]} lack the methods {unknown}; they have "
      f"{sorted(known)}"
    )
  tables += [_some(each, rows, metrics, reference, compared) for each in chosen]
  if not tables:
    raise PublishedError(
      f"{folder} ranks no candidates, and its tables are published where they "
      f"are named as groups: {own}"
    )
  return _published(record, name, title, tables)


def _some(
  found: published.Table,
  rows: Mapping[str, str] | None,
  metrics: Sequence[str],
  reference: str | None,
  compared: Sequence[str],
) -> published.Table:
  """Some rows and metrics of a table; those that it has not are left out.

  Its differences are to one row, and go where that row is left out.
  """
  chosen = [m for m in metrics or found.metrics if m in found.metrics]
  if not chosen:
    raise PublishedError(
      f"{found.name} lacks the metrics {list(metrics)}; it has {found.metrics}"
    )
  names = [row.name for row in found.rows]
  taken = rows or {name: name for name in names}
  taken = {name: method for name, method in taken.items() if method in names}
  own = next((n for n, m in taken.items() if m == found.reference), None)
  if reference in taken and reference != own:
    raise PublishedError(
      f"{found.name} has no differences to {reference!r}; its differences are "
      f"to {found.reference!r}"
    )

  def of_row(name: str, row: published.Row) -> published.Row:
    gaps = {} if own is None else row.differences
    return dataclasses.replace(
      row,
      name=name,
      metrics={m: v for m, v in row.metrics.items() if m in chosen},
      differences={m: v for m, v in gaps.items() if m in chosen},
      runs={m: v for m, v in row.runs.items() if m in chosen},
    )

  columns = [m for m in compared if m in chosen] or [
    m for m in found.compared if m in chosen
  ]
  return dataclasses.replace(
    found,
    metrics=chosen,
    rows=[of_row(name, found.row(method)) for name, method in taken.items()],
    chance={m: v for m, v in found.chance.items() if m in chosen},
    reference=own,
    compared=[] if own is None else columns,
  )


def following(
  folder: str | os.PathLike[str], name: str, *, title: str | None = None
) -> published.Published:
  """Takes what a report says of following.

  Args:
    folder: of the report.
    name: of the file to publish.
    title: a line on what it shows; None for the report's own.

  Returns:
    What to save.

  Raises:
    FileNotFoundError: where the folder holds no report.
    PublishedError: where the report does not speak of following.
  """
  record = report.read(folder)
  if record.get("following") is None:
    raise PublishedError(
      f"{folder} says nothing of following; evaluate a run that matches "
      "titles, with --num_histories"
    )
  found = following_lib.Following.from_json(record["following"])
  tables = following_report.tables(found, "trained model")
  return _published(record, name, title, tables)


def _published(
  record: Mapping[str, Any],
  name: str,
  title: str | None,
  tables: list[published.Table],
) -> published.Published:
  protocol = dict(record["protocol"])
  if "parameters" in protocol:
    # Which checkpoint, and not where it lay on somebody's machine.
    protocol["parameters"] = pathlib.PurePath(protocol["parameters"]).name
  return published.Published(
    name=name,
    title=title or record["title"],
    tables=tables,
    commands=list(record["commands"]),
    protocol=protocol,
    data=dict(record["data"]),
    seeds=dict(record["seeds"]),
    environment=dict(record["environment"]),
    warnings=list(record["warnings"]),
  )


def table(
  result: results.EvaluationResult,
  rows: Mapping[str, str] | None = None,
  metrics: Sequence[str] = (),
  reference: str | None = None,
  compared: Sequence[str] = (),
) -> published.Table:
  """The table of a group; for the arguments see `from_folder`.

  Args:
    result: the group's result.
    rows: name on the page -> method.
    metrics: which; empty for all.
    reference: a name on the page; None for the best row.
    compared: metrics with a column of differences; empty for the first.

  Returns:
    The table.

  Raises:
    PublishedError: where a method, metric or reference is missing.
  """
  methods = dict(rows or {name: name for name in result.methods})
  chosen = list(metrics or result.chance)
  for what, wanted, have in (
    ("methods", methods.values(), list(result.methods)),
    ("metrics", chosen, list(result.chance)),
    ("compared metrics", compared, chosen),
    ("reference row", [reference] if reference else [], list(methods)),
  ):
    if unknown := sorted(set(wanted) - set(have)):
      raise PublishedError(
        f"{result.group} lacks the {what} {unknown}; it has {have}"
      )
  if reference is None:
    # The methods of a result stand in their order, best first.
    best = min(methods.values(), key=list(result.methods).index)
    reference = next(n for n, method in methods.items() if method == best)
  return published.Table(
    name=result.group,
    metrics=chosen,
    rows=[
      _row(result, name, method, methods[reference], chosen)
      for name, method in methods.items()
    ],
    num_requests=result.num_requests,
    num_users=result.num_users,
    num_candidates=list(result.num_candidates),
    chance={metric: result.chance[metric] for metric in chosen},
    reference=reference,
    compared=list(compared or chosen[:1]),
  )


def _row(
  result: results.EvaluationResult,
  name: str,
  method: str,
  reference: str,
  metrics: Sequence[str],
) -> published.Row:
  differences = {}
  if method != reference:
    for metric in metrics:
      gap = result.difference(method, reference, metric)
      differences[metric] = published.Gap(
        **_ends(gap.interval), p_holm=gap.p_holm
      )
  runs = result.runs.get(method, {})
  return published.Row(
    name=name,
    description=result.descriptions.get(method, ""),
    metrics={
      m: published.Figure(**_ends(result.methods[method][m])) for m in metrics
    },
    differences=differences,
    runs={metric: list(runs[metric]) for metric in metrics if metric in runs},
  )


def _ends(interval: Any) -> dict[str, float]:
  return {
    "mean": interval.mean,
    "low": interval.low,
    "high": interval.high,
  }
