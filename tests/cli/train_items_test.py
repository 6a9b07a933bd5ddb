"""A run that reads items keeps what it needs of them in its own folder."""

import json
import shutil

import pytest
from command_line import result_of

from instructrec.retrieval import run_weights
from instructrec.training import item_table, run_dir

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def trained(work, train_args, tmp_path_factory):
  """Reads histories; its objective looks at no other item."""
  folder = tmp_path_factory.mktemp("items") / "model"
  result = result_of(
    *train_args,
    "--gin.TRAIN_STEPS=2",
    "--gin.WARMUP_STEPS=1",
    "--gin.PACK=False",
    "--gin.TITLE_MATCHING=True",
    "--gin.HISTORY_LENGTH=4",
    "--gin.TITLE_LENGTH=3",
    "--gin.NUM_DRAWN=5",
    "--gin.GROUP_BY_LENGTH=True",
    f"--tfds_data_dir={work / 'instructions'}",
    f"--model_dir={folder}",
  )
  assert result.exit_code == 0, result.output
  return folder, result.output


def test_the_run_keeps_the_item_table(work, trained):
  folder, output = trained
  assert "40 items are read title by title" in output
  assert "TITLE_LENGTH = 3 (given): holds" in output
  assert "alike in length share a batch" in output
  copy = (folder / item_table.FILE).read_bytes()
  assert copy == (work / "instructions" / item_table.FILE).read_bytes()
  run = run_dir.load(folder)
  items = run.item_arrays()
  assert items.title_tokens.shape == (41, 3)
  assert (items.history_length, items.num_drawn) == (4, 5)
  assert run.params()[1].step == 2
  assert run_dir.load(work / "model").item_arrays() is None
  assert not (work / "model" / item_table.FILE).exists()


def test_it_is_evaluated_on_prompts_and_histories(work, trained, tmp_path):
  """And, as its objective trains likelihoods, by these and their priors."""
  folder, _ = trained
  result = result_of(
    "evaluate",
    f"--model_dir={folder}",
    "--task_type=sequential_p1_i0",
    "--num_requests=3",
    "--num_validation=9",
    f"--output={tmp_path / 'report'}",
  )
  assert result.exit_code == 0, result.output
  record = json.loads((folder / run_weights.FILE).read_text())
  assert list(record["weights"]) == [run_weights.WITHOUT_WISH]
  found = record["weights"][run_weights.WITHOUT_WISH]
  assert found["fit"]["num_requests"] == 9
  assert set(found["weights"]) == {"likelihood", "prior", "popularity"}
  text = (tmp_path / "report" / "report.md").read_text()
  assert "fitted on 9 validation requests" in text
  assert "prior alone" in text
  assert "following.svg" not in text


def test_a_damaged_table_is_copied_anew_and_another_one_refused(
  trained, work, tmp_path, caplog
):
  folder, source = tmp_path / "model", work / "instructions" / item_table.FILE
  shutil.copytree(trained[0], folder)

  def save(items):
    run_dir.save(
      folder,
      vocabulary=folder / run_dir.VOCABULARY,
      record={"tfds_data_dir": "data"},
      items=items,
    )

  copy = folder / item_table.FILE
  copy.write_bytes(copy.read_bytes()[:-1] + b"0")
  save(source)
  assert copy.read_bytes() == source.read_bytes()
  assert f"{copy} is damaged, and copied anew from {source}" in caplog.text
  other = tmp_path / "other"
  other.write_bytes(source.read_bytes() + b"0")
  with pytest.raises(ValueError, match="a run with other items"):
    save(other)


def test_a_folder_without_items_says_what_to_do(work, train_args, tmp_path):
  bare = tmp_path / "bare"
  bare.mkdir()
  for path in (work / "instructions").iterdir():
    if path.name != item_table.FILE:
      (bare / path.name).symlink_to(path)
  with pytest.raises(
    ValueError, match=r"items\.parquet is missing, expec.*gene"
  ):
    result_of(
      *train_args,
      "--gin.PACK=False",
      "--gin.NUM_DRAWN=5",
      f"--tfds_data_dir={bare}",
      f"--model_dir={tmp_path / 'model'}",
    )
