"""Scores of lists: the same in any bucket, batch and order, and in one pass."""

import jax
import numpy as np
import polars as pl
import pytest

from instructrec.models import config, ranking_model, t5
from instructrec.training import batches, scoring, token_dataset

VOCABULARY = 31
SIZES = {"inputs_length": 80, "targets_length": 12}
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


def joined(rows):
  return token_dataset.Ragged(
    np.concatenate(rows).astype(np.int32),
    np.cumsum([0, *map(len, rows)]),
  )


def tokens(rng, low, high):
  return np.append(rng.integers(2, VOCABULARY, rng.integers(low, high)), 1)


@pytest.fixture(scope="module", name="dataset")
def dataset_fixture():
  rng = np.random.default_rng(0)
  counts = rng.integers(1, 8, 9)
  return token_dataset.TokenDataset(
    name="lists/test",
    # Some fall into another bucket, and some are cut.
    inputs=joined([tokens(rng, 10, 90) for _ in counts]),
    targets=joined([tokens(rng, 1, 11) for _ in range(counts.sum())]),
    lists=np.cumsum([0, *counts]),
    columns=pl.DataFrame(),
    meta={},
  )


@pytest.fixture(scope="module", name="setup")
def setup_fixture():
  network = config.T5Config(
    vocab_size=VOCABULARY,
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
    head_dim=8,
    mlp_dim=16,
  )
  model = ranking_model.T5RankingModel(t5.T5(network))
  shapes = {"encoder_input_tokens": (1, 8), "decoder_input_tokens": (1, 4)}
  variables = model.get_initial_variables(jax.random.key(0), shapes)
  return model, variables["params"]


@pytest.fixture(scope="module", name="expected")
def expected_fixture(dataset, setup):
  """One batch of plain lists."""
  model, params = setup
  batch = batches.list_batch(
    dataset,
    np.arange(len(dataset)),
    num_candidates=int(dataset.num_candidates.max()),
    **SIZES,
  )
  return np.asarray(jax.jit(model.score_batch)(params, batch))


@pytest.mark.parametrize(
  "settings", [{}, {"batch_size": 2}, {"max_tokens": 1}, {"max_tokens": 300}]
)
def test_scores_are_those_of_plain_lists(dataset, setup, expected, settings):
  order = np.random.default_rng(1).permutation(len(dataset))
  found = scoring.score_lists(*setup, dataset, order, **SIZES, **settings)
  np.testing.assert_allclose(found["sum"], expected[order], atol=1e-5)


def test_batches_fit_the_budget_and_shapes_are_few(dataset, setup):
  model, params = setup
  seen = []

  class Spy:
    score_normalization = "sum"

    def score_batch(self, params, batch, return_intermediates):
      seen.append(
        (batch["encoder_input_tokens"].shape, batch["decoder_positions"].shape)
      )
      return model.score_batch(params, batch, return_intermediates)

  scoring.score_lists(
    Spy(), params, dataset, np.arange(9), max_tokens=400, **SIZES
  )
  # Each shape is traced once.
  assert len(seen) == len(set(seen))
  for (batch, inputs), (_, nodes) in seen:
    assert batch * (inputs + nodes) <= 400
  assert {shape[0][1] for shape in seen} == {64, 80}


def test_too_long_candidates_are_an_error(dataset, setup):
  with pytest.raises(ValueError, match="raise the length of the targets"):
    scoring.score_lists(
      *setup, dataset, np.arange(9), inputs_length=80, targets_length=5
    )
