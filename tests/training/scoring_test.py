"""Scores of a data set do not depend on buckets, batches and order."""

import jax
import numpy as np
import polars as pl
import pytest

from instructrec.models import config, ranking_model, t5
from instructrec.training import batches, scoring, token_dataset

VOCABULARY = 31
SIZES = {"inputs_length": 80, "targets_length": 12}


def ragged(rows):
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
    inputs=ragged([tokens(rng, 10, 90) for _ in counts]),
    targets=ragged([tokens(rng, 1, 11) for _ in range(counts.sum())]),
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
  scores = scoring.score_lists(*setup, dataset, order, **SIZES, **settings)
  np.testing.assert_allclose(scores, expected[order], atol=1e-5)


def test_batches_fit_the_budget_and_shapes_are_few(dataset, setup):
  model, params = setup
  seen = []

  class Spy:
    def score_batch(self, params, batch):
      seen.append(
        (batch["encoder_input_tokens"].shape, batch["decoder_positions"].shape)
      )
      return model.score_batch(params, batch)

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
