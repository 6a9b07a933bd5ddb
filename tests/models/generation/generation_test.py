"""What the search for targets may be told."""

import dataclasses

import jax
import numpy as np
import pytest

from instructrec.models.generation import generation
from instructrec.models.scoring import features


def test_a_length_is_given_or_that_of_the_batch():
  batch = {"decoder_input_tokens": np.zeros((2, 7), np.int32)}
  config = generation.GenerationConfig()
  assert config.max_length(batch) == 7
  assert dataclasses.replace(config, max_decode_length=3).max_length(batch) == 3
  with pytest.raises(ValueError, match="no length to decode to"):
    config.max_length({})


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"num_decodes": 2}, "num_decodes is 2 with num_beams 1"),
    ({"max_decode_length": 0}, "max_decode_length is 0; expected at least 1"),
    ({"length_penalty_alpha": -0.1}, "length_penalty_alpha is -0.1"),
  ],
)
def test_numbers_out_of_range_are_named(settings, message):
  with pytest.raises(ValueError, match=message):
    generation.GenerationConfig(**settings)


def test_generated_targets_have_the_log_probabilities_of_scores(
  tiny, make_batch
):
  batch = make_batch([[5, 9, 4, 1], [7, 3, 12, 1]], [[4, 9, 1], [8, 1]])
  config = generation.GenerationConfig(num_beams=3, num_decodes=3)
  found = jax.jit(
    lambda params: generation.generate(tiny.model.module, params, batch, config)
  )(tiny.params)
  assert found.sequences.shape == (2, 3, 5)
  lists = features.to_features(
    batch["encoder_input_tokens"], np.asarray(found.sequences)
  )
  scores = jax.jit(tiny.model.score_batch)(tiny.params, lists)
  np.testing.assert_allclose(found.log_probs, scores, atol=1e-4)
