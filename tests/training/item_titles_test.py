"""The items of a run, as the catalogue that its decoder writes."""

import dataclasses

import jax
import numpy as np
import polars as pl
import pytest

from instructrec.models.generation import catalog_decoder, catalog_trie
from instructrec.training import (
  gin_config,
  item_table,
  item_titles,
  run_dir,
  runner,
  strict_gin,
)

_FILES = ["gin/genrec_tiny.gin", "gin/overrides/catalog.gin"]


@pytest.fixture(scope="module", name="titles")
def titles_fixture(matching):
  run = matching.run
  return item_titles.ItemTitles(run.items, run.vocabulary, 32)


@pytest.fixture(scope="module", name="search")
def search_fixture(matching, titles):
  """`predict_batch_with_aux`, compiled, and a batch with a history."""
  decoder = catalog_decoder.CatalogDecoder(num_beams=8, num_decodes=6)
  model = matching.run.model.writing(titles)
  model.decoder = dataclasses.replace(decoder, catalog=titles)
  batch = {
    "encoder_input_tokens": np.array([[5, 9, 4, 1], [7, 3, 1, 0]], np.int32),
    "history_items": np.array([[0, 3, 4, 5], [0, 0, 0, 7]], np.int32),
    "history_tokens": np.ones((2, 4, 12), np.int32),
    "history_logs": np.zeros((2, 4), np.float32),
  }
  return jax.jit(model.predict_batch_with_aux), batch


def test_texts_are_titles_of_the_table_and_items_their_rows(
  matching, titles, search
):
  predict, batch = search
  tokens, aux = predict(matching.params, batch)
  assert tokens.shape[:2] == aux["items"].shape == (2, 6)
  decode = matching.run.tokenizer.decode
  known = matching.prepared.catalog.titles
  for row, numbers in zip(tokens, np.asarray(aux["items"]), strict=True):
    texts = [decode(one[one > 0]) for one in np.asarray(row)]
    assert texts == [known[number - 1] for number in numbers]
    assert len(set(texts)) == 6
  history = batch["history_items"]
  assert not np.isin(aux["items"][0], history[0]).any()
  assert not np.isin(aux["items"][1], history[1]).any()


def test_gin_chooses_the_decoder_in_one_line(tmp_path):
  gin_config.parse([_FILES[0]])
  assert gin_config.build(runner.TrainConfig).model.decoder is None
  gin_config.parse(_FILES, ["CatalogDecoder.num_beams = 25"])
  model = gin_config.build(runner.TrainConfig).model
  expected = catalog_decoder.CatalogDecoder(num_beams=25)
  assert model.decoder == expected
  assert item_titles.writes(model)
  # A folder's settings are data, and may say so as well.
  path = tmp_path / run_dir.CONFIG
  path.write_text(gin_config.config_text())
  opened = strict_gin.StrictGin.open(path).build(runner.TrainConfig)
  assert opened.model.decoder == expected


def test_a_catalogue_is_bound_where_a_decoder_wants_one(matching, titles):
  plain = matching.run.model
  assert item_titles.bound(plain, titles) is plain
  writing = plain.writing(titles)
  assert writing.decoder.catalog is titles
  assert plain.decoder is None
  other = dataclasses.replace(titles, most_tokens=9)
  assert item_titles.bound(writing, other) is writing


def test_a_decoder_without_a_catalogue_says_where_one_comes_from(matching):
  model = matching.run.model.writing(None)
  with pytest.raises(ValueError, match=r"no catalogue to write titles of"):
    model.predict_batch(
      matching.params, {"encoder_input_tokens": np.ones((1, 4), np.int32)}
    )


def test_titles_longer_than_answers_are_named(matching, titles):
  longest = max(
    matching.prepared.catalog.titles,
    key=lambda title: len(matching.run.tokenizer.encode(title)),
  )
  short = dataclasses.replace(titles, most_tokens=3)
  with pytest.raises(
    ValueError, match=r"longer than the 3.*TARGETS_LENGTH"
  ) as found:
    short(vocab_size=matching.run.model.vocab_size, eos_id=1)
  assert repr(longest) in str(found.value)


def test_a_folder_without_items_and_items_without_titles_are_refused(
  matching, titles, tmp_path
):
  gone = dataclasses.replace(titles, folder=tmp_path)
  with pytest.raises(FileNotFoundError, match=r"has no items\.parquet"):
    gone(vocab_size=999, eos_id=1)
  frame = {"item_id": ["a", "b"], "title": ["A chair", ""], "count": [0, 0]}
  item_table.save(tmp_path, pl.DataFrame(frame), histories={})
  with pytest.raises(ValueError, match="'' has a title without tokens"):
    gone(vocab_size=999, eos_id=1)


def test_a_catalogue_of_another_vocabulary_is_refused(matching, titles):
  model = matching.run.model
  with pytest.raises(ValueError, match="Titles of another vocabulary"):
    titles(vocab_size=50, eos_id=1)
  other = catalog_trie.CatalogTrie.build([[5, 1]], eos_id=1, vocab_size=50)
  with pytest.raises(ValueError, match="made for 50 tokens and the end token"):
    model.predict_items(
      matching.params,
      {"encoder_input_tokens": np.ones((1, 4), np.int32)},
      other,
    )
