"""What a run's folder gives to those who evaluate and rank."""

import json
import types

import numpy as np
import polars as pl
import pytest

from instructrec import checksums
from instructrec.models import tokenizer
from instructrec.settings import run as run_settings
from instructrec.training import (
  data_config,
  item_table,
  own_checkpoints,
  run_dir,
  run_opening,
  run_record,
  trained_run,
)

TITLES = ["red boat", "blue boat", "red train", "old map"]
OTHERS = ["blue map", "red boat"]


def save_items(folder, titles):
  frame = pl.DataFrame(
    {
      "item_id": [f"i{n}" for n in range(len(titles))],
      "title": titles,
      "count": [1] * len(titles),
    }
  )
  item_table.save(folder, frame, histories={1: 1})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """A run's folder, and instructions of other items."""
  run = tmp_path_factory.mktemp("run")
  other = tmp_path_factory.mktemp("instructions")
  (run / run_dir.VOCABULARY.parent).mkdir()
  tokenizer.train(
    [*TITLES, *OTHERS] * 9, run / run_dir.VOCABULARY, vocab_size=300
  )
  save_items(run, TITLES)
  save_items(other, OTHERS)
  return run, other


def run_of(folder, num_items):
  data = data_config.DataConfig(
    mixture="none",
    inputs_length=8,
    targets_length=8,
    batch_size=1,
    history_length=2,
    title_length=9,
  )
  return trained_run.Run(
    folder,
    types.SimpleNamespace(num_items=num_items),
    data,
    vocabulary=folder / run_dir.VOCABULARY,
    items=folder,
    parameters=own_checkpoints.OwnCheckpoints(folder),
  )


def titles_of(run, arrays):
  return [run.tokenizer.decode(row) for row in arrays.title_tokens[1:]]


def test_items_are_those_of_the_instructions_that_are_ranked(folders):
  """Not the run's, whose numbers stand for other titles."""
  directory, other = folders
  run = run_of(directory, 0)
  assert titles_of(run, run.item_arrays()) == TITLES
  assert titles_of(run, run.item_arrays(other)) == OTHERS


def test_vectors_of_items_are_of_no_others(folders):
  directory, other = folders
  run = run_of(directory, len(TITLES))
  same = run.item_arrays(directory)
  np.testing.assert_array_equal(
    same.title_tokens, run.item_arrays().title_tokens
  )
  with pytest.raises(ValueError, match=r"vectors of the 4 items .* has others"):
    run.item_arrays(other)


def test_a_record_that_does_not_say_where_its_data_are_is_refused(tmp_path):
  (tmp_path / run_dir.CONFIG).write_text("")
  checksums.write(tmp_path, [run_dir.CONFIG])
  record = {"tfds_data_dir": "/data", "sha256": checksums.UNSEALED}
  (tmp_path / run_record.FILE).write_text(json.dumps(record))
  checksums.seal(tmp_path / run_record.FILE)
  with pytest.raises(
    ValueError, match="lacks tfds_data_dir_relative, instructions_fingerprint"
  ):
    run_dir.load(tmp_path)


def test_a_model_folder_that_orbax_takes_for_a_pattern_is_refused(tmp_path):
  """Before anything is compiled: its checkpoints could not be read again."""
  with (
    pytest.raises(ValueError, match=r"has \[ in its name, which Orbax takes"),
    run_dir.locked(tmp_path / "[2023]", print),
  ):
    raise AssertionError("the folder is not to be entered")


@pytest.mark.parametrize("promoted", [True, False])
def test_whoever_opens_a_run_that_was_refused_is_told(
  tmp_path, monkeypatch, caplog, promoted
):
  """The decision stays until the run is trained further."""
  run_record.write(tmp_path, {"seed": 1})
  reasons = ["CPA 0.400 -> 0.300"]
  run_dir.judge(
    tmp_path,
    {"promoted": promoted, "reasons": reasons, "model_dir": "/shop/taught"},
  )
  record = run_record.read(tmp_path)
  assert record["seed"] == 1
  run = types.SimpleNamespace(directory=tmp_path, record=record)
  monkeypatch.setattr(run_dir, "load", lambda folder, modules: run)
  opened = run_opening.open_run(run_settings.RunSettings(model_dir=tmp_path))
  assert opened is run
  told = [line.getMessage() for line in caplog.records]
  assert len(told) == (0 if promoted else 1)
  if not promoted:
    assert "not promoted (CPA 0.400 -> 0.300); use" in told[0]
    assert told[0].endswith("/shop/taught")
