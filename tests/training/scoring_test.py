"""Scores of candidate lists: one pass for both normalisations."""

import jax
import numpy as np
import polars as pl
import pytest

from instructrec.models import config, ranking_model, t5
from instructrec.training import batches, scoring, token_dataset

CONFIG = config.T5Config(
  vocab_size=60,
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_encoder_layers=1,
  num_decoder_layers=1,
  dtype="float32",
)


def ragged(lengths, rng):
  tokens = rng.integers(3, 60, sum(lengths)).astype(np.int32)
  offsets = np.concatenate([[0], lengths]).cumsum()
  tokens[offsets[1:] - 1] = token_dataset.EOS_ID
  return token_dataset.Ragged(tokens, offsets)


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(0)
  counts = [4, 2, 5, 3, 4]
  return token_dataset.TokenDataset(
    "lists",
    ragged([9, 150, 30, 4, 12], rng),
    ragged(rng.integers(2, 20, sum(counts)).tolist(), rng),
    np.concatenate([[0], counts]).cumsum(),
    pl.DataFrame({"request_id": list("abcde")}),
    {},
  )


@pytest.fixture(scope="module", params=["sum", "mean"])
def model(request):
  return ranking_model.T5RankingModel(
    t5.T5(CONFIG), score_normalization=request.param
  )


@pytest.fixture(scope="module")
def params(model):
  shapes = {"encoder_input_tokens": (1, 8), "decoder_input_tokens": (1, 8)}
  return model.get_initial_variables(
    jax.random.key(0), {**shapes, "decoder_target_tokens": (1, 8)}
  )["params"]


def score(model, params, data, examples, **options):
  return scoring.score_lists(
    model,
    params,
    data,
    np.asarray(examples),
    inputs_length=160,
    targets_length=24,
    batch_size=2,
    **options,
  )


def test_both_normalizations_come_from_one_pass(model, params, data):
  """Each is what the model itself gives under that setting."""
  found = score(model, params, data, range(5), normalizations=("sum", "mean"))
  own = model.score_normalization
  assert list(score(model, params, data, range(5))) == [own]
  batch = batches.list_batch(
    data, np.arange(5), inputs_length=160, targets_length=24, num_candidates=5
  )
  expected = np.asarray(model.score_batch(params, batch))
  np.testing.assert_allclose(found[own], expected, rtol=2e-5)
  where = np.arange(5) < data.num_candidates[:, None]
  lengths = np.zeros((5, 5))
  lengths[where] = data.targets.lengths
  np.testing.assert_allclose(
    found["sum"][where], found["mean"][where] * lengths[where], rtol=2e-5
  )
  assert (found["sum"][~where] == -np.inf).all()


def test_exchanged_lists_are_scored_as_their_own(model, params, data):
  """Examples in another order, with candidates of another example's list."""
  examples = np.array([3, 0, 3])
  lists = [[0, 1], [6, 7, 8, 4], [2]]
  rows = np.concatenate([np.array(row) for row in lists])
  exchanged = data.with_lists(
    examples, data.targets.take(rows), np.array([2, 4, 1])
  )
  assert exchanged.columns["request_id"].to_list() == ["d", "a", "d"]
  own = model.score_normalization
  found = score(model, params, exchanged, range(3))[own]
  whole = data.with_lists(
    examples,
    data.targets.take(np.tile(np.arange(18), 3)),
    np.array([18, 18, 18]),
  )
  every = score(model, params, whole, range(3))[own]
  for i, row in enumerate(lists):
    np.testing.assert_allclose(found[i, : len(row)], every[i, row], rtol=2e-5)
