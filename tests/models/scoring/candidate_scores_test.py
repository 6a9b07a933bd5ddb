"""Tests of scores and of the batch's checks."""

import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.scoring import candidate_scores

LOG_PROBS = jnp.array([[-1.0, -2.0, 0.0], [-0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
WEIGHTS = jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
  ("normalization", "expected"),
  [("sum", [-3.0, -0.5, -np.inf]), ("mean", [-1.5, -0.5, -np.inf])],
)
def test_candidate_scores(normalization, expected):
  np.testing.assert_array_equal(
    candidate_scores.candidate_scores(
      LOG_PROBS, WEIGHTS, normalization=normalization
    ),
    expected,
  )


def test_unknown_normalization_is_named():
  with pytest.raises(ValueError, match="is 'max'; expected one of sum, mean"):
    candidate_scores.candidate_scores(LOG_PROBS, WEIGHTS, normalization="max")


@pytest.mark.parametrize(
  ("key", "shape", "message"),
  [
    ("decoder_loss_weights", None, "lacks decoder_loss_weights; it has"),
    ("encoder_input_tokens", (8,), r"shape \(8,\); expected \[batch, inputs\]"),
    ("decoder_target_tokens", (3, 5), r"shape \(3, 5\); expected \[2, length"),
    ("decoder_target_tokens", (2, 1, 1, 5), r"\[2, candidates, length\]"),
    ("decoder_input_tokens", (2, 4), r"\(2, 4\); expected \(2, 5\)"),
    ("decoder_loss_weights", (2, 4), r"\(2, 4\); expected \(2, 5\)"),
  ],
)
def test_bad_batches_are_named(key, shape, message, make_batch):
  batch = make_batch([[2, 1], [3, 1]], [[4, 1], [5, 1]])
  if shape is None:
    del batch[key]
  else:
    batch[key] = np.ones(shape, np.int32)
  with pytest.raises(ValueError, match=message):
    candidate_scores.check_batch(batch)


def test_packed_candidate_lists_are_refused(make_batch):
  batch = make_batch([[2, 1]], [[[4, 1], [5, 1]]])
  batch["decoder_segment_ids"] = np.ones((1, 2, 5), np.int32)
  with pytest.raises(ValueError, match="cannot be packed"):
    candidate_scores.check_batch(batch)
