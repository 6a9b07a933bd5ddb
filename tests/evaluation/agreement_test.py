"""How far rankings of differently presented candidates agree."""

import functools

import numpy as np
import pytest
import scipy.stats

from instructrec.evaluation import agreement


@pytest.mark.parametrize("chunk", [10, 10**6])
def test_agreement_is_scipys_tau(monkeypatch, chunk):
  monkeypatch.setattr(agreement, "_CHUNK_PAIRS", chunk)
  scores = np.random.default_rng(4).integers(0, 6, (3, 25, 8)).astype(float)
  scores[0, 0] = 1.0
  scores[1, 3, 2] = -np.inf
  found = agreement.Agreement.of(scores)
  expected = [
    scipy.stats.kendalltau(scores[a, i], scores[b, i]).statistic
    for a, b in ((0, 1), (0, 2), (1, 2))
    for i in range(25)
  ]
  assert found.kendall_tau == pytest.approx(np.nanmean(expected))
  assert found.num_undefined == np.isnan(expected).sum() == 2
  same = [
    all(
      set(np.flatnonzero(row == row.max()))
      == set(np.flatnonzero(scores[0, i] == scores[0, i].max()))
      for row in scores[:, i]
    )
    for i in range(25)
  ]
  assert found.top_1 == np.mean(same)


def test_a_method_that_reads_no_order_agrees_with_itself():
  scores = np.random.default_rng(5).normal(size=(1, 30, 6))
  found = agreement.Agreement.of(np.repeat(scores, 4, axis=0))
  assert found == agreement.Agreement(4, 30, 1.0, pytest.approx(1.0), 0)
  turned = agreement.Agreement.of(np.concatenate([scores, -scores]))
  assert (turned.top_1, turned.kendall_tau) == (0.0, pytest.approx(-1.0))


def test_ties_alone_have_no_order_to_agree_on():
  found = agreement.Agreement.of(np.zeros((2, 3, 4)))
  assert found == agreement.Agreement(2, 3, 1.0, None, 3)


def test_agreement_of_blocks_is_that_of_all():
  scores = np.random.default_rng(6).integers(0, 4, (3, 20, 6)).astype(float)
  scores[1, 7] = 2.0
  where = np.arange(6) < np.random.default_rng(7).integers(2, 7, 20)[:, None]
  # What stands in empty slots says nothing.
  scores[:, ~where] = np.nan
  whole = agreement.Agreement.of(scores, where)
  parts = [
    agreement.Agreement.of(scores[:, s], where[s])
    for s in np.split(np.arange(20), [1, 7, 8])
  ]
  merged = functools.reduce(agreement.Agreement.merge, parts)
  assert merged.num_requests == 20
  assert merged.top_1 == pytest.approx(whole.top_1)
  assert merged.kendall_tau == pytest.approx(whole.kendall_tau)
  assert merged.num_undefined == whole.num_undefined
  expected = [
    scipy.stats.kendalltau(scores[a, i, where[i]], scores[b, i, where[i]])
    for a, b in ((0, 1), (0, 2), (1, 2))
    for i in range(20)
  ]
  assert whole.kendall_tau == pytest.approx(
    np.nanmean([each.statistic for each in expected])
  )
  with pytest.raises(ValueError, match="3 and 2 shuffles do not merge"):
    whole.merge(agreement.Agreement.of(scores[:2], where))


@pytest.mark.parametrize(
  ("scores", "message"),
  [
    (np.zeros((1, 3, 4)), "at least two shuffles"),
    (np.zeros((2, 3, 1)), "two candidates"),
    (np.zeros((2, 0, 4)), "no requests"),
    (np.full((2, 3, 4), np.nan), "24 scores are not a number"),
  ],
)
def test_what_has_no_agreement_is_named(scores, message):
  with pytest.raises(ValueError, match=message):
    agreement.Agreement.of(scores)
