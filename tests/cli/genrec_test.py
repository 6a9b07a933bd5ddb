"""GenRec from instructions to a report, by the command line."""

import json

import jax
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from instructrec.cli import main
from instructrec.training import item_table, run_dir

pytestmark = [pytest.mark.tf, pytest.mark.slow]


def call(*args):
  return CliRunner().invoke(main.app, [str(a) for a in args])


@pytest.fixture(scope="module", name="genrec")
def genrec_fixture(instructed, tmp_path_factory):
  """A network that learnt for four steps to write what comes next."""
  folder = tmp_path_factory.mktemp("genrec")
  result = call(
    "generate",
    f"--data={instructed / 'prepared'}",
    f"--output={folder / 'instructions'}",
    "--kind=genrec",
    "--vocab_size=500",
    "--num_workers=1",
  )
  assert result.exit_code == 0, result.output
  result = call(
    "train",
    "--gin_file=gin/genrec_tiny.gin",
    "--gin_file=gin/overrides/catalog.gin",
    *(f"--gin.{name}={value}" for name, value in _SHORT.items()),
    f"--tfds_data_dir={folder / 'instructions'}",
    f"--model_dir={folder / 'model'}",
  )
  assert result.exit_code == 0, result.output
  return folder


_SHORT = {
  "TRAIN_STEPS": 4,
  "WARMUP_STEPS": 1,
  "BATCH_SIZE": 8,
  "EVAL_PERIOD": 4,
  "EVAL_STEPS": 1,
  "EVAL_LISTS": 4,
  "CHECKPOINT_PERIOD": 4,
  # Forty items are too few to begin with what occurs with what.
  "INITIAL_EMBEDDINGS": "'random'",
}


def test_the_run_generates_titles_of_its_items(genrec):
  """By the decoder of its gin file, from its own folder alone."""
  run = run_dir.load(genrec / "model")
  params, _ = run.params()
  words, table = run.tokenizer, item_table.ItemTable.load(run.directory)
  prompt = words.encode("What would they like next?")
  tokens, aux = jax.jit(run.model.predict_batch_with_aux)(
    params, {"encoder_input_tokens": np.array([prompt], np.int32)}
  )
  texts = [words.decode(row[row > 0]) for row in np.asarray(tokens[0])]
  assert len(set(texts)) == 10
  assert texts == [table.titles[item - 1] for item in aux["items"][0]]


def test_a_report_has_lists_and_written_titles(genrec):
  result = call(
    "evaluate",
    f"--model_dir={genrec / 'model'}",
    "--num_requests=20",
    "--num_validation=40",
    "--num_beams=10",
    "--num_exact=2",
  )
  assert result.exit_code == 0, result.output
  report = genrec / "model" / "report"
  found = json.loads((report / "report.json").read_text())
  groups = {one["group"] for one in found["results"]}
  assert groups == {
    "sequential_next_title",
    "sequential_next_title, whole catalogue",
  }
  page = (report / "report.md").read_text()
  assert "## Written lists: sequential_next_title, whole catalogue" in page
  lines = [line for line in page.splitlines() if "10 beams |" in line]
  wrong = [line.split(" | ") for line in lines if ", 2 requests" in line]
  assert wrong
  for cells in wrong:
    # No text that is no title, none twice, none of the history.
    assert cells[1:4] == ["0.0000 [0.0000, 0.0000]"] * 3


def test_rank_asks_as_it_was_trained_and_knows_no_wish(genrec, instructed):
  items = pl.read_parquet(instructed / "prepared" / "items.parquet")
  history = f"--history={items['title'][0]}"
  result = call("rank", f"--model_dir={genrec / 'model'}", history, "--top=3")
  assert result.exit_code == 0, result.output
  result = call(
    "rank", f"--model_dir={genrec / 'model'}", history, "--wish=a kite"
  )
  assert result.exit_code
  assert "--kind=instructrec" in result.output + str(result.exception)
