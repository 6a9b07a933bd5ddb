import dataclasses

import numpy as np
import polars as pl
import pytest

from instructrec import checksums
from instructrec.evaluation import (
  evaluate,
  facts,
  metrics,
  per_request,
  selection,
)

KNOWN = facts.Facts.of(
  targets=["b", "c", "z"],
  candidates=[["a", "b"], ["c", "d"], ["x", "z"]],
  target_counts=np.array([3, 0, 9]),
  history_lengths=np.array([1, 2, 0]),
)


def evaluated(group, known, **cut_offs):
  scores = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
  return evaluate.from_scores(
    group,
    {"up": scores, "down": -scores},
    np.array([1, 0, 1]),
    request_ids=["q1", "q2", "q3"],
    known=known,
    num_resamples=5,
    **cut_offs,
  )


def test_a_row_holds_metrics_and_facts_of_one_request():
  found = per_request.table([evaluated("g", KNOWN)])
  assert found.columns == [
    *per_request.KEYS,
    *per_request.FACTS,
    "expected_rank",
    *metrics.NAMES,
  ]
  assert found.height == 6
  row = found.row(by_predicate=(pl.col("method") == "down")
                  & (pl.col("request_id") == "q3"), named=True)  # fmt: skip
  assert row["target"] == "z"
  assert (row["target_position"], row["target_count"]) == (1, 9)
  assert (row["history_length"], row["num_candidates"]) == (0, 2)
  assert (row["expected_rank"], row["HR@1"]) == (1.5, 0.5)


OTHERS = selection.Selection.of(["HR@1", "HR@20"])


def test_groups_may_have_other_cut_offs_and_no_facts():
  whole = dataclasses.replace(KNOWN, lists=None)
  found = per_request.table(
    [
      evaluated("a", KNOWN),
      evaluated("b", None, selection=OTHERS),
      evaluated("c", whole),
    ]
  )
  assert found.height == 18
  b, c = found.filter(group="b"), found.filter(group="c")
  assert b["HR@3"].null_count() == b["target"].null_count() == 6
  assert b["HR@20"].null_count() == 0
  assert c["candidates"].null_count() == c["target_position"].null_count() == 6
  assert c["target"].to_list() == ["b", "c", "z"] * 2


def test_a_table_is_read_from_the_folder_of_its_report(tmp_path):
  found = per_request.table([evaluated("g", KNOWN)])
  found.write_parquet(tmp_path / per_request.FILE)
  checksums.write(tmp_path)
  assert per_request.read(tmp_path).equals(found)
  with pytest.raises(FileNotFoundError, match="holds no report"):
    per_request.read(tmp_path / "gone")
