"""Items by number: titles in tokens, popularity, sampling rates."""

import json

import numpy as np
import polars as pl
import pytest

from instructrec import checksums
from instructrec.models import tokenizer
from instructrec.training import item_table

TITLES = ["Red Mug", "Blue Mug", "A Very Long Red Title Of A Mug", "Tea"]


@pytest.fixture
def folder(tmp_path):
  items = pl.DataFrame(
    {
      "item_id": ["a", "b", "c", "d"],
      "title": TITLES,
      "count": [6, 3, 0, 1],
    }
  )
  found = item_table.save(tmp_path, items, histories={0: 5, 2: 3, 9: 2})
  (tmp_path / "manifest.json").write_text(
    json.dumps({"items": {"fingerprint": found}})
  )
  return tmp_path


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
  path = tmp_path_factory.mktemp("vocabulary") / "sentencepiece.model"
  tokenizer.train(TITLES * 5, path, vocab_size=300)
  return tokenizer.Tokenizer(path)


def test_numbers_count_from_one_in_the_order_of_the_file(folder):
  table = item_table.ItemTable.load(folder)
  assert len(table) == 4
  found = table.numbers(["c", "", "a", "d"])
  assert found.dtype == np.int32
  assert found.tolist() == [3, 0, 1, 4]
  assert table.numbers([]).shape == (0,)
  with pytest.raises(KeyError, match=r"no item with the id .bb."):
    table.numbers(["a", "bb"])


def test_titles_are_cut_and_end_without_eos(folder, vocabulary):
  table = item_table.ItemTable.load(folder)
  tokens, _ = table.title_tokens(vocabulary, 8)
  assert (tokens.shape, tokens.dtype) == ((5, 8), np.int32)
  assert not tokens[0].any()
  lengths = []
  for row, title in zip(tokens[1:], TITLES, strict=True):
    whole = vocabulary.encode(title)[:-1]
    assert row[row > 0].tolist() == whole[:8]
    lengths.append(len(whole))
  for length in (1, 8, max(lengths)):
    cut = sum(found > length for found in lengths)
    assert table.title_tokens(vocabulary, length)[1] == cut
  assert table.title_tokens(vocabulary, 1)[1] > 0


def test_targets_a_row_count_the_history_and_the_target(folder):
  table = item_table.ItemTable.load(folder)
  assert table.targets_per_row(0) == 1
  assert table.targets_per_row(1) == 1.5
  assert table.targets_per_row(4) == 1 + (3 * 2 + 2 * 4) / 10
  assert table.targets_per_row(20) == 1 + (3 * 2 + 2 * 9) / 10


@pytest.mark.parametrize("drawn", [0, 4])
def test_logs_are_of_popularity_and_of_the_sampling_rate(folder, drawn):
  logs = item_table.ItemTable.load(folder).logs(2.5, drawn)
  assert (logs.shape, logs.dtype) == ((5, 3), np.float32)
  assert not logs[0].any()
  counts = np.array([6, 3, 0, 1])
  np.testing.assert_allclose(logs[1:, 0], np.log((counts + 1) / 14), rtol=1e-6)
  shares = counts / 10
  rates = 2.5 * shares + drawn * (0.5 / 4 + 0.5 * shares)
  seen = rates > 0
  np.testing.assert_allclose(logs[1:, 1][seen], np.log(rates[seen]), rtol=1e-5)
  draws = 0.5 / 4 + 0.5 * shares
  np.testing.assert_allclose(logs[1:, 2], np.log(draws), rtol=1e-6)
  assert np.isfinite(logs).all()


def test_what_is_no_table_is_named(folder, tmp_path_factory):
  empty = tmp_path_factory.mktemp("empty")
  with pytest.raises(FileNotFoundError, match=r"no items\.parquet"):
    item_table.ItemTable.load(empty)
  pl.DataFrame({"item_id": ["a"]}).write_parquet(empty / item_table.FILE)
  checksums.write(empty)
  with pytest.raises(ValueError, match=r"lacks the columns \['title'"):
    item_table.ItemTable.load(empty)
  (folder / item_table.FILE).write_bytes(b"PAR1")
  with pytest.raises(
    checksums.DamagedError, match=r"items\.parquet is damaged"
  ):
    item_table.ItemTable.load(folder)
  checksums.write(folder)
  with pytest.raises(checksums.DamagedError, match=r"items\.parquet cannot be"):
    item_table.ItemTable.load(folder)
