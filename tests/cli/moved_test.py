"""Runs, instructions and data that have moved, through the command line."""

import json
import shutil

import polars as pl
import pytest
from command_line import call

from instructrec import checksums
from instructrec.training import run_record

pytestmark = pytest.mark.tf


def evaluated(model, output, *options):
  """Figures by method, and the notes of the report."""
  call(
    "evaluate",
    f"--model_dir={model}",
    "--task_type=sequential_p1_i0",
    "--num_requests=6",
    "--num_validation=0",
    "--num_histories=0",
    f"--output={output}",
    *options,
  )
  record = json.loads((output / "report.json").read_text())
  return record["results"][0]["methods"], record["warnings"]


def ranked(model, titles, *options):
  return call(
    "rank",
    f"--model_dir={model}",
    f"--history={titles[0]}",
    *(f"--candidate={title}" for title in titles[1:4]),
    *options,
  )


@pytest.fixture(scope="module")
def shop(work, tmp_path_factory):
  """A copy of all that a run needs, made where it can be moved.

  Records name the place where they were made, which is still there: they are
  put right, as if all of it had been made here.
  """
  folder = tmp_path_factory.mktemp("moved") / "shop"
  shutil.copytree(work, folder)
  for name in ("model/run.json", "instructions/manifest.json"):
    path = folder / name
    path.write_text(path.read_text().replace(str(work), str(folder)))
  checksums.write(folder / "instructions")
  sealed(folder / "model" / run_record.FILE)
  return folder


def sealed(path):
  """Puts a new hash of itself into a record that was changed."""
  record = json.loads(path.read_text())
  record["sha256"] = checksums.UNSEALED
  path.write_text(json.dumps(record, indent=2) + "\n")
  checksums.seal(path)


@pytest.fixture(scope="module")
def expected(shop, tmp_path_factory):
  """What comes of it where it was made."""
  output = tmp_path_factory.mktemp("expected")
  methods, warnings = evaluated(shop / "model", output)
  titles = pl.read_parquet(shop / "prepared/items.parquet")["title"]
  return methods, warnings, ranked(shop / "model", titles)


@pytest.fixture
def moved(shop, expected, tmp_path):
  """All of it elsewhere, and nothing where it was."""
  folder = tmp_path / "elsewhere"
  shop.rename(folder)
  yield folder
  folder.rename(shop)


def test_what_moves_together_goes_on(moved, expected, tmp_path):
  methods, warnings, lines = expected
  found = evaluated(moved / "model", tmp_path / "report")
  assert found == (methods, warnings)
  titles = pl.read_parquet(moved / "prepared/items.parquet")["title"]
  assert ranked(moved / "model", titles) == lines


def test_a_run_alone_takes_the_folders_that_it_is_told(
  moved, expected, tmp_path
):
  methods, warnings, lines = expected
  # Nothing lies beside another as it did.
  folders = [tmp_path / "far/instructions", tmp_path / "away/prepared"]
  for folder in folders:
    folder.parent.mkdir()
    (moved / folder.name).rename(folder)
  instructions, data = folders
  told = (f"--tfds_data_dir={instructions}", f"--data={data}")
  try:
    with pytest.raises(FileNotFoundError, match="--tfds_data_dir=FOLDER"):
      evaluated(moved / "model", tmp_path / "report")
    with pytest.raises(FileNotFoundError, match="--data=FOLDER"):
      evaluated(moved / "model", tmp_path / "report", told[0])
    found = evaluated(moved / "model", tmp_path / "report", *told)
    assert found == (methods, warnings)
    titles = pl.read_parquet(data / "items.parquet")["title"]
    assert ranked(moved / "model", titles, *told) == lines
  finally:
    for folder in folders:
      folder.rename(moved / folder.name)


def test_training_goes_on_with_instructions_elsewhere(moved, train_args):
  far = moved / "far"
  (moved / "instructions").rename(far)
  try:
    output = call(
      *train_args, f"--tfds_data_dir={far}", f"--model_dir={moved / 'model'}"
    )
    assert "goes on from checkpoint_6" in output
  finally:
    far.rename(moved / "instructions")


def test_other_instructions_are_refused(work, tmp_path):
  others = tmp_path / "instructions"
  shutil.copytree(work / "instructions", others)
  manifest = json.loads((others / "manifest.json").read_text())
  manifest["fingerprint"] = "sha256:0"
  (others / "manifest.json").write_text(json.dumps(manifest))
  checksums.write(others)
  with pytest.raises(ValueError, match=r"sha256:0, the run in .* was trained"):
    call("rank", f"--model_dir={work / 'model'}", f"--tfds_data_dir={others}")


@pytest.mark.parametrize("command", ["rank", "evaluate"])
def test_other_data_are_refused(work, prepared_dir, command):
  with pytest.raises(ValueError, match=r"holds the data .* expected"):
    call(command, f"--model_dir={work / 'model'}", f"--data={prepared_dir}")


def test_records_name_both_places(work):
  record = json.loads((work / "model" / run_record.FILE).read_text())
  manifest = json.loads((work / "instructions/manifest.json").read_text())
  assert record["tfds_data_dir"] == str(work / "instructions")
  assert record["tfds_data_dir_relative"] == "../instructions"
  assert record["instructions_fingerprint"] == manifest["fingerprint"]
  assert manifest["prepared_dir"] == str(work / "prepared")
  assert manifest["prepared_dir_relative"] == "../prepared"
