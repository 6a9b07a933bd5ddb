"""`python -m instructrec.t5x`: what it refuses, and what it hands over to."""

import json
import sys

import pytest

from instructrec import t5x
from instructrec.preflight import t5x_check, t5x_record

pytestmark = pytest.mark.tf

SCRIPT = """
import json, pathlib, sys
import __main__ as train_script

def train():
  pass

facts = {
  "main": __name__ == "__main__" and train_script.train is train,
  "argv": sys.argv,
  "path": sys.path,
}
pathlib.Path(__file__).with_name("facts.json").write_text(json.dumps(facts))
sys.exit(7)
"""
XL = ("--gin_file=gin/instructrec_xl.gin", "--gin.MODEL_DIR='/model'")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
  """A T5X whose train.py writes down how it was started."""
  root = tmp_path / "somewhere" / "t5x"
  root.mkdir(parents=True)
  (root / "train.py").write_text(SCRIPT)
  (root / "tasks.py").write_text("raise AssertionError")
  monkeypatch.setattr(t5x_record, "root", lambda: root)
  monkeypatch.setattr(
    t5x_record, "at_hand", lambda folder: t5x_record.recorded()
  )
  return root


def started(root, monkeypatch, *arguments):
  """Facts of a start, and its exit status."""
  monkeypatch.setattr(sys, "argv", ["instructrec.t5x", *arguments])
  before = sys.modules["__main__"]
  with pytest.raises(SystemExit) as ended:
    t5x.main()
  assert sys.modules["__main__"] is before
  facts = root / "facts.json"
  found = json.loads(facts.read_text()) if facts.exists() else None
  return found, ended.value.code


def test_the_script_is_run_as_if_it_had_been_started(
  stand_in, monkeypatch, tmp_path
):
  mine = tmp_path / "mine"
  mine.mkdir()
  (mine / "mine.gin").write_text("include 'gin/instructrec_xl.gin'\n")
  monkeypatch.chdir(tmp_path)
  facts, code = started(
    stand_in,
    monkeypatch,
    "train",
    "--gin_file",
    "mine.gin",
    "--gin_search_paths=mine",
    "--gin.MODEL_DIR='a=b'",
    "--gin_bindings=BATCH_SIZE = 8",
    "--tfds_data_dir",
    "data",
    "--multiprocess_gpu",
  )
  # Its exit status is ours.
  assert code == 7
  assert facts["main"]
  script, *options = facts["argv"]
  assert script == str(stand_in / "train.py")
  (folders,) = [o for o in options if o.startswith("--gin_search_paths=")]
  options.remove(folders)
  assert options == [
    "--gin_file=mine.gin",
    "--gin_bindings=MODEL_DIR='a=b'",
    "--gin_bindings=BATCH_SIZE = 8",
    "--tfds_data_dir",
    "data",
    "--multiprocess_gpu",
  ]
  # The user's own come first; ours are found from anywhere.
  paths = folders.partition("=")[2].split(",")
  assert paths[0] == str(mine)
  assert paths[-1] == str(stand_in.parent)
  # A package `tasks` of one's own is not hidden by T5X's module.
  assert str(stand_in) not in facts["path"]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((*XL, "--gin.MIXTUR_OR_TASK_NAME='a'"), "did you mean MIXTURE_OR_TASK_NA"),
    ((*XL, "--gin.trian/utils.DatasetConfig.seed=3"), "did you mean train?"),
    (XL[:1], "MODEL_DIR has no value; set --gin.MODEL_DIR=..."),
    (XL[1:], "no --gin_file is given"),
    (("--gin_file=gin/instructrec_x.gin",), "no gin file 'gin/instructrec_x"),
    (
      ("--gin_file=gin/quickstart.gin",),
      "for `instructrec train`, not for T5X",
    ),
  ],
)
def test_what_is_not_sound_starts_nothing(
  stand_in, monkeypatch, arguments, message
):
  facts, error = started(stand_in, monkeypatch, "train", *arguments)
  assert facts is None
  assert message in error


@pytest.mark.parametrize("arguments", [(), ("trian",), ("--help",)])
def test_without_a_script_it_says_how_it_is_used(
  stand_in, monkeypatch, arguments
):
  facts, error = started(stand_in, monkeypatch, *arguments)
  assert facts is None
  assert error.startswith("usage: python -m instructrec.t5x train|eval|infer")


def test_without_t5x_it_says_how_to_get_it(monkeypatch):
  monkeypatch.setattr(t5x_record, "root", lambda: None)
  with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps -r"):
    t5x.checked("train", XL)


def test_a_clone_in_the_current_folder_is_no_t5x(tmp_path, monkeypatch):
  if t5x_record.root() is not None:
    pytest.skip("T5X itself is there")
  (tmp_path / "t5x" / "t5x").mkdir(parents=True)
  monkeypatch.syspath_prepend(tmp_path)
  assert t5x_record.root() is None


def test_notes_of_what_was_not_checked_are_shown(stand_in, monkeypatch, capsys):
  monkeypatch.setattr(t5x_check, "check", lambda *_, **__: ["mine is missing"])
  t5x.checked("train", XL)
  assert "note: mine is missing" in capsys.readouterr().err
