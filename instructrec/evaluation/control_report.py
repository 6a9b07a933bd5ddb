"""What a report says of lists that were asked for with a wish."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from instructrec.evaluation import (
  bias,
  control,
  control_lists,
  differences,
  intervals,
  markdown,
  published,
)

MISTAKES = (
  "CorrectCount",
  "TooMany",
  "TooFew",
  "NonExist",
  "EmptyEntry",
  "RepeatItem",
  "InHistory",
  control_lists.MISNUMBERED,
)
_CASES = {
  control.Case.ORDINARY: "ordinary",
  control.Case.EMPTY_POOL: "with nothing to show",
  control.Case.SMALL_POOL: "with less to show than was asked for",
  control.Case.CONFLICT: "that want none of what all of the history has",
}


Columns = Mapping[str, Mapping[str, Float[np.ndarray, " lists"]]]
"""Of each method, as `control_lists.per_list` gives them."""


@dataclasses.dataclass(frozen=True)
class Section:
  """What a report says of a group.

  Attributes:
    lines: of Markdown.
    table: the means of all methods, as data.
  """

  lines: list[str]
  table: published.Table


def section(
  group: str,
  columns: Columns,
  *,
  reader: str,
  cases: Int[np.ndarray, " lists"] | None = None,
  exposures: Mapping[str, bias.Exposure] | None = None,
  reference: str | None = None,
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
  clusters: Sequence[Any] | None = None,
) -> Section:
  """Tables of obedience, mistakes and differences, a row for each method.

  Args:
    group: name of the requests.
    columns: of each method, for the same requests.
    reader: name of what read the lists (`title_list.Reader.name`).
    cases: of the requests; see `control.cases`.
    exposures: of the methods, where wanted.
    reference: a method that the others are compared with, request by request.
    seed: of bootstrap and tests.
    num_resamples: likewise.
    clusters: the users, where they repeat.

  Returns:
    The section.

  Raises:
    ValueError: where the reference is none of the methods.
  """
  if reference is not None and reference not in columns:
    raise ValueError(
      f"the reference is {reference!r}, expected one of {', '.join(columns)}"
    )
  sampling = {"seed": seed, "num_resamples": num_resamples}
  found = {
    method: control_lists.summary(each, clusters=clusters, **sampling)
    for method, each in columns.items()
  }
  names = list(
    dict.fromkeys(name for each in columns.values() for name in each)
  )
  table = _table(f"control: {group}", names, found, columns)
  mistakes = MISTAKES if {*MISTAKES} & {*names} else ()
  names = [name for name in names if name not in MISTAKES]
  lines = [f"## Control: {group}", "", _requests(columns, reader, cases), ""]
  for chosen in filter(None, (names, mistakes)):
    rows = [
      (markdown.cell(method), *(_shown(means.get(name)) for name in chosen))
      for method, means in found.items()
    ]
    lines += [markdown.table(("method", *chosen), rows), ""]
  if reference is not None and len(columns) > 1:
    gaps = [
      _gaps(columns, name, reference, clusters=clusters, **sampling)
      for name in names
    ]
    rows = [
      (
        f"{markdown.cell(method)} - {markdown.cell(reference)}",
        *(gap.get(method, "-") for gap in gaps),
      )
      for method in columns
      if method != reference
    ]
    lines += [markdown.table(("difference", *names), rows), ""]
  if exposures:
    lines += [markdown.exposure_table(exposures), ""]
  return Section(lines, table)


def _table(
  name: str,
  metrics: Sequence[str],
  means: Mapping[str, Mapping[str, intervals.Interval | None]],
  columns: Columns,
) -> published.Table:
  rows = [
    published.Row(
      name=method,
      metrics={
        metric: published.Figure(one.mean, one.low, one.high)
        for metric, one in each.items()
        if one is not None
      },
    )
    for method, each in means.items()
  ]
  count = _count(columns)
  return published.Table(
    name=name, metrics=list(metrics), rows=rows, num_requests=count
  )


def _count(columns: Columns) -> int:
  return len(next(iter(next(iter(columns.values())).values())))


def _requests(
  columns: Columns,
  reader: str,
  cases: Int[np.ndarray, " lists"] | None,
) -> str:
  """How many requests there are, and of what kind."""
  count = _count(columns)
  text = f"{count:,} requests; lists were read by the {reader} reader."
  if cases is None:
    return text
  parts = [
    f"{number:,} {words}"
    for case, words in _CASES.items()
    if (number := int((cases == case).sum()))
  ]
  return f"{text} Of the requests {', '.join(parts)}."


def _gaps(
  columns: Columns, name: str, reference: str, **settings: Any
) -> dict[str, str]:
  """Differences to the reference at a metric, with tests, by method.

  Over the requests at which all methods that have the metric have it.
  """
  having = {m: each[name] for m, each in columns.items() if name in each}
  where = ~np.isnan(list(having.values())).any(0)
  if reference not in having or len(having) < 2 or not where.any():
    return {}
  clusters = settings.pop("clusters")
  _, found = differences.resample(
    {method: each[where][:, None] for method, each in having.items()},
    (name,),
    clusters=None if clusters is None else list(np.asarray(clusters)[where]),
    **settings,
  )
  return {
    gap.method: markdown.compared(gap)
    for each in found
    for gap in (each, -each)
    if gap.reference == reference
  }


def _shown(found: intervals.Interval | None) -> str:
  if found is None:
    return "-"
  return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
