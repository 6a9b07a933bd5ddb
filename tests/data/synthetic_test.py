import collections

import numpy as np
import pytest

from instructrec.data import synthetic


@pytest.fixture(scope="module")
def shop():
  return synthetic.generate(num_users=400, num_items=300, seed=3)


def test_same_seed_same_data_and_users_do_not_depend_on_each_other(shop):
  log, items = shop
  again, _ = synthetic.generate(num_users=400, num_items=300, seed=3)
  assert again.fingerprint() == log.fingerprint()
  fewer, fewer_items = synthetic.generate(num_users=10, num_items=300, seed=3)
  assert fewer_items.fingerprint() == items.fingerprint()
  assert fewer.frame.equals(log.frame.head(len(fewer)))
  other, _ = synthetic.generate(num_users=10, num_items=300, seed=4)
  assert not other.frame.equals(fewer.frame)


def test_the_log_is_complete(shop):
  log, items = shop
  assert log.num_users == 400
  assert log.frame["timestamp"].null_count() == 0
  assert set(log.frame["rating"]) <= {1.0, 2.0, 3.0, 4.0, 5.0}
  lengths = [len(s) for s in log.sequences()[1]]
  assert min(lengths) >= 8
  assert max(lengths) <= 16
  assert items.num_title_collisions == 0
  titles = dict(zip(items.item_ids, items.titles, strict=True))
  for row in log:
    assert titles[row.item_id].lower() not in row.review.lower()
  assert {2, 3, 4, 5} >= {len(t.split()) - 1 for t in items.titles}


def _hit_rate(shop, score):
  log, items = shop
  rng = np.random.default_rng(0)
  _, sequences = log.sequences()
  popularity = collections.Counter(i for s in sequences for i in s[:-1])
  kinds = {i: items[i].categories[1] for i in items.item_ids}
  hits = 0
  for sequence in sequences:
    negatives = [
      i for i in rng.permutation(items.item_ids) if i not in sequence
    ][:9]
    candidates = [sequence[-1], *negatives]
    recent = collections.Counter(kinds[i] for i in sequence[-5:-1])
    values = [score(i, kinds[i], popularity, recent) for i in candidates]
    hits += np.argmax(np.array(values) + 1e-6 * rng.random(10)) == 0
  return hits / len(sequences)


def test_history_beats_popularity_beats_chance(shop):
  popular = _hit_rate(shop, lambda i, kind, pop, recent: pop[i])
  history = _hit_rate(shop, lambda i, kind, pop, recent: recent[kind])
  assert popular > 0.13
  assert history > popular + 0.1


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"num_items": 10}, "expected at least 20"),
    ({"num_items": 10**6}, "the words make only"),
  ],
)
def test_sizes_that_cannot_be_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    synthetic.generate(num_users=2, **changes)
