"""Which metrics reports have: what was asked for, and what they need."""

import pytest

from instructrec.evaluation import metrics, selection


def test_what_is_asked_for_comes_first_and_is_compared():
  found = selection.Selection.of(["HR@20,Recall@50", "NDCG@10"])
  assert found.names == ("HR@20", "Recall@50", "NDCG@10", "HR@1")
  assert found.compared == ("HR@20", "Recall@50", "NDCG@10")


def test_nothing_asked_for_is_the_usual():
  usual = selection.Selection(metrics.default_names((1, 20)))
  assert selection.Selection.of((), usual) is usual
  assert selection.Selection.of(()).names == metrics.NAMES
  assert selection.Selection.of(()).compared == ("HR@1", "NDCG@10", "MRR")


@pytest.mark.parametrize(
  ("names", "compared", "message"),
  [
    (("HR@1", "MRR"), (), "expected NDCG@10 among them"),
    (("NDCG@10", "MRR"), (), "expected HR@1 among them"),
    (("HR@1", "NDCG@10"), ("MRR",), "expected MRR among them"),
    (
      ("HR@1", "NDCG@10", "MAP@"),
      (),
      "no metric 'MAP@'; the nearest is MAP@10",
    ),
    (("HR@1", "NDCG@10", "HR@1"), (), "HR@1 is named twice"),
  ],
)
def test_reports_miss_no_metric_that_they_speak_of(names, compared, message):
  with pytest.raises(ValueError, match=message):
    selection.Selection(names, compared)
