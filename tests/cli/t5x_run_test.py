"""`evaluate` and `rank` on a MODEL_DIR of T5X, and on gin files."""

import json
import pathlib

import pytest
from command_line import call

from instructrec.settings import evaluation, ranking
from instructrec.training import run_dir

pytestmark = pytest.mark.tf
RECORDED = pathlib.Path(__file__).parents[1] / "recorded_t5x_config.gin"
STEP = 6


def exported(source, output, step):
  call(
    "checkpoint",
    "export",
    f"--source={source}",
    f"--output={output}",
    "--format=t5x",
    f"--step={step}",
  )
  return output / f"checkpoint_{step}"


@pytest.fixture(scope="module")
def twin(work, tmp_path_factory):
  """The parameters of a run of ours as T5X would have left them.

  It says that it began with these as well.
  """
  folder = tmp_path_factory.mktemp("t5x")
  exported(work / "model", folder / "model", STEP)
  began = exported(work / "model", folder / "began", 3)
  text = RECORDED.read_text()
  assert "PATH = ()" in text
  (folder / "model" / "config.gin").write_text(
    text.replace("PATH = ()", f"PATH = '{began}'")
  )
  return folder / "model"


@pytest.fixture
def words(work):
  """What T5X was told of the data, at its start."""
  return (
    f"--tfds_data_dir={work / 'instructions'}",
    f"--vocabulary={work / 'model' / run_dir.VOCABULARY}",
  )


def figures(output, *options):
  call(
    "evaluate",
    "--task_type=sequential_p1_i0",
    "--num_requests=9",
    "--num_validation=0",
    "--num_histories=0",
    f"--output={output}",
    *options,
  )
  report = json.loads((output / "report.json").read_text())
  (found,) = report["results"]
  return found, report


def means(found, method):
  return {n: m["mean"] for n, m in found["methods"][method].items()}


@pytest.fixture(scope="module")
def own(work, tmp_path_factory):
  """Figures and report of the run of ours."""
  folder = tmp_path_factory.mktemp("own")
  return figures(folder / "report", f"--model_dir={work / 'model'}")


def test_it_has_the_figures_of_the_same_parameters_in_a_run_of_ours(
  work, own, twin, words, tmp_path
):
  (ours, own_report), model = own, "trained model"
  found, report = figures(tmp_path / "report", f"--model_dir={twin}", *words)
  assert means(found, model) == pytest.approx(means(ours, model))
  # What it began from itself, and not what our run did.
  began = means(found, "untrained model")
  assert began == pytest.approx(means(found, model))
  assert began != pytest.approx(means(ours, "untrained model"))
  path = twin.parent / "began" / "checkpoint_3"
  assert found["descriptions"]["untrained model"] == (
    f"the parameters that training began with: {path}"
  )
  # The report says whose figures they are, and by which settings.
  evaluated = report["protocol"]["parameters"]
  assert evaluated.startswith(f"{twin}/checkpoint_{STEP}")
  parameters = own_report["protocol"]["parameters"]
  where = f"{work / 'model'}/checkpoints/checkpoint_{STEP}"
  assert parameters.startswith(f"{where} (")
  assert report["config"] == (twin / "config.gin").read_text()
  (note,) = [w for w in report["warnings"] if w.startswith("Nothing says on")]
  assert str(work / "instructions") in note
  assert not [w for w in own_report["warnings"] if "Nothing says" in w]


def test_gin_files_and_a_checkpoint_have_them_too(own, twin, words, tmp_path):
  checkpoint = twin / f"checkpoint_{STEP}"
  network = (
    "--gin_file=gin/overrides/tiny.gin",
    "--gin.INPUTS_LENGTH=256",
    f"--checkpoint={checkpoint}",
    *words,
  )
  ours, _ = own
  found, report = figures(tmp_path / "report", *network)
  same = means(ours, "trained model")
  assert means(found, "trained model") == pytest.approx(same)
  # Nothing says what it was before: there is no such row.
  assert "untrained model" not in found["methods"]
  assert report["protocol"]["parameters"] == f"{checkpoint} (t5x), step {STEP}"
  assert "include 'gin/overrides/tiny.gin'" in report["config"]


def answer(*args):
  """What `rank` prints, without the line that names the checkpoint."""
  lines = call(*args).splitlines()
  return "\n".join(line for line in lines if not line.startswith("ranks by"))


def test_rank_ranks_alike(work, twin, words):
  said = "--wish=a puzzle", "--top=3"
  # Each says first which checkpoint it took, and why.
  ours = answer("rank", f"--model_dir={work / 'model'}", *said)
  assert "log-likelihood" in ours
  assert answer("rank", f"--model_dir={twin}", *words, *said) == ours
  files = (
    "--gin_file=gin/overrides/tiny.gin",
    f"--checkpoint={twin / f'checkpoint_{STEP}'}",
  )
  assert answer("rank", *files, *words, *said) == ours


def test_what_is_missing_is_said(work, twin, words):
  with pytest.raises(FileNotFoundError, match="pass --tfds_data_dir"):
    call("rank", f"--model_dir={twin}", words[1], "--wish=a puzzle")
  with pytest.raises(ValueError, match="is a bucket, expected a folder; pass"):
    call("rank", "--model_dir=gs://bucket/model", *words, "--wish=a puzzle")
  with pytest.raises(ValueError, match="has a copy of its vocabulary"):
    call("rank", f"--model_dir={work / 'model'}", words[1], "--wish=a puzzle")


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({}, "expected --model_dir or --gin_file"),
    (
      {"model_dir": pathlib.Path("m"), "gin_files": ("a.gin",)},
      "expected --model_dir or --gin_file",
    ),
    ({"gin_files": ("a.gin",)}, "pass its parameters as --checkpoint"),
    (
      {"model_dir": pathlib.Path("m"), "bindings": ("X=1",)},
      "--gin.X=1: the settings of a run are those of its folder",
    ),
  ],
)
def test_one_run_is_named(given, message):
  for settings in (ranking.RankingSettings, evaluation.EvaluationSettings):
    with pytest.raises(ValueError, match=message):
      settings(**given)


def test_a_checkpoint_alone_has_no_folder_for_its_report():
  with pytest.raises(ValueError, match=r"folder of the report with --output"):
    evaluation.EvaluationSettings(gin_files=("a.gin",), checkpoint="c")
