"""The table of single requests: a row for each group, request and method."""

import os
from collections.abc import Sequence

import polars as pl

from instructrec import records
from instructrec.evaluation import report_folder, results

FILE = "per_request.parquet"
REMEDY = "evaluate again with this version, or copy the report again"
"""What to do about a report that cannot be read."""
WRITERS = "`instructrec evaluate` and `instructrec retrieve evaluate` write one"
KEYS = ("group", "request_id", "method")
FACTS = (
  "num_candidates",
  "user_id",
  "target",
  "candidates",
  "target_position",
  "target_count",
  "history_length",
)
"""What is known of a request, the same for all methods."""


def table(found: Sequence[results.EvaluationResult]) -> pl.DataFrame:
  """The metrics of each request, with what is known of it.

  Args:
    found: results that have values of single requests.

  Returns:
    Columns `KEYS`, `FACTS` (those that are known), `expected_rank` and the
    metrics. `candidates` stands for the set of ids; see `facts.Facts.columns`.
  """
  frames = []
  for result in found:
    known = {} if result.known is None else result.known.columns()
    frames += [
      pl.DataFrame(
        {
          "group": result.group,
          "request_id": result.request_ids,
          "method": name,
          "num_candidates": result.list_lengths,
          **known,
          "expected_rank": result.expected_ranks[name],
          **values,
        }
      )
      for name, values in result.per_request.items()
    ]
  # Groups may have different cut-offs.
  return pl.concat(frames, how="diagonal")


def read(report: str | os.PathLike[str]) -> pl.DataFrame:
  """Reads the table of a report.

  Args:
    report: the report's folder.

  Returns:
    What `table` gave.

  Raises:
    FileNotFoundError: where the folder holds none.
    DamagedError: where the file was changed.
  """
  path = report_folder.checked(report, FILE, remedy=REMEDY, writers=WRITERS)
  with records.reading(path, REMEDY):
    return pl.read_parquet(path, glob=False)
