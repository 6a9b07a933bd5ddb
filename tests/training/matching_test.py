"""States and title vectors in compiled batches, and their products."""

import numpy as np
import pytest

from instructrec.training import matching as matching_lib
from instructrec.training import ragged


@pytest.fixture(scope="module")
def matcher(matching):
  return matching_lib.Matcher(
    matching.run.model, matching.params, matching.run.item_arrays()
  )


@pytest.fixture(scope="module")
def history(matching, matcher):
  data = matching.block.tokens
  return matcher.items.history(data, np.arange(len(data)))


@pytest.fixture(scope="module")
def states(matching, matcher, history):
  prompts = matching.block.tokens.prompts
  rows = np.arange(len(history))
  return matcher.states(prompts, rows, history, inputs_length=96)


def close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 5, 12])
def test_states_in_blocks_are_those_of_all_at_once(
  matching, matcher, history, states, monkeypatch, size
):
  monkeypatch.setattr(matching_lib, "REQUESTS", (1, 5))
  prompts = matching.block.tokens.prompts
  rows = np.arange(len(history))
  found = [
    matcher.states(
      prompts, rows[i : i + size], history[i : i + size], inputs_length=96
    )
    for i in range(0, len(rows), size)
  ]
  close(np.concatenate(found), states)
  # They tell histories and instructions apart.
  assert len(np.unique(states.round(3), axis=0)) == len(rows)


def test_rows_are_those_that_were_asked_for(matching, matcher, history, states):
  rows = np.array([7, 2, 7])
  prompts = matching.block.tokens.prompts
  found = matcher.states(prompts, rows, history[rows], inputs_length=96)
  close(found, states[rows])


def test_padding_of_texts_and_histories_changes_nothing(
  matching, matcher, history, states
):
  prompts = matching.block.tokens.prompts
  longest = int(prompts.lengths.max())
  # A long neighbour makes every text of the batch wider.
  texts = ragged.Ragged.of(
    [
      *(prompts.tokens[slice(*prompts.offsets[i:][:2])] for i in range(12)),
      [7] * (longest + 20),
    ]
  )
  wider = np.concatenate(
    [np.zeros((13, 3), np.int32), history[[*range(12), 0]]], 1
  )
  found = matcher.states(texts, np.arange(13), wider, inputs_length=128)
  close(found[:12], states)


def test_long_texts_are_cut_as_in_training(matching, matcher, history):
  prompts = matching.block.tokens.prompts
  rows = np.array([int(prompts.lengths.argmax())])
  cut = ragged.Ragged.of([prompts.pad(rows, 6)[0].tolist()])
  close(
    matcher.states(prompts, rows, history[rows], inputs_length=6),
    matcher.states(cut, np.zeros(1, int), history[rows], inputs_length=96),
  )


@pytest.mark.parametrize("size", [16, 4096])
def test_vectors_are_those_of_the_model(matching, matcher, monkeypatch, size):
  monkeypatch.setattr(matching_lib, "_TITLES", size)
  tokens = matcher.items.title_tokens
  found = matching_lib.title_vectors(
    matcher.model, matcher.params, tokens[1:], np.arange(1, len(tokens))
  )
  close(found, matcher.vectors[1:])
  # Without its number an item is known by its title alone.
  new = matching_lib.title_vectors(
    matcher.model, matcher.params, tokens[5:6], np.zeros(1, np.int32)
  )
  assert np.abs(new - matcher.vectors[5]).max() > 1e-3


def test_scores_are_products_and_nothing_where_no_item_is(matcher, states):
  numbers = np.array([[3, 9, 0], [60, 1, 3]], np.int32)
  found = matcher.scores(states[:2], numbers)
  assert found.dtype == np.float64
  for row, place in ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2)):
    vector = matcher.vectors[numbers[row, place]]
    assert found[row, place] == pytest.approx(states[row] @ vector, rel=1e-4)
  assert found[0, 2] == -np.inf
  assert not matcher.vectors[0].any()


def test_popularity_counts_what_training_left(matching, matcher):
  factors = matching.params["title_matching"]["factors"]
  assert matcher.popularity_weight == pytest.approx(float(factors[1]))
