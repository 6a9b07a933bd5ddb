"""Negatives that are as popular as the target."""

import numpy as np
import polars as pl
import pytest

from instructrec.data import (
  candidates,
  matched_candidates,
  splits,
  synthetic,
)


@pytest.fixture(scope="module")
def shop():
  log, items = synthetic.generate(num_users=300, num_items=200, seed=3)
  split = splits.leave_one_out(log)
  return log, items, split


def draw(shop, **options):
  log, items, split = shop
  requests = options.pop("requests", None)
  if requests is None:
    requests = split.requests.filter(split="test")
  return matched_candidates.sample(
    requests, items, log, split.training_log, **options
  )


def test_negatives_are_unseen_distinct_and_near(shop):
  log, items, split = shop
  found, widened = draw(shop, window=40)
  assert widened == 0
  ranks = matched_candidates.popularity_ranks(items, split.training_log)
  taken = dict(zip(*log.sequences(), strict=True))
  for row in found.iter_rows(named=True):
    listed = row["candidates"]
    assert len(listed) == len(set(listed)) == 10
    assert listed[row["label"]] == row["target"]
    assert set(listed) & set(taken[row["user_id"]]) == {row["target"]}
    places = ranks[[items.index(i) for i in listed]]
    assert abs(places - places[row["label"]]).max() <= 40


def test_as_many_items_are_better_known_as_are_less_known(shop):
  _, items, split = shop
  found, _ = draw(shop, window=20)
  ranks = matched_candidates.popularity_ranks(items, split.training_log)
  above = []
  for row in found.iter_rows(named=True):
    own = ranks[items.index(row["target"])]
    if 20 <= own < 180:
      above.append(sum(ranks[items.index(i)] < own for i in row["candidates"]))
  # Of nine; users know popular items better, and seen ones are left out.
  assert 3.5 < np.mean(above) < 5


def test_the_whole_window_is_drawn_from(shop):
  _, items, split = shop
  ranks = matched_candidates.popularity_ranks(items, split.training_log)
  gaps = []
  for seed in range(5):
    found, _ = draw(shop, window=10, num_negatives=3, seed=seed)
    for row in found.iter_rows(named=True):
      own = ranks[items.index(row["target"])]
      if 10 <= own < 190:
        gaps += [int(ranks[items.index(i)] - own) for i in row["candidates"]]
  counts = np.bincount(np.array(gaps) + 10, minlength=21)
  drawn = np.delete(counts, 10)
  assert drawn.min() > 0.6 * drawn.mean()


def test_windows_grow_where_there_are_too_few(shop):
  found, widened = draw(shop, window=2, num_negatives=9)
  assert widened == found.height
  assert (found["candidates"].list.n_unique() == 10).all()


def test_draws_depend_on_seed_and_request_alone(shop):
  _, _, split = shop
  requests = split.requests.filter(split="test")
  found, _ = draw(shop)
  again, _ = draw(shop, requests=requests.reverse().head(20))
  joined = again.join(found, on="request_id", suffix="_all")
  assert joined.height == 20
  assert (joined["candidates"] == joined["candidates_all"]).all()
  other, _ = draw(shop, seed=1)
  same = (other["candidates"] == found["candidates"]).sum()
  assert same < found.height / 10


def test_what_cannot_be_drawn_is_named(shop):
  with pytest.raises(ValueError, match="window is 0"):
    draw(shop, window=0)
  with pytest.raises(ValueError, match="never touches, expected at least 199"):
    draw(shop, num_negatives=199)


def test_no_requests_are_no_lists(shop):
  _, _, split = shop
  none = split.requests.filter(pl.lit(False))
  found, widened = draw(shop, requests=none)
  assert (found.height, widened) == (0, 0)


def test_the_random_baseline_of_the_same_seed_is_at_chance(shop):
  found, _ = draw(shop, seed=0)
  _, items, _ = shop
  scores = candidates.pair_uniforms(
    found["request_id"].to_list(), items.item_ids, 0
  )
  listed = np.array([[items.index(i) for i in c] for c in found["candidates"]])
  own = np.take_along_axis(scores, listed, axis=1)
  hits = own.argmax(axis=1) == found["label"].to_numpy()
  assert 0.05 < hits.mean() < 0.15  # 300 lists of ten.
