"""Lengths are those of the data, and what does not fit is said at once."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from instructrec.training import data_config, lengths, ragged, token_dataset

CONFIG = data_config.DataConfig(mixture="m", batch_size=2)
TITLES = np.array([3, 20])


def rows(*sizes):
  return ragged.Ragged.of([[7] * size for size in sizes])


def dataset(inputs, targets):
  return token_dataset.TokenDataset(
    "d",
    rows(*inputs),
    rows(*targets),
    None,
    pl.DataFrame(),
    {},
    prompts=rows(*(size // 2 for size in inputs)),
    history=rows(*(1 for _ in inputs)),
    target_items=np.ones(len(inputs), np.int32),
  )


SPLITS = {
  "train": {"a": dataset([30, 50], [4, 6]), "b": dataset([70], [9])},
  "validation": {"a": dataset([40], [25])},
}


def chosen(config=CONFIG, **options):
  found = lengths.features(config, SPLITS, TITLES, **options)
  return lengths.choose(config, found), found


def test_the_longest_of_all_splits_and_titles_fits():
  config, found = chosen()
  assert (config.inputs_length, config.targets_length) == (72, 32)
  assert config.unknown == ()
  assert str(found[0]) == (
    "INPUTS_LENGTH = 72 (chosen): holds 100.0% of 4 instructions, the longest "
    "has 70"
  )
  # Lists to rank hold titles that no response had: 20 tokens and EOS.
  short = {"train": {"a": dataset([30], [4])}}
  found = lengths.features(CONFIG, short, TITLES)
  assert lengths.choose(CONFIG, found).targets_length == 24


def test_what_gin_gave_stays():
  config = dataclasses.replace(CONFIG, inputs_length=33, targets_length=40)
  assert chosen(config)[0] == config
  _, (inputs, _) = chosen(config)
  assert "INPUTS_LENGTH = 33 (given): holds 25.0% of 4" in str(inputs)


def test_everything_that_is_too_short_is_one_message():
  config = dataclasses.replace(CONFIG, inputs_length=80, targets_length=5)
  with pytest.raises(ValueError, match="learnt as such") as caught:
    chosen(config)
  text = str(caught.value)
  for place, share in (
    ("a (train)", "50.00%"),
    ("b (train)", "100.00%"),
    ("a (validation)", "100.00%"),
    ("the catalogue", "50.00%"),
  ):
    assert place in text, place
    assert share in text, share
  assert "--gin.TARGETS_LENGTH=32" in text
  # Where responses are not learnt, nothing wrong is.
  assert chosen(config, learns_targets=False)[0] == config


def test_titles_that_are_read_one_by_one_have_a_width():
  config = dataclasses.replace(CONFIG, history_length=4)
  found, features = chosen(config)
  # Prompts without their histories, half as long; 20 tokens without EOS.
  assert (found.inputs_length, found.title_length) == (40, 24)
  assert found.history_length == 4
  assert [f.option for f in features][2:] == ["TITLE_LENGTH", "HISTORY_LENGTH"]
  # One of two hundred titles is long: it is cut, and costs the others nothing.
  many = np.r_[np.full(199, 6), 50]
  features = lengths.features(config, SPLITS, many)
  assert lengths.choose(config, features).title_length == 8


def test_a_long_text_is_cut_and_a_packed_row_holds_four():
  long = {"train": {"a": dataset([600, 3000], [4, 4])}}
  found = lengths.features(CONFIG, long, TITLES)
  assert lengths.choose(CONFIG, found).inputs_length == 512
  packed = dataclasses.replace(CONFIG, pack=True)
  # Four times the mean of 30, 50, 70 and 40.
  assert chosen(packed)[0].inputs_length == 192
