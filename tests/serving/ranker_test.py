"""Ranking a few titles, all titles, and the best of all titles."""

import dataclasses

import jax
import numpy as np
import pytest

from instructrec.data import synthetic
from instructrec.models import ranking_model, tokenizer
from instructrec.models.networks import t5, t5_config
from instructrec.models.scoring import features
from instructrec.serving import list_limits
from instructrec.serving import ranker as ranker_lib

TEXT = "something to play with friends"


@pytest.fixture(scope="module", name="ranker")
def ranker_fixture(tmp_path_factory):
  _, items = synthetic.generate(num_users=30, num_items=90, seed=0)
  path = tmp_path_factory.mktemp("vocabulary") / "sentencepiece.model"
  tokenizer.train(items.titles * 3, path, vocab_size=400)
  vocabulary = tokenizer.Tokenizer(path)
  network = t5_config.T5Config(
    vocab_size=vocabulary.vocab_size,
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
    head_dim=8,
    mlp_dim=16,
  )
  model = ranking_model.NetworkRankingModel(t5.T5(network))
  shapes = {"encoder_input_tokens": (1, 8), "decoder_input_tokens": (1, 4)}
  params = jax.jit(
    lambda rng: model.get_initial_variables(rng, shapes)["params"]
  )(jax.random.key(0))
  return ranker_lib.InstructionRanker(
    model=model,
    params=params,
    tokenizer=vocabulary,
    catalog=items,
    inputs_length=96,
    targets_length=64,
  )


def plain_scores(ranker, history, item_ids):
  """By the definition: one padded list."""
  ids = ranker.tokenizer.encode(ranker.instruction(history, TEXT))[:96]
  ids[-1] = tokenizer.EOS_ID  # Also where the instruction was cut.
  titles = [
    ranker.tokenizer.encode(ranker.catalog.title(item)) for item in item_ids
  ]
  inputs = np.zeros((1, 96), np.int32)
  inputs[0, : len(ids)] = ids
  targets = np.zeros((1, len(titles), max(map(len, titles))), np.int32)
  for row, title in enumerate(titles):
    targets[0, row, : len(title)] = title
  batch = features.to_features(inputs, targets)
  return np.asarray(jax.jit(ranker.model.score_batch)(ranker.params, batch))[0]


def test_candidates_are_ranked_by_their_scores(ranker):
  ids = ranker.catalog.item_ids
  history, candidates = ids[:2], ids[10:17]
  ranked = ranker.rank(history, TEXT, candidates)
  expected = plain_scores(ranker, history, candidates)
  order = np.argsort(-expected, kind="stable")
  assert [found.item_id for found in ranked] == [candidates[i] for i in order]
  np.testing.assert_allclose(
    [found.score for found in ranked], expected[order], atol=1e-4
  )


def test_long_lists_have_the_scores_of_short_ones(ranker, monkeypatch):
  ids = ranker.catalog.item_ids
  expected = ranker.rank(ids[:2], TEXT)
  for name, value in (("TREES", (1, 2)), ("NODES", (30,)), ("_CANDIDATES", 5)):
    monkeypatch.setattr(ranker_lib, name, value)
  found = ranker.rank(ids[:2], TEXT)
  assert len(found) == len(ids) - 2
  scores = {one.item_id: one.score for one in expected}
  np.testing.assert_allclose(
    [one.score for one in found],
    [scores[one.item_id] for one in found],
    atol=1e-4,
  )


def test_the_top_is_the_beginning_of_the_whole_ranking(ranker):
  history = ranker.catalog.item_ids[:3]
  expected = ranker.rank(history, TEXT)
  found = ranker.top(history, TEXT, 10)
  assert [x.item_id for x in found] == [x.item_id for x in expected[:10]]
  np.testing.assert_allclose(
    [x.score for x in found], [x.score for x in expected[:10]], atol=1e-4
  )


def test_a_long_history_does_not_push_the_sentence_out(ranker):
  ids = ranker.catalog.item_ids
  ranker = dataclasses.replace(ranker, inputs_length=300)
  instruction = ranker.instruction(ids[:60], TEXT)
  assert len(ranker.tokenizer.encode(instruction)) <= ranker.inputs_length
  assert TEXT in instruction
  assert ranker.catalog.title(ids[59]) in instruction
  assert ranker.catalog.title(ids[0]) not in instruction
  # As many of the newest as there is room for.
  kept = [i for i in ids[:60] if ranker.catalog.title(i) in instruction]
  assert kept == ids[60 - len(kept) : 60]
  wider = dataclasses.replace(ranker, inputs_length=10_000)
  longer = wider.instruction(ids[59 - len(kept) : 60], TEXT)
  assert len(ranker.tokenizer.encode(longer)) > ranker.inputs_length


def test_history_is_not_recommended(ranker):
  everything = ranker.top([], TEXT, 10**6)
  assert len(everything) == len(ranker.catalog)
  best = everything[0].item_id
  rest = ranker.top([best], TEXT, 10**6)
  assert best not in {found.item_id for found in rest}
  assert len(rest) == len(everything) - 1


def test_a_model_without_prefixes_is_told_what_the_top_needs(ranker):
  class Scorer:
    score_batch = ranker.model.score_batch

  plain = dataclasses.replace(ranker, model=Scorer())
  candidates = ranker.catalog.item_ids[:3]
  assert plain.rank([], TEXT, candidates) == ranker.rank([], TEXT, candidates)
  with pytest.raises(TypeError, match="Scorer cannot be asked prefix"):
    plain.top([], TEXT, 3)


def test_lists_of_several_requests_have_their_own_scores(ranker):
  ids = ranker.catalog.item_ids
  asked = [(ids[:2], TEXT, ids[10:17]), (ids[5:9], None, ids[20:90])]
  found = ranker.score_lists(
    np.stack(
      [ranker.encoder_input(ranker.instruction(h, t)) for h, t, _ in asked]
    ),
    [
      ranker.tokenizer.encode_all([ranker.catalog.title(i) for i in those])
      for *_, those in asked
    ],
  )
  for scores, (history, text, candidates) in zip(found, asked, strict=True):
    alone = {p.item_id: p.score for p in ranker.rank(history, text, candidates)}
    np.testing.assert_allclose(
      scores, [alone[item] for item in candidates], rtol=1e-5, atol=1e-5
    )


def test_no_step_is_filled_up_by_more_than_half():
  counts = (1, 2, 3, 4, 5, 8, 9, 16, 40)
  steps = [ranker_lib.step_size(count) for count in counts]
  assert steps == [1, 1, 3, 4, 4, 4, 9, 16, 16]


def test_what_is_not_allowed_is_not_found(ranker):
  allowed = np.zeros(len(ranker.catalog), bool)
  allowed[[2, 30, 40, 41]] = True
  ids = ranker.catalog.item_ids
  found = ranker.top(ids[:3], TEXT, 3, allowed=allowed & ~np.isin(ids, ids[:3]))
  among = ranker.rank(ids[:3], TEXT, [ids[30], ids[40], ids[41]])
  assert [one.item_id for one in found] == [one.item_id for one in among]


def test_warming_compiles_what_lists_need(ranker):
  ranker = dataclasses.replace(ranker, inputs_length=160)
  before = ranker._score_fn._cache_size()
  compiled = ranker.warm()
  assert ranker._score_fn._cache_size() == before + compiled
  ids = ranker.catalog.item_ids
  for count in (1, 9, 60, 90):
    ranker.rank(ids[:3], TEXT, ids[:count])
  titles = ranker.tokenizer.encode_all(ranker.catalog.titles)
  for text in ("A kite.", "Kites. " * 40):
    prompts = np.stack([ranker.encoder_input(text)] * 3)
    ranker.score_lists(prompts, [titles[:3], titles, titles[5:60]])
    ranker.score_lists(prompts, [titles[:8], titles[8:9], titles[9:40]])
  assert ranker._score_fn._cache_size() == before + compiled


@pytest.mark.parametrize("most", [0, 1, 3])
def test_the_best_within_a_limit_are_the_first_of_all_within_it(ranker, most):
  items = ranker.catalog
  having = np.arange(len(items)) % 2 > 0
  limits = [list_limits.Limit(having, most)]
  allowed = np.arange(len(items)) % 5 > 0
  every = [
    found
    for found in ranker.rank(items.item_ids[:1], TEXT)
    if allowed[items.index(found.item_id)]
  ]
  order = np.array([items.index(found.item_id) for found in every])
  expected = list_limits.first(order, limits, 40)
  found = ranker.top(items.item_ids[:1], TEXT, 40, allowed, limits=limits)
  assert [items.index(one.item_id) for one in found] == expected.tolist()
  assert sum(having[expected]) == most
