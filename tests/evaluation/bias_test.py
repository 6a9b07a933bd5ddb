import numpy as np
import pytest
import scipy.stats

from instructrec.evaluation import bias, facts, metrics


def values(scores, labels):
  return {"m": metrics.per_request(scores, labels)}


def chance(lengths):
  return metrics.from_ranks(np.zeros_like(lengths), lengths)


def test_a_method_that_takes_the_first_is_found_out():
  """It is right where the target is presented first, and nowhere else."""
  labels = np.arange(4_000) % 10
  scores = np.tile(-np.arange(10.0), (4_000, 1))
  found = bias.breakdown(
    bias.by_position(labels), values(scores, labels), chance(np.full(4_000, 10))
  )
  assert found.labels == [str(place) for place in range(1, 11)]
  assert found.counts == [400] * 10
  assert found.means["m"]["HR@1"] == [1.0] + [0.0] * 9
  gains = [1 / np.log2(rank + 1) for rank in range(1, 11)]
  assert found.means["m"]["NDCG@10"] == pytest.approx(gains)
  assert found.chance["HR@1"] == pytest.approx([0.1] * 10)
  assert found.errors["m"]["HR@1"] == [0.0] * 10


def test_long_lists_have_ten_parts():
  found = bias.by_position(np.arange(-1, 99))
  assert found.labels == [
    *(f"{10 * i + 1}-{10 * i + 10}" for i in range(9)),
    "91-99",
    "not in it",
  ]
  assert np.bincount(found.index).tolist() == [10] * 9 + [9, 1]
  assert len(bias.by_position(np.arange(20)).labels) == 20 + 1


def test_strata_add_up_to_the_mean_and_know_their_own_chance():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 4, 300)
  lengths = np.where(np.arange(300) < 100, 4, 8)
  where = np.arange(8) < lengths[:, None]
  found = metrics.per_request(rng.normal(size=(300, 8)), labels, where=where)
  strata = bias.Strata("length", ("4", "none", "8"), (lengths > 4) * 2)
  split = bias.breakdown(strata, {"m": found}, chance(lengths))
  assert split.labels == ["4", "8"]
  assert split.counts == [100, 200]
  assert split.chance["HR@1"] == pytest.approx([1 / 4, 1 / 8])
  for metric in bias.METRICS:
    mean = np.average(split.means["m"][metric], weights=split.counts)
    assert mean == pytest.approx(found[metric].mean())
    first = found[metric][:100]
    assert split.errors["m"][metric][0] == pytest.approx(scipy.stats.sem(first))


def test_deciles_hold_a_tenth_each_rarest_first():
  counts = np.random.default_rng(1).permutation(1_000)
  found = bias.by_popularity(counts)
  assert np.bincount(found.index).tolist() == [100] * 10
  assert found.labels[0] == "0-99"
  assert found.labels[9] == "900-999"
  assert (counts[found.index == 0] < 100).all()


def test_targets_of_one_count_stay_in_one_stratum():
  counts = np.array([0] * 55 + [1] * 30 + [7, 9] * 5 + [50] * 5)
  found = bias.by_popularity(counts)
  for count in np.unique(counts):
    assert len(set(found.index[counts == count])) == 1
  assert found.labels == ["0", "1", "7", "9-50"]
  assert bias.by_popularity(np.full(9, 3)).labels == ["3"]


def test_histories_are_cut_where_the_labels_say():
  lengths = np.array([0, 1, 2, 3, 5, 6, 10, 11, 20, 21, 400])
  found = bias.by_history(lengths)
  assert [found.labels[i] for i in found.index] == [
    "0", "1-2", "1-2", "3-5", "3-5", "6-10", "6-10", "11-20", "11-20",
    "21 or more", "21 or more",
  ]  # fmt: skip


def test_cold_items_are_those_that_training_never_saw():
  found = bias.by_novelty(np.array([0, 1, 0, 9]))
  assert [found.labels[i] for i in found.index] == [
    "never",
    "once or more",
    "never",
    "once or more",
  ]


def test_lists_have_positions_and_the_catalogue_has_none():
  rng = np.random.default_rng(2)
  labels = rng.integers(0, 3, 20)
  found = values(rng.normal(size=(20, 3)), labels)
  lists = [["a", "b", "c"]] * 20
  known = facts.Facts.of(
    targets=["abc"[label] for label in labels],
    candidates=lists,
    target_counts=labels,
    history_lengths=labels,
  )
  names = [
    b.name for b in bias.breakdowns(known, found, chance(np.full(20, 3)))
  ]
  assert len(names) == 4
  assert names[0] == "position of the target in the list"
  whole = facts.Facts.of(
    targets=known.targets,
    candidates=None,
    target_counts=labels,
    history_lengths=labels,
  )
  rest = [b.name for b in bias.breakdowns(whole, found, chance(np.full(20, 3)))]
  assert rest == names[1:]


def test_gini_by_its_definition():
  rng = np.random.default_rng(3)
  for amounts in (rng.integers(0, 50, 40), np.array([0, 0, 7]), np.ones(5)):
    spread = np.abs(np.subtract.outer(amounts, amounts)).mean()
    assert bias.gini(amounts) == pytest.approx(spread / (2 * amounts.mean()))
  assert bias.gini(np.array([4, 4, 4])) == 0.0
  assert bias.gini(np.array([0, 0, 0, 5])) == pytest.approx(3 / 4)


def test_exposure_by_hand():
  counts = np.array([10, 4, 0, 1])
  found = bias.exposure(np.array([[0, 1], [0, 3]]), counts)
  assert found.k == 2
  assert found.coverage == 3 / 4
  assert found.mean_popularity == pytest.approx((10 + 4 + 10 + 1) / 4)
  assert found.gini == pytest.approx(bias.gini(np.array([2, 1, 0, 1])))
  with pytest.raises(ValueError, match="indices of 4 items"):
    bias.exposure(np.array([[4]]), counts)
  with pytest.raises(ValueError, match=r"shape \(0, 2\)"):
    bias.exposure(np.zeros((0, 2), int), counts)


def test_popularity_is_the_share_of_items_taken_less_often():
  found = bias.popularity_ranks(np.array([7, 0, 2, 2, 900]))
  np.testing.assert_allclose(found, [0.75, 0.0, 0.375, 0.375, 1.0])
  assert bias.popularity_ranks(np.array([3])) == [0.0]
