"""Titles that are written in batches."""

import dataclasses

import jax
import numpy as np
import pytest

from instructrec.models import ranking_model
from instructrec.models.generation import (
  catalog_trie,
  leaf_intervals,
  list_policy,
  list_quota,
)
from instructrec.models.networks import t5, t5_config
from instructrec.training import ragged, title_writing

TITLES = [[4, 1], [4, 5, 1], [6, 7, 1], [6, 8, 8, 1], [9, 1]]
POLICY = list_policy.ListPolicy(separator_ids=(11,), max_items=4)
COUNT = 5


@pytest.fixture(scope="module", name="writer")
def writer_fixture():
  """Two requests at once, of five in all."""
  model = ranking_model.NetworkRankingModel(
    t5.T5(
      t5_config.T5Config(
        vocab_size=12,
        emb_dim=8,
        num_heads=2,
        head_dim=4,
        mlp_dim=16,
        num_encoder_layers=1,
        num_decoder_layers=1,
      )
    )
  )
  shapes = {"encoder_input_tokens": (1, 4), "decoder_input_tokens": (1, 4)}
  params = jax.jit(lambda key: model.get_initial_variables(key, shapes))(
    jax.random.key(0)
  )["params"]
  trie = catalog_trie.CatalogTrie.build(TITLES, eos_id=1, vocab_size=12)
  writer = title_writing.TitleWriter(model, params, trie, batch_size=2)
  texts = ragged.Ragged.of([[5, 9, 4, 1], [7, 3, 1], [2, 1]])
  prompts = title_writing.Prompts(
    texts, np.array([0, 1, 2, 0, 1]), None, inputs_length=4
  )
  return writer, prompts


def test_lists_of_all_requests_keep_to_what_each_says(writer):
  writer, prompts = writer
  rng = np.random.default_rng(0)
  lengths = np.array([4, 1, 3, 0, 2], np.int32)
  allowed = rng.random((COUNT, len(TITLES))) < 0.8
  kind = rng.random((COUNT, len(TITLES))) < 0.5
  asked = list_policy.ListRequests(
    lengths=lengths,
    conditions=leaf_intervals.Conditions(
      allowed=allowed, excluded=np.arange(COUNT)[:, None] % 3
    ),
    quota=list_quota.Quota(
      items=kind,
      at_least=np.zeros(COUNT, np.int32),
      at_most=np.ones(COUNT, np.int32),
    ),
  )
  found = writer.write_lists(prompts, asked, POLICY, num_lists=3,
                             temperature=1.0, seed=1)  # fmt: skip
  again = writer.write_lists(prompts, asked, POLICY, num_lists=3,
                             temperature=1.0, seed=1)  # fmt: skip
  assert found.items.shape == (COUNT, 3, 4)
  for one, other in zip(found, again, strict=True):
    np.testing.assert_array_equal(one, other)
  for row in range(COUNT):
    keep = allowed[row].copy()
    if row % 3:
      keep[row % 3 - 1] = False
    ours = keep & kind[row]
    most = min(1, ours.sum()) + (keep & ~kind[row]).sum()
    for items in found.items[row]:
      items = items[items > 0] - 1
      assert len(items) == len(set(items)) == min(lengths[row], most)
      assert keep[items].all()
      assert kind[row, items].sum() <= 1


def test_draws_do_not_depend_on_the_size_of_batches(writer):
  writer, prompts = writer
  asked = list_policy.ListRequests(lengths=np.full(COUNT, 4, np.int32))
  found = [
    dataclasses.replace(writer, batch_size=size).write_lists(
      prompts, asked, POLICY, num_lists=3, temperature=1.0, seed=1
    )
    for size in (2, 3)
  ]
  np.testing.assert_array_equal(found[0].items, found[1].items)


def test_titles_with_the_separator_are_refused(writer):
  writer, prompts = writer
  other = list_policy.ListPolicy(separator_ids=(11, 8), max_items=4)
  asked = list_policy.ListRequests(lengths=np.ones(COUNT, np.int32))
  with pytest.raises(ValueError, match="item 4 has the separator 8"):
    writer.write_lists(prompts, asked, other)
