"""Lists by the settings of a model's decoder."""

import dataclasses

import jax
import numpy as np
import pytest

from instructrec.instructions import title_list
from instructrec.models.generation import (
  catalog_trie,
  list_decoder,
  list_policy,
)
from instructrec.training import gin_config, runner, strict_gin

TITLES = [[4, 9, 1], [4, 9, 8, 1], [4, 1], [20, 1], [7, 7, 3, 1]]
SEPARATORS = (22, 23, 24)
INPUTS = np.array([[5, 9, 4, 1], [7, 3, 1, 0]], np.int32)
FILES = ["gin/genrec_tiny.gin", "gin/overrides/lists.gin"]


@pytest.fixture(scope="module", name="trie")
def trie_fixture():
  return catalog_trie.CatalogTrie.build(TITLES, eos_id=1, vocab_size=31)


@pytest.fixture(scope="module", name="predicted")
def predicted_fixture(tiny, trie):
  """What `predict_batch_with_aux` and `predict_lists` say of one batch."""
  decoder = list_decoder.ListDecoder(
    separator_ids=SEPARATORS, max_items=4, catalog=trie
  )
  model = tiny.with_settings(decoder=decoder)
  batch = {
    "encoder_input_tokens": INPUTS,
    "history_items": np.array([[3, 0], [4, 1]], np.int32),
    # Two titles and three.
    "decoder_target_tokens": np.array(
      [[5, 22, 6, 1, 0, 0], [5, 23, 6, 22, 7, 1]], np.int32
    ),
  }
  plain = {"encoder_input_tokens": INPUTS}
  asked = list_policy.ListRequests(lengths=np.array([1, 4], np.int32))

  def run(params, trie):
    first = model.predict_batch_with_aux(params, batch)
    return first, model.predict_lists(params, plain, trie, requests=asked)

  return jax.jit(run)(tiny.params, trie)


def test_lists_are_as_long_as_targets_and_without_the_history(predicted, trie):
  (tokens, aux), _ = predicted
  assert tokens.shape == (2, 4 * trie.max_length)
  items = np.asarray(aux["items"])
  assert (items > 0).sum(axis=1).tolist() == [2, 3]
  assert 3 not in items[0]
  assert not {4, 1} & set(items[1].tolist())
  for row, own in zip(np.asarray(tokens), items, strict=True):
    expected = title_list.join_tokens(
      [TITLES[number - 1] for number in own[own > 0]],
      separator_ids=SEPARATORS,
      eos_id=1,
    )
    assert row[row > 0].tolist() == expected
  np.testing.assert_allclose(
    aux["scores"], aux["item_scores"].sum(axis=1), atol=1e-5
  )
  assert (aux["scores"] < 0).all()


def test_lists_are_as_long_as_requests_say(predicted):
  _, lists = predicted
  assert lists.num_items.tolist() == [[1], [4]]


def test_gin_chooses_lists_in_one_line(tmp_path):
  gin_config.parse(FILES, ["ListDecoder.max_items = 5"])
  model = gin_config.build(runner.TrainConfig).model
  expected = list_decoder.ListDecoder(max_items=5)
  # `<extra_id_1>` is the last but one of T5's ids.
  assert expected.separator_ids[:2] == (32098, 32097)
  assert model.decoder == expected
  path = tmp_path / "config.gin"
  path.write_text(gin_config.config_text())
  opened = strict_gin.StrictGin.open(path).build(runner.TrainConfig)
  assert opened.model.decoder == expected


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"method": "beam"}, "expected one of greedy, sample"),
    ({"num_decodes": 2}, "num_decodes is 2 with the method 'greedy'"),
    ({"method": "sample", "temperature": 0.0}, "temperature is 0.0; expected"),
    ({"probability": "shut"}, "probability is 'shut'; expected one of"),
    ({"max_items": 0}, r"max_items is 0 and separator_ids \(22"),
    ({"max_length": 9}, "would cut constrained lists"),
    ({"constrained": False, "probability": "closed"}, "'open' probabilities"),
  ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    list_decoder.ListDecoder(separator_ids=SEPARATORS, **settings)


def test_a_separator_that_titles_have_is_refused(trie):
  decoder = list_decoder.ListDecoder(separator_ids=(22, 9), catalog=trie)
  with pytest.raises(ValueError, match=r"item 1 has the separator 9 among"):
    decoder.own_catalog(vocab_size=31, eos_id=1)
  for token in (1, 31):
    other = dataclasses.replace(decoder, separator_ids=(22, token))
    with pytest.raises(ValueError, match=f"a separator is the token {token}"):
      other.own_catalog(vocab_size=31, eos_id=1)


def test_a_model_without_lists_says_so(tiny, trie):
  batch = {"encoder_input_tokens": INPUTS}
  with pytest.raises(ValueError, match="no decoder of lists"):
    tiny.model.predict_lists(tiny.params, batch, trie)
  model = tiny.with_settings(
    decoder=list_decoder.ListDecoder(separator_ids=SEPARATORS)
  )
  with pytest.raises(ValueError, match="call predict_lists"):
    model.predict_items(tiny.params, batch, trie)
  with pytest.raises(ValueError, match="no catalogue to write titles of"):
    model.predict_batch(tiny.params, batch)
  batch["decoder_target_tokens"] = np.ones((2, 3, 4), np.int32)
  with pytest.raises(ValueError, match=r"shape \(2, 3, 4\); expected \[batch"):
    model.predict_lists(tiny.params, batch, trie)
