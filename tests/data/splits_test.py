"""Splits, leak checks and candidate sets."""

import collections
import dataclasses
import itertools

import numpy as np
import polars as pl
import pytest
from scipy import stats

from instructrec.data import candidates, interaction, leaks, splits, synthetic


@pytest.fixture(scope="module")
def shop():
  return synthetic.generate(num_users=300, num_items=120, seed=5)


def rows(split, name):
  return split.requests.filter(pl.col("split") == name)


def test_leave_one_out_takes_last_and_second_last(shop):
  log, _ = shop
  split = splits.leave_one_out(log, max_history=5)
  users, sequences = log.sequences()
  by_user = dict(zip(users, sequences, strict=True))
  for name, back in (("test", 1), ("validation", 2)):
    found = rows(split, name)
    assert found.height == log.num_users
    for row in found.iter_rows(named=True):
      sequence = by_user[row["user_id"]]
      assert row["target"] == sequence[-back]
      assert row["history"] == sequence[:-back][-5:]
  train = rows(split, "train")
  assert train.height == sum(len(s) - 3 for s in sequences)
  assert len(split.training_log) == len(log) - 2 * log.num_users
  newest = splits.leave_one_out(log, max_train_targets=2)
  assert rows(newest, "train").height == 2 * log.num_users


def test_short_users_only_train():
  log = interaction.InteractionLog(
    pl.DataFrame(
      {
        "user_id": ["a", "a", "b"],
        "item_id": ["x", "y", "x"],
        "order": [0, 1, 0],
      }
    )
  )
  split = splits.leave_one_out(log)
  assert split.requests["split"].to_list() == ["train"]
  assert len(split.training_log) == 3


def test_global_time_never_trains_on_the_future(shop):
  log, _ = shop
  split = splits.global_time(log)
  assert leaks.check_split(split, log) == []
  cut, test_cut = (
    split.parameters["validation_from"],
    split.parameters["test_from"],
  )
  assert rows(split, "train")["target_order"].max() < cut
  assert rows(split, "test")["target_order"].min() >= test_cut
  validation = rows(split, "validation")["target_order"]
  assert validation.min() >= cut
  assert validation.max() < test_cut
  assert rows(split, "test")["user_id"].is_unique().all()
  # The target is the user's last interaction in the window.
  last = log.frame.group_by("user_id").agg(pl.col("order").max())
  joined = rows(split, "test").join(last, on="user_id")
  assert (joined["target_order"] == joined["order"]).all()


def test_the_first_interactions_after_the_cut_are_targets(shop):
  log, _ = shop
  split = splits.global_time(log, max_test_targets=3, max_validation_targets=2)
  assert leaks.check_split(split, log) == []
  cut = split.parameters["test_from"]
  for name, most in (("validation", 2), ("test", 3)):
    found = rows(split, name)
    assert found.group_by("user_id").len()["len"].max() == most
    ids = found["user_id"].to_list()
    # Requests of a user stand together.
    assert len([i for i, u in enumerate(ids) if u not in ids[:i]]) == 1 + sum(
      a != b for a, b in itertools.pairwise(ids)
    )
  after = log.frame.filter(pl.col("timestamp") >= cut)
  for (user,), found in rows(split, "test").group_by("user_id"):
    moments = after.filter(user_id=user)["timestamp"].unique().sort()
    first = log.frame.filter(user_id=user)["timestamp"].min()
    # A user's very first interaction has no history.
    expected = [moment for moment in moments if moment != first][:3]
    assert found["target_order"].to_list() == expected
    lengths = found["history"].list.len().to_list()
    assert lengths == sorted(lengths)
    # What was a target is history of the next.
    for before, target in zip(
      found["history"].to_list()[1:], found["target"].to_list(), strict=False
    ):
      assert target in before


def test_of_a_moment_one_interaction_is_a_target():
  times = [*range(16), 17, 17, 17, 18]
  log = interaction.InteractionLog(
    pl.DataFrame(
      {
        "user_id": ["u"] * 20,
        "item_id": [f"i{n}" for n in range(20)],
        "order": times,
        "timestamp": times,
      }
    )
  )
  split = splits.global_time(log, max_test_targets=9)
  test = rows(split, "test")
  assert test["target"].to_list() == ["i16", "i19"]
  assert test["history"].list.last().to_list() == ["i15", "i18"]
  with pytest.raises(ValueError, match="max_test_targets is 0"):
    splits.global_time(log, max_test_targets=0)


def test_reviews_come_from_their_own_side_of_the_target(shop):
  log, _ = shop
  review = {(r.user_id, r.item_id): r.review for r in log}
  for row in rows(splits.leave_one_out(log), "test").iter_rows(named=True):
    user = row["user_id"]
    assert row["target_review"] == review[user, row["target"]]
    assert row["history_review"] == review[user, row["history"][-1]]


def expected_requests(log, split, max_history):
  """The rows of a split, one after the other from the users' sequences."""
  users = {}
  for one in log:
    users.setdefault(one.user_id, []).append(one)
  for row in split.requests.iter_rows(named=True):
    name, user, position = row["request_id"].rsplit("-", 2)
    position = int(position)
    taken = users[user]
    target = taken[position]
    history = taken[max(0, position - max_history) : position]
    reviews = [one.review for one in history if one.review is not None]
    yield {
      "split": name,
      "request_id": row["request_id"],
      "user_id": user,
      "history": [one.item_id for one in history],
      "target": target.item_id,
      "target_order": target.order,
      "last_history_order": history[-1].order,
      "target_review": target.review,
      "history_review": reviews[-1] if reviews else None,
      "later": [one.item_id for one in taken[position + 1 :]],
    }


@pytest.mark.parametrize("make", [splits.leave_one_out, splits.global_time])
def test_a_request_has_its_own_user_s_past_and_future(shop, make):
  rng = np.random.default_rng(0)
  frame = shop[0].frame
  # Most of the reviews are missing, all of some users.
  frame = frame.with_columns(
    pl.when(pl.Series(rng.random(frame.height) < 0.15)).then("review")
  )
  log = interaction.InteractionLog(frame)
  split = make(log, max_history=4)
  assert split.requests["history_review"].null_count()
  expected = expected_requests(log, split, 4)
  assert split.requests.to_dicts() == [*expected]


@pytest.mark.parametrize("make", [splits.leave_one_out, splits.global_time])
def test_no_request_is_without_a_history(shop, make):
  with pytest.raises(ValueError, match="max_history is 0, expected 1 or more"):
    make(shop[0], max_history=0)


def test_global_time_asks_for_timestamps_and_sensible_fractions(shop):
  log, _ = shop
  timeless = interaction.InteractionLog(log.frame.drop("timestamp"))
  with pytest.raises(ValueError, match="global_time needs timestamps"):
    splits.global_time(timeless)
  with pytest.raises(ValueError, match="leave something to train on"):
    splits.global_time(log, test_fraction=1.0)


def test_planted_leaks_are_caught(shop):
  log, _ = shop
  split = splits.leave_one_out(log)
  with pytest.raises(leaks.LeakError, match="is in the training log"):
    leaks.check_split(dataclasses.replace(split, training_log=log), log)
  late = split.requests.with_columns(
    pl.col("target_order").alias("last_history_order") + 1
  )
  with pytest.raises(leaks.LeakError, match="reaches to its target's time"):
    leaks.check_split(dataclasses.replace(split, requests=late), log)
  twice = pl.concat([split.requests, split.requests.head(1)])
  with pytest.raises(leaks.LeakError, match="occurs 2 times"):
    leaks.check_split(dataclasses.replace(split, requests=twice), log)
  timed = splits.global_time(log)
  reaching = dataclasses.replace(
    timed, parameters={**timed.parameters, "validation_from": 0}
  )
  with pytest.raises(leaks.LeakError, match="past the cut at 0"):
    leaks.check_split(reaching, log)


def test_leave_one_out_warns_of_overlap_in_time(shop):
  log, _ = shop
  (warning,) = leaks.check_split(splits.leave_one_out(log), log)
  assert "of the training interactions are newer" in warning


def sample(shop, **changes):
  log, items = shop
  requests = splits.leave_one_out(log).requests
  settings = {"seed": 7, **changes}
  return candidates.sample_candidates(requests, items, log, **settings)


@pytest.mark.parametrize("strategy", ["uniform", "popularity"])
def test_negatives_are_distinct_and_never_touched_by_the_user(shop, strategy):
  log, _ = shop
  users, sequences = log.sequences()
  touched = {u: set(s) for u, s in zip(users, sequences, strict=True)}
  for row in sample(shop, strategy=strategy).iter_rows(named=True):
    assert row["candidates"][row["label"]] == row["target"]
    negatives = set(row["candidates"]) - {row["target"]}
    assert len(negatives) == 9
    assert not negatives & touched[row["user_id"]]


def test_the_place_of_the_target_is_uniform(shop):
  counts = np.bincount(sample(shop)["label"], minlength=10)
  assert stats.chisquare(counts).pvalue > 1e-3


def test_popular_items_are_drawn_more_often(shop):
  log, _ = shop
  counts = dict(log.frame["item_id"].value_counts().iter_rows())

  def correlation(strategy):
    drawn = collections.Counter(
      item
      for row in sample(shop, strategy=strategy).iter_rows(named=True)
      for item in row["candidates"]
      if item != row["target"]
    )
    items = sorted(counts)
    return stats.spearmanr(
      [counts[i] for i in items], [drawn[i] for i in items]
    ).statistic

  assert correlation("popularity") > 0.9
  # Popular items are a little rarer: more users have touched them.
  assert correlation("uniform") < 0


def test_a_request_has_its_candidates_in_any_subset_and_order(shop):
  log, items = shop
  requests = splits.leave_one_out(log).requests
  whole = sample(shop)
  part = requests.sample(200, seed=1, shuffle=True)
  drawn = candidates.sample_candidates(part, items, log, seed=7)
  expected = drawn.select("request_id").join(
    whole, on="request_id", how="left", maintain_order="left"
  )
  assert drawn["candidates"].equals(expected["candidates"])
  assert not sample(shop, seed=8)["candidates"].equals(whole["candidates"])


def test_negatives_that_nobody_touched_are_told_of(shop):
  """As after a k-core, which leaves the catalogue as it was."""
  log, items = shop
  assert candidates.unseen_warnings(items, log, "uniform") == []
  core = interaction.InteractionLog(log.frame.head(30))
  (warning,) = candidates.unseen_warnings(items, core, "uniform")
  unseen = len(items) - core.num_items
  assert warning.startswith(f"{unseen} of the {len(items)} items")
  assert candidates.unseen_warnings(items, core, "popularity") == []


def test_small_catalogues_and_unknown_strategies_are_refused(shop):
  with pytest.raises(ValueError, match="the catalogue has 120 items"):
    sample(shop, num_negatives=110)
  with pytest.raises(ValueError, match="unknown strategy 'hard'"):
    sample(shop, strategy="hard")


def test_an_item_that_is_taken_again_leaves_as_many_to_draw(shop):
  _, items = shop
  log = interaction.InteractionLog(
    pl.DataFrame({"user_id": "u", "item_id": ["i0", "i1"] * 99})
    .with_row_index("order")
    .with_columns(pl.col("order").cast(pl.Int64))
  )
  requests = splits.leave_one_out(log).requests
  drawn = candidates.sample_candidates(
    requests, items, log, num_negatives=len(items) - 2, seed=3
  )
  assert set(map(len, map(set, drawn["candidates"]))) == {len(items) - 1}
  with pytest.raises(ValueError, match="a user who touched 2 of them"):
    candidates.sample_candidates(
      requests, items, log, num_negatives=len(items) - 1
    )
