import numpy as np
import pytest

from instructrec.evaluation import metrics, reranking

# A request is a list of candidate strengths here.
REQUESTS = [[1.0, 3.0, 2.0], [5.0, 4.0], [1.0, 2.0, 3.0], [2.0, 1.0]]
LABELS = np.array([1, 0, 2, 1])
WHERE = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 1, 0]], bool)
IDS = ["a", "b", "c", "d"]


def strength(requests):
  width = max(map(len, requests))
  return np.array([r + [-np.inf] * (width - len(r)) for r in requests])


def constant(requests):
  return np.zeros((len(requests), max(map(len, requests))), int)


def test_each_group_has_its_own_result():
  found = reranking.rerank(
    {"strength": strength, "constant": constant},
    REQUESTS,
    LABELS,
    request_ids=IDS,
    where=WHERE,
    groups=["long", "short", "long", "short"],
    num_resamples=50,
    descriptions={"strength": "the strongest first"},
  )
  assert list(found) == ["long", "short"]
  assert found["long"].num_requests == 2
  assert found["long"].num_candidates == (3, 3)
  assert found["short"].num_candidates == (2, 2)
  assert found["long"].methods["strength"]["HR@1"].mean == 1.0
  assert found["short"].methods["strength"]["HR@1"].mean == 0.5
  assert found["short"].request_ids == ["b", "d"]
  for result in found.values():
    assert result.descriptions == {"strength": "the strongest first"}
    for name in metrics.NAMES:
      interval = result.methods["constant"][name]
      assert interval.mean == interval.low == interval.high
      assert interval.mean == result.chance[name]


def test_groups_may_be_left_out():
  found = reranking.rerank(
    {"strength": strength},
    REQUESTS,
    LABELS,
    request_ids=IDS,
    where=WHERE,
    num_resamples=50,
  )
  assert list(found) == ["all"]
  assert found["all"].methods["strength"]["HR@1"].mean == 0.75


def test_lists_of_one_length_need_no_mask():
  found = reranking.rerank(
    {"strength": strength},
    REQUESTS[::2],
    LABELS[::2],
    request_ids=IDS[::2],
    num_resamples=50,
  )
  assert found["all"].methods["strength"]["MRR"].mean == 1.0


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"labels": LABELS[:3]}, "4 requests and 3 labels"),
    ({"request_ids": IDS[:2]}, "4 requests and 2 request_ids"),
    ({"groups": ["x"]}, "4 requests and 1 groups"),
    ({"where": WHERE[:1]}, "4 requests and 1 where"),
    (
      {"scorers": {"flat": lambda requests: np.zeros(len(requests))}},
      r"scorer 'flat' gave scores of shape \(4,\), expected \(4, 3\)",
    ),
    (
      {"scorers": {"narrow": lambda requests: np.zeros((4, 2))}},
      r"scorer 'narrow' gave scores of shape \(4, 2\), expected \(4, 3\)",
    ),
    (
      {"scorers": {"few": lambda requests: np.zeros((3, 3))}, "where": None},
      r"gave scores of shape \(3, 3\), expected \(4, candidates\)",
    ),
    ({"scorers": {}}, "no methods to evaluate"),
  ],
)
def test_what_does_not_fit_is_named(changes, message):
  arguments = {
    "scorers": {"strength": strength},
    "requests": REQUESTS,
    "labels": LABELS,
    "request_ids": IDS,
    "where": WHERE,
    **changes,
  }
  with pytest.raises(ValueError, match=message):
    reranking.rerank(**arguments)
