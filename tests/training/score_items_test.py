"""Lists that are scored carry the items of their histories."""

import itertools

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from instructrec.training import item_arrays, scoring, token_dataset
from instructrec.training import ragged as ragged_lib

NUM_ITEMS = 400


class Model:
  """Scores a candidate by its first token and its history's sum."""

  score_normalization = "sum"

  def score_batch(self, params, batch, return_intermediates=False):
    tokens = batch["decoder_target_tokens"]
    weights = (tokens > 0).astype(jnp.float32)
    assert not {name for name in batch if name.startswith("choice_")}
    shown = batch["history_items"].sum(1) + batch["encoder_input_tokens"].sum(1)
    trees = len(tokens) // len(shown)
    shown = jnp.repeat(shown, trees)[:, None]
    first = tokens[..., 0] + 1000 * shown
    scores = jnp.zeros(tokens.shape).at[..., 0].set(first)
    return first, {
      "decoder": {"token_scores": (scores,), "loss_weights": (weights,)}
    }


def ragged(rows):
  lengths = [len(row) for row in rows]
  flat = np.array([x for row in rows for x in row], np.int32)
  return ragged_lib.Ragged(flat, np.concatenate([[0], lengths]).cumsum())


@pytest.mark.parametrize("longest", [5, 300])
def test_every_tree_of_a_list_has_the_history_of_its_request(longest):
  rng = np.random.default_rng(0)
  counts = np.array([longest, 3, 2])
  lists = np.concatenate([[0], counts]).cumsum()
  targets = [[*rng.integers(3, 50, 4), 1] for _ in range(counts.sum())]
  prompts = [[7, 8, 1], [9, 1], [5, 5, 5, 1]]
  shown = [[1, 2, 3, 4], [], [5]]
  numbers = rng.permutation(NUM_ITEMS)[: counts.sum()].astype(np.int32) + 1
  data = token_dataset.TokenDataset(
    "lists",
    ragged([[40] * 20] * 3),
    ragged(targets),
    lists,
    pl.DataFrame({"request_id": list("abc")}),
    {},
    prompts=ragged(prompts),
    history=ragged(shown),
    target_items=np.zeros(3, np.int32),
    candidate_items=numbers,
  )
  tokens = rng.integers(1, 9, (NUM_ITEMS + 1, 2)).astype(np.int32)
  tokens[0] = 0
  items = item_arrays.ItemArrays(
    title_tokens=tokens,
    logs=np.zeros((NUM_ITEMS + 1, 2), np.float32),
    shares=np.full(NUM_ITEMS, 1 / NUM_ITEMS),
    history_length=3,
    num_drawn=0,
    fingerprint="f",
  )
  found = scoring.score_lists(
    Model(),
    {},
    data,
    np.arange(3),
    inputs_length=20,
    targets_length=8,
    items=items,
  )["sum"]
  for row, (start, stop) in enumerate(itertools.pairwise(lists)):
    shared = sum(shown[row][-3:]) + sum(prompts[row])
    wanted = [first + 1000 * shared for first, *_ in targets[start:stop]]
    np.testing.assert_array_equal(found[row, : stop - start], wanted)
    assert np.isneginf(found[row, stop - start :]).all()
