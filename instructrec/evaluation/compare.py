"""Methods of several reports, compared request by request.

Figures of two reports can be compared only where both ranked the same
candidates for the same requests. That is checked, not assumed.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from instructrec.evaluation import (
  evaluate,
  intervals,
  per_request,
  report,
  results,
)

FROZEN = "frozen candidates"
"""The group of rankers that read no instruction, in reports of retrievers."""
_LISTS = ("target", "num_candidates", "candidates")


@dataclasses.dataclass(frozen=True)
class Report:
  """A report that was written before.

  Attributes:
    path: its folder.
    record: its report.json.
    table: metrics of single requests; see `per_request.table`.
  """

  path: pathlib.Path
  record: Mapping[str, Any]
  table: pl.DataFrame

  @property
  def groups(self) -> dict[str, Mapping[str, Any]]:
    """The results of report.json by group."""
    return {result["group"]: result for result in self.record["results"]}

  @property
  def name(self) -> str:
    """The folder's name; for a folder called `report`, the one above it."""
    path = self.path.resolve()
    return path.parent.name if path.name == "report" else path.name

  def requests(self, group: str) -> pl.DataFrame:
    """The requests of a group with what they rank, in a fixed order.

    Args:
      group: its name.

    Returns:
      `request_id`, `target`, `num_candidates`, `candidates` and `user_id`;
      nulls where the report does not have them.

    Raises:
      ValueError: where a request stands there twice.
    """
    rows = self.table.filter(group=group)
    found = [
      pl.col(name) if name in rows.columns else pl.lit(None).alias(name)
      for name in ("request_id", *_LISTS, "user_id")
    ]
    ids = rows.select(found).unique("request_id").sort("request_id")
    if ids.height * rows["method"].n_unique() != rows.height:
      raise ValueError(
        f"{self.path}, {group}: {rows.height} rows of {ids.height} request ids "
        f"and {rows['method'].n_unique()} methods; expected one row for each"
      )
    return ids

  def values(
    self, group: str, method: str
  ) -> dict[str, Float[np.ndarray, " requests"]]:
    """Metrics of each request, in the order of `requests`.

    Args:
      group: its name.
      method: its name.

    Returns:
      Values by metric, and `expected_rank`.
    """
    rows = self.table.filter(group=group, method=method).sort("request_id")
    names = ("expected_rank", *self.groups[group]["chance"])
    return {name: rows[name].to_numpy() for name in names}

  def with_group(self, group: str, requests: pl.DataFrame) -> "Report":
    """This report with its frozen candidates under the name of a task too.

    Rankers that read no instruction rank a request alike in every task.

    Args:
      group: name of the task.
      requests: what has `request_id` of those of the task.

    Returns:
      The report; this one where it has that group, or none of the requests.
    """
    rows = self.table.filter(group=FROZEN)
    rows = rows.join(requests, on="request_id", how="semi")
    if group in self.groups or rows.is_empty():
      return self
    added = {**self.groups[FROZEN], "group": group}
    return dataclasses.replace(
      self,
      record={**self.record, "results": [*self.record["results"], added]},
      table=pl.concat([self.table, rows.with_columns(group=pl.lit(group))]),
    )


def load(folder: str | os.PathLike[str]) -> Report:
  """Reads a report.

  Args:
    folder: what `report.write` wrote.

  Returns:
    The report.

  Raises:
    FileNotFoundError: where the folder holds no report.
    DamagedError: where a file of it was changed.
    ValueError: where it is of another version.
  """
  return Report(
    pathlib.Path(folder), report.read(folder), per_request.read(folder)
  )


def common_groups(reports: Sequence[Report]) -> list[str]:
  """The groups that all reports have, in the order of the first.

  Args:
    reports: at least one.

  Returns:
    Names.

  Raises:
    ValueError: where there is no such group.
  """
  found = [g for g in reports[0].groups if all(g in r.groups for r in reports)]
  if not found:
    have = {str(r.path): list(r.groups) for r in reports}
    raise ValueError(
      f"the reports have no group in common: {have}; expected tasks of one "
      f"name, or {FROZEN!r} of `retrieve evaluate` on the data of a run"
    )
  return found


def aligned(reports: Sequence[Report]) -> list[Report]:
  """Reports of retrievers beside those of runs: with the tasks of these.

  Args:
    reports: of either.

  Returns:
    The same reports; `frozen candidates` stand under each task as well whose
    requests they hold.
  """
  found = []
  for each in reports:
    of_retrievers = FROZEN in each.groups
    for other in reports if of_retrievers else ():
      if FROZEN not in other.groups:
        for group in other.groups:
          each = each.with_group(group, other.requests(group))
    found.append(each)
  return found


def compare(
  runs: Mapping[str, Sequence[Report]],
  *,
  methods: Sequence[str] = (),
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
) -> list[results.EvaluationResult]:
  """All methods of all reports on the requests that they share.

  Args:
    runs: reports by name. Several under one name are runs of the same methods
      with other seeds: each request counts with its mean over runs.
    methods: which methods of each report; empty for all.
    seed: of the bootstrap and of the randomisation test.
    num_resamples: of either.

  Returns:
    A result for each common group, with methods called `<name>/<method>`, or
    `<method>` where the name is empty.

  Raises:
    ValueError: where requests, candidates or the methods of runs differ.
  """
  everything = aligned([found for each in runs.values() for found in each])
  rest = iter(everything)
  runs = {name: [next(rest) for _ in each] for name, each in runs.items()}
  return [
    _group(group, runs, everything, methods, seed, num_resamples)
    for group in common_groups(everything)
  ]


def _group(
  group: str,
  runs: Mapping[str, Sequence[Report]],
  everything: Sequence[Report],
  methods: Sequence[str],
  seed: int,
  num_resamples: int,
) -> results.EvaluationResult:
  # The chance level of a task is that of its own requests.
  first, *others = sorted(everything, key=lambda found: FROZEN in found.groups)
  for other in others:
    _check_lists(group, first, other)
  chance = {
    name: level
    for name, level in first.groups[group]["chance"].items()
    if all(name in other.groups[group]["chance"] for other in others)
  }
  values, of_runs, num_nan, descriptions = {}, {}, {}, {}
  for name, reports in runs.items():
    for method in _methods(group, reports, methods):
      label = f"{name}/{method}" if name else method
      each = [found.values(group, method) for found in reports]
      values[label] = {
        metric: np.mean([one[metric] for one in each], axis=0)
        for metric in ("expected_rank", *chance)
      }
      if len(reports) > 1:
        of_runs[label] = {m: [float(r[m].mean()) for r in each] for m in chance}
      records = [found.groups[group] for found in reports]
      num_nan[label] = sum(record["num_nan"][method] for record in records)
      if method in records[0]["descriptions"]:
        descriptions[label] = records[0]["descriptions"][method]
  if not values:
    have = {str(r.path): list(r.groups[group]["methods"]) for r in everything}
    raise ValueError(f"{group}: no report has a method of {methods}: {have}")
  requests = first.requests(group)
  users = requests["user_id"]
  result = evaluate.from_values(
    group,
    {name: {m: found[m] for m in chance} for name, found in values.items()},
    num_candidates=requests["num_candidates"].to_numpy(),
    chance=chance,
    compared=_compared(group, everything, chance),
    num_nan=num_nan,
    expected_ranks={
      name: found["expected_rank"] for name, found in values.items()
    },
    request_ids=requests["request_id"].to_list(),
    seed=seed,
    num_resamples=num_resamples,
    descriptions=descriptions,
    users=None if users.null_count() else users.to_list(),
  )
  # In the order of the other tables: best first.
  return dataclasses.replace(
    result,
    runs={name: of_runs[name] for name in result.methods if name in of_runs},
  )


def _compared(
  group: str, reports: Sequence[Report], common: Mapping[str, float]
) -> list[str]:
  """What any report compares and all have; else all that they all have."""
  wanted = dict.fromkeys(
    m for r in reports for m in r.groups[group]["compared"]
  )
  return [name for name in wanted if name in common] or list(common)


def _methods(
  group: str, reports: Sequence[Report], wanted: Sequence[str]
) -> list[str]:
  found = [
    [m for m in r.groups[group]["methods"] if not wanted or m in wanted]
    for r in reports
  ]
  for other, names in zip(reports[1:], found[1:], strict=True):
    if set(names) != set(found[0]):
      raise ValueError(
        f"{group}: {reports[0].path} has the methods {sorted(found[0])} and "
        f"{other.path} {sorted(names)}; runs of one name need the same ones, "
        "choose them with --method"
      )
  return found[0]


def _check_lists(group: str, first: Report, other: Report) -> None:
  """Looks whether two reports ranked the same lists."""
  ours, theirs = first.requests(group), other.requests(group)
  both = ours.join(theirs, on="request_id", suffix="_other")
  if not both.height == ours.height == theirs.height:
    raise ValueError(
      f"{group}: {first.path} has {ours.height} requests and {other.path} "
      f"{theirs.height}, {both.height} of them in common; evaluate both on the "
      "same data with the same --split, --num_requests and --seed"
    )
  equal = functools.reduce(
    pl.Expr.and_, [pl.col(n).eq_missing(pl.col(f"{n}_other")) for n in _LISTS]
  )
  unequal = both.filter(~equal)
  if unequal.height:
    raise ValueError(
      f"{group}: {first.path} and {other.path} rank other candidates for "
      f"{unequal.height} of {both.height} requests, such as "
      f"{unequal['request_id'][0]!r}; metrics over different candidates cannot "
      "be compared"
    )
