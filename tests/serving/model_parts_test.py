"""Parts of a model's score, and the same requests under other wishes."""

import dataclasses
import tracemalloc

import jax
import numpy as np
import pytest

from instructrec.instructions import topics
from instructrec.models.scoring import features
from instructrec.serving import wish_prompts
from instructrec.serving.wish_prompts import Wish
from instructrec.training import scoring

PARTS = {"likelihood", "prior", "match", "popularity"}
READ = {"wanted", "unwanted", "plain", "unread"}


@pytest.fixture(scope="module")
def parts(matching):
  return matching.parts()


@pytest.fixture(scope="module")
def own(matching, parts):
  return parts.of_block(matching.block, Wish.OWN)


@pytest.fixture(scope="module")
def none(matching, parts):
  return parts.of_block(matching.block, Wish.NONE)


def wishes_of(block):
  return block.tokens.columns["wish_text"].to_list()


def same(found, expected):
  assert found.keys() == expected.keys()
  for name, scores in expected.items():
    np.testing.assert_allclose(
      found[name], scores, rtol=1e-4, atol=1e-4, err_msg=name
    )


def test_all_that_was_trained_is_a_part(matching, own, none):
  assert set(own) == PARTS | READ
  assert set(none) == PARTS
  for scores in own.values():
    assert scores.shape == matching.block.where.shape
    assert np.isfinite(scores[matching.block.where]).all()


def test_no_wish_is_the_plain_prompt(matching, parts, own, none):
  block = matching.under([""] * len(matching.block.requests))
  same(none, parts.of_block(block, Wish.OWN))
  wished = np.array([bool(wish) for wish in wishes_of(matching.block)])
  assert wished.any()
  assert not wished.all()
  for name in ("likelihood", "match"):
    moved = np.abs(own[name] - none[name]).max(1)
    assert (moved[wished] > 1e-3).all(), name
    assert (moved[~wished] < 1e-3).all(), name
  for name in ("prior", "popularity"):
    np.testing.assert_array_equal(own[name], none[name])


def test_somebody_elses_wish_swaps_prompts_and_what_is_read(matching, parts):
  wishes = wishes_of(matching.block)
  others = [*wishes[-1:], *wishes[:-1]]
  found = parts.of_block(matching.block, Wish.OTHER)
  same(found, parts.of_block(matching.under(others), Wish.OWN))
  # The block itself keeps its wishes.
  assert wishes_of(matching.block) == wishes


@pytest.mark.parametrize(
  ("users", "others"),
  [
    ("abcd", [3, 0, 1, 2]),
    ("aaabbbc", [4, 5, 6, 0, 1, 2, 3]),
    ("abcabc", [2, 5, 1, 4, 0, 3]),
  ],
)
def test_somebody_else_is_another_user(users, others):
  found = wish_prompts._of_other_users(users)
  assert sorted(found) == list(range(len(users)))
  assert all(users[a] != users[b] for a, b in enumerate(found))
  if len(set(users)) == len(users):
    assert found.tolist() == others


def test_wishes_are_read_into_attributes(matching, parts, own):
  items = matching.prepared.catalog
  for row, wish in enumerate(wishes_of(matching.block)):
    read = parts.reader.read(wish)
    wanted, unwanted = parts.reader.scores(read)
    numbers = [items.index(i) for i in matching.block.requests[row].candidates]
    np.testing.assert_allclose(own["wanted"][row], wanted[numbers])
    np.testing.assert_allclose(own["unwanted"][row], unwanted[numbers])
  assert own["wanted"].any()
  assert own["unwanted"].any()


def test_the_match_without_the_wish_stands_beside_it(
  matching, parts, own, none
):
  np.testing.assert_allclose(own["plain"], none["match"], rtol=1e-4, atol=1e-4)
  assert "plain" not in none
  history = list(matching.block.requests[0].history)
  found = parts.of_catalog([history] * 2, ["Something with robots.", None])
  for row in (0, 1):
    np.testing.assert_allclose(
      found["plain"][row], found["match"][1], rtol=1e-4, atol=1e-4
    )


def test_what_is_unread_of_a_wish_is_told_from_no_wish(matching, parts, none):
  wishes = ["Something with robots."] * len(matching.block.requests)
  wishes[1], wishes[2] = "It is raining here.", ""
  found = parts.of_block(matching.under(wishes), Wish.OWN)
  unread = np.array([wish == wishes[1] for wish in wishes])
  assert not found["unread"][~unread].any()
  assert np.abs(found["unread"][unread]).max() > 1e-3
  # Together they are the match without a wish.
  np.testing.assert_allclose(
    (found["match"] + found["unread"])[unread],
    none["match"][unread],
    rtol=1e-4,
    atol=1e-4,
  )


def test_a_catalogues_unread_wishes_are_told_alike(matching, parts):
  history = list(matching.block.requests[0].history)
  wishes = ["It is raining here.", "Something with robots.", None]
  found = parts.of_catalog([history] * 3, wishes)
  assert np.abs(found["unread"][0]).max() > 1e-3
  assert not found["unread"][1:].any()
  np.testing.assert_allclose(
    found["match"][0] + found["unread"][0],
    found["match"][2],
    rtol=1e-4,
    atol=1e-4,
  )


def test_idle_words_are_ordinary_ones_and_stay_the_same(matching, parts):
  found = parts.of_block(matching.block, Wish.NOTHING)
  same(parts.of_block(matching.block, Wish.NOTHING), found)
  data, _ = parts.prompts.under(Wish.NOTHING, matching.block)
  texts = wishes_of(dataclasses.replace(matching.block, tokens=data))
  assert len(set(texts)) == len(texts)
  for text in texts:
    words = text.removesuffix(".").lower().split()
    assert topics.ordinary().issuperset(words)
    assert 3 <= len(words) <= 10


def test_likelihoods_and_priors_are_those_of_the_model(
  matching, parts, own, none
):
  block, run = matching.block, matching.run
  titles = [
    matching.prepared.catalog.title(i) for i in block.requests[0].candidates
  ]
  rows = run.tokenizer.encode_all(titles)
  targets = np.zeros((1, len(rows), max(map(len, rows))), np.int32)
  for place, row in enumerate(rows):
    targets[0, place, : len(row)] = row
  score = jax.jit(run.model.score_batch)
  history = parts.items.history(block.tokens, np.array([0]))
  for name, text, shown in (
    ("likelihood", run.tokenizer.encode(parts.prompts.text(None)), history),
    ("prior", [1], np.zeros_like(history)),
  ):
    inputs = np.array([text], np.int32)
    batch = features.to_features(inputs, targets)
    batch |= parts.items.history_arrays(shown)
    (expected,) = np.asarray(score(matching.params, batch))
    np.testing.assert_allclose(none[name][0], expected, rtol=1e-4, atol=1e-3)
  # A title has one prior, in whatever list it stands.
  numbers = block.tokens.candidate_items.reshape(block.where.shape)
  for number in np.unique(numbers):
    assert len(np.unique(own["prior"][numbers == number])) == 1


def test_lists_of_different_lengths_end_in_nothing(matching, parts):
  block, counts = matching.block, np.array([3, 5])
  tokens = block.tokens.with_lists(
    np.arange(2),
    block.tokens.targets.take(np.arange(8)),
    counts,
    block.tokens.candidate_items[:8],
  )
  where = np.arange(5) < counts[:, None]
  short = dataclasses.replace(
    block,
    requests=block.requests[:2],
    tokens=tokens,
    examples=np.arange(2),
    where=where,
  )
  for name, scores in parts.of_block(short, Wish.OWN).items():
    np.testing.assert_array_equal(np.isfinite(scores), where, err_msg=name)
    np.testing.assert_array_equal(scores[~where], -np.inf)


def test_popularity_is_a_logarithm_smoothed_by_one(matching, parts):
  counts = matching.prepared.split.training_log.item_counts
  ids = matching.prepared.catalog.item_ids
  taken = np.array([counts.get(item, 0) for item in ids])
  expected = np.log((taken + 1) / (taken.sum() + len(ids)))
  np.testing.assert_allclose(parts.log_popularity[1:], expected)
  assert parts.log_popularity[0] == -np.inf


def test_a_catalogue_has_the_scores_of_its_lists(matching, parts, own):
  requests = matching.block.requests
  wishes = [wish or None for wish in wishes_of(matching.block)]
  found = parts.of_catalog([one.history for one in requests], wishes)
  assert set(found) == {"match", "popularity"} | READ
  for row, one in enumerate(requests):
    numbers = [matching.prepared.catalog.index(i) for i in one.candidates]
    for name, scores in found.items():
      np.testing.assert_allclose(
        scores[row, numbers],
        own[name][row],
        rtol=1e-4,
        atol=1e-4,
        err_msg=name,
      )


def test_a_request_of_a_catalogue_may_have_no_history(parts, matching):
  found = parts.of_catalog([[]], ["Something with robots"])
  assert np.isfinite(found["match"]).all()
  assert found["match"].shape == (1, len(matching.prepared.catalog))


def test_runs_have_the_parts_that_they_trained(matching):
  block = matching.block
  matched = matching.parts("match")
  assert set(matched.of_block(block, Wish.NONE)) == {"match", "popularity"}
  assert matched.untuned == {
    "match": 1.0,
    "popularity": pytest.approx(matched.matcher.popularity_weight),
  }
  assert {"plain", "unread"} < set(matched.wish_parts)
  likely = matching.parts("likelihood")
  assert "unread" not in likely.wish_parts
  assert likely.matcher is None
  assert likely.untuned == {"likelihood": 1.0}
  found = likely.of_block(block, Wish.NONE)
  assert set(found) == {"likelihood", "prior", "popularity"}
  np.testing.assert_array_equal(
    likely.trained_part(block), likely.of_block(block, Wish.OWN)["likelihood"]
  )
  np.testing.assert_array_equal(
    matched.trained_part(block), matched.of_block(block, Wish.OWN)["match"]
  )
  with pytest.raises(ValueError, match="needs the objective next_item"):
    likely.of_catalog([[]], ["pirates"])


def test_prompts_say_the_wish_and_mark_the_history(parts):
  assert "pirates!" in parts.prompts.text("pirates!")
  assert "[history]" in parts.prompts.text("pirates!")
  assert "[history]" in parts.prompts.text(None)
  assert Wish.OTHER.value == "somebody else's wish"


def test_a_catalogue_that_takes_several_trees_has_the_same_priors(
  matching, monkeypatch
):
  whole = matching.parts().priors
  monkeypatch.setattr(scoring, "_TREE_NODES", 40)
  parts = matching.parts().priors
  assert parts[0] == -np.inf
  np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-4)


def test_what_is_kept_of_a_wish_is_small(matching):
  """One letter of it is eighteen to the vocabulary."""
  prompts = matching.parts("match").prompts
  prompts.tokens("Another wish.")
  tracemalloc.start()
  kept = [prompts.tokens(f"{n} " + "\ufdfa" * 2000) for n in range(3)]
  size, _ = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert min(map(len, kept)) > 2000
  assert size < 8 * sum(map(len, kept))
