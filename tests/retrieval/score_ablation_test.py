"""What parts of a score are worth."""

import numpy as np
import pytest

from instructrec.evaluation import published, published_page
from instructrec.retrieval import score_ablation, score_weights


def lists(count=600, seed=0):
  rng = np.random.default_rng(seed)
  parts = {
    name: rng.normal(size=(count, 10)) for name in ("good", "fair", "noise")
  }
  total = 3 * parts["good"] + parts["fair"] + rng.gumbel(size=(count, 10))
  return parts, total.argmax(1), np.ones((count, 10), bool)


def fits(seed):
  found = score_weights.ScoreWeightsFit()
  found.add(*lists(seed=seed))
  return found


@pytest.mark.parametrize("validation", [True, False])
def test_a_part_is_worth_what_it_was_planted_with(validation):
  rows = score_ablation.ablation(
    *lists(), fits=fits(1) if validation else None, num_resamples=500
  )
  found = {row.name: row for row in rows}
  assert list(found) == [
    "all",
    *(f"without {n}" for n in ("fair", "good", "noise")),
    *(f"{n} alone" for n in ("fair", "good", "noise")),
  ]
  gaps = {name: row.differences["HR@1"] for name, row in found.items()}
  assert (gaps["all"].mean, gaps["all"].low, gaps["all"].high) == (0, 0, 0)
  assert gaps["without good"].high < gaps["without fair"].low < 0
  assert not gaps["without noise"].excludes_zero
  assert found["noise alone"].means["HR@1"].mean == pytest.approx(0.1, abs=0.05)
  assert found["noise alone"].means["nats"].mean == pytest.approx(
    np.log(10), abs=0.02
  )
  assert found["without good"].differences["nats"].low > 0
  everything = found["all"].means
  assert everything["NDCG@10"].mean > everything["HR@1"].mean > 0.6


def test_an_ablation_is_a_table(tmp_path):
  rows = score_ablation.ablation(*lists(), fits=fits(1), num_resamples=50)
  assert set(rows[0].weights) == {"fair", "good", "noise"}
  assert rows[0].weights["good"] == pytest.approx(3, rel=0.2)
  table = score_ablation.table("sequential", rows, 600)
  found = published.Published(
    name="parts", title="t", tables=[table], commands=["c"]
  )
  found.save(tmp_path / "parts.json")
  again = published.Published.load(tmp_path / "parts.json").tables[0]
  gap = again.row("without good").differences["HR@1"]
  assert gap.mean == pytest.approx(rows[2].differences["HR@1"].mean, abs=1e-6)
  text = published_page.table(again)
  assert "| method | HR@1 | NDCG@10 | nats | HR@1 less all's |" in text
  assert again.row("all").description.startswith("fair ")
  crossed = score_ablation.ablation(*lists(count=100), num_resamples=50)
  assert crossed[0].weights == {}


def test_cross_fitting_never_shows_a_target_to_its_own_weights():
  """Of a part that knows one half's targets alone, nothing is gained."""
  _, labels, where = lists(count=400)
  halves = np.array_split(np.random.default_rng(0).permutation(400), 2)
  known = np.zeros(where.shape)
  known[halves[0], labels[halves[0]]] = 1.0
  scores = score_ablation.cross_fitted({"known": known}, labels, where, seed=0)
  # The first half is scored by the second's weights, where it said nothing.
  np.testing.assert_array_equal(scores[halves[0]], 0)


def test_two_halves_agree_with_the_whole():
  parts, labels, where = lists(count=2000)
  whole = score_weights.ScoreWeights.fit(parts, labels, where)
  crossed = score_ablation.cross_fitted(parts, labels, where)
  together = np.corrcoef(whole.combine(parts, where).ravel(), crossed.ravel())[
    0, 1
  ]
  assert together > 0.999


def test_lists_without_their_target_are_left_out():
  parts, labels, where = lists(count=200)
  expected = score_ablation.ablation(
    parts, labels, where, fits=fits(1), num_resamples=50
  )
  more = {n: np.concatenate([p, p[:30]]) for n, p in parts.items()}
  found = score_ablation.ablation(
    more,
    np.concatenate([labels, np.full(30, -1)]),
    np.concatenate([where, where[:30]]),
    fits=fits(1),
    num_resamples=50,
  )
  assert [row.to_json() for row in found] == [row.to_json() for row in expected]
  with pytest.raises(ValueError, match="none of the 200 lists"):
    score_ablation.ablation(parts, np.full(200, -1), where)


def test_a_single_part_is_one_row():
  parts, labels, where = lists(count=100)
  (row,) = score_ablation.ablation(
    {"good": parts["good"]}, labels, where, num_resamples=50
  )
  assert (row.name, row.parts) == ("all", ("good",))


def test_halves_are_of_whole_users():
  _, labels, where = lists(count=400)
  users = np.arange(400) // 4
  known = np.zeros(where.shape)
  half = np.array_split(np.random.default_rng(2).permutation(100), 2)[0]
  rows = np.isin(users, half)
  known[rows, labels[rows]] = 1.0
  scores = score_ablation.cross_fitted(
    {"known": known}, labels, where, seed=2, clusters=users
  )
  np.testing.assert_array_equal(scores[rows], 0)


def test_repeated_requests_of_users_make_nothing_surer():
  parts, labels, where = lists(count=150)
  four = {n: np.repeat(p, 4, axis=0) for n, p in parts.items()}
  options = {"fits": fits(1), "num_resamples": 2000}

  def width(*args, **more):
    row = score_ablation.ablation(*args, **options, **more)[0].means["HR@1"]
    return row.high - row.low

  once = width(parts, labels, where)
  args = (four, np.repeat(labels, 4), np.repeat(where, 4, axis=0))
  assert width(*args) < 0.6 * once
  users = np.repeat(np.arange(150), 4)
  assert width(*args, clusters=users) == pytest.approx(once, rel=0.05)
