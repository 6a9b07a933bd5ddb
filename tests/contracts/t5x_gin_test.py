"""Every gin file for T5X fits T5X, checked without T5X.

What T5X offers stands in `t5x_record.json` (see `record_t5x.py`); our own
modules and SeqIO are looked at directly.
"""

import dataclasses
import importlib.util
import inspect
import json
import pathlib
import re

import pytest

from instructrec.preflight import t5x_check, t5x_record
from instructrec.training import gin_config

pytestmark = pytest.mark.tf


def _load_recorder():
  path = pathlib.Path(__file__).with_name("record_t5x.py")
  spec = importlib.util.spec_from_file_location("record_t5x", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


record_t5x = _load_recorder()
RECORD = t5x_record.recorded()
_ROOT = next(
  path
  for path in map(pathlib.Path, gin_config.search_paths()[1:])
  if (path / "gin").is_dir()
)
SIZES = ("small", "base", "large", "xl", "xxl")
FINETUNE = (
  *(f"gin/instructrec_{size}.gin" for size in SIZES),
  "gin/genrec_xl.gin",
  "gin/control_xl.gin",
  "gin/genrec_llama_7b.gin",
)
_MODEL = ("gin/models/xl.gin",)
_TINY = ("gin/overrides/tiny.gin",)
_LORA = ("gin/runs/t5x_lora.gin",)
_GENERATE = ("gin/overrides/generate.gin",)
_CATALOG = (*_GENERATE, "gin/runs/t5x_catalog.gin")
OBJECTIVES = sorted(
  f"gin/objectives/{path.name}"
  for path in (_ROOT / "gin" / "objectives").glob("*.gin")
)
# What follows a launch, for an objective that reads items.
ITEMS = {
  "train": ("gin/runs/t5x_items.gin",),
  "eval": ("gin/runs/t5x_items_eval.gin",),
}
# What is given to T5X together.
RUNS = {
  **{f"{name}": (name,) for name in FINETUNE},
  **{f"{name} tiny": (name, *_TINY) for name in FINETUNE},
  "gin/align_xl.gin": ("gin/align_xl.gin",),
  "gin/control_xl.gin align tiny": (
    "gin/control_xl.gin",
    *_TINY,
    "gin/runs/t5x_align.gin",
  ),
  "gin/instructrec_xl.gin lora": ("gin/instructrec_xl.gin", *_LORA),
  "gin/instructrec_xl.gin lora tiny": (
    "gin/instructrec_xl.gin",
    *_TINY,
    *_LORA,
  ),
  "gin/instructrec_eval.gin lora": (
    "gin/instructrec_eval.gin",
    *_MODEL,
    "gin/overrides/lora.gin",
  ),
  **{
    f"{name}{' generate' * bool(generate)}{' tiny' * bool(tiny)}": (
      name,
      *_MODEL,
      *generate,
      *tiny,
    )
    for name in ("gin/instructrec_eval.gin", "gin/instructrec_infer.gin")
    for generate in ((), _GENERATE)
    for tiny in ((), _TINY)
  },
  **{
    f"{name} llama": (
      name,
      "gin/models/llama_7b.gin",
      "gin/runs/t5x_rows.gin",
      "gin/overrides/lora.gin",
      *_CATALOG,
    )
    for name in ("gin/instructrec_eval.gin", "gin/instructrec_infer.gin")
  },
  **{
    f"{name} lists": (name, *_MODEL, *_GENERATE, "gin/runs/t5x_lists.gin")
    for name in ("gin/instructrec_eval.gin", "gin/instructrec_infer.gin")
  },
  **{
    f"{name} catalog": (name, *_MODEL, *_CATALOG)
    for name in ("gin/instructrec_eval.gin", "gin/instructrec_infer.gin")
  },
  **{
    f"gin/instructrec_xl.gin {objective}{' tiny' * bool(tiny)}": (
      "gin/instructrec_xl.gin",
      *tiny,
      *ITEMS["train"],
      objective,
    )
    for objective in OBJECTIVES
    for tiny in ((), _TINY)
  },
  **{
    f"{name} {objective}": (name, *_MODEL, *ITEMS["eval"], objective)
    for name in ("gin/instructrec_eval.gin", "gin/instructrec_infer.gin")
    for objective in OBJECTIVES
  },
}


def problems(files, roots=(), **settings):
  """What the check says of files, held against the record."""
  folders = [*map(str, roots), str(_ROOT)]
  found, notes = t5x_check.problems(
    files, record=RECORD, folders=folders, **settings
  )
  assert not notes
  return found


def macros_read(name):
  """Macros that a file and what it includes read."""
  if name.startswith("t5x/"):
    found = RECORD.gin[name]
  else:
    found = t5x_record.GinFile.of((_ROOT / name).read_text())
  return set(found.read).union(*map(macros_read, found.includes))


def _header(name):
  lines = (_ROOT / name).read_text().splitlines()
  end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
  return "\n".join(line.removeprefix("#").strip() for line in lines[:end])


def required(name):
  """Macros that a file's header wants to be set."""
  found = re.search(
    r"^Required: (.*?)^\w[\w ]*:", _header(name), re.MULTILINE | re.DOTALL
  )
  return set(re.findall(r"\b[A-Z][A-Z_]+\b", found.group(1)))


@pytest.mark.parametrize("run", RUNS)
def test_the_run_fits_t5x(run):
  assert not problems(RUNS[run], unset=required(RUNS[run][0]))


@pytest.mark.parametrize(
  "name",
  [*FINETUNE, "gin/instructrec_eval.gin", "gin/instructrec_infer.gin"],
)
def test_the_header_says_what_a_user_needs(name):
  header = _header(name)
  for part in ("Command:", "Required:", "Commonly overridden:", "Fits on:"):
    assert f"\n{part}" in header
  assert "python -m instructrec.t5x " in header
  files = (name,) if name in FINETUNE else (name, *_MODEL, *_GENERATE)
  read = set().union(*map(macros_read, files))
  # The macros that the header names exist.
  for macro in re.findall(r"\b[A-Z]+_[A-Z_]+\b", header.split("Required:")[1]):
    assert macro in read | {"INFER_MODE"}, macro


@pytest.mark.parametrize("size", SIZES)
def test_training_goes_on_from_the_pretraining_step(size):
  text = (_ROOT / f"gin/instructrec_{size}.gin").read_text()
  start = int(re.search(r"/flan_t5_(\w+)/checkpoint_(\d+)'", text).group(2))
  assert f"flan_t5_{size}/" in text
  total = int(re.search(r"^TRAIN_STEPS = ([\d_]+)", text, re.M).group(1))
  assert total == start + 10_000


PLANTED = {
  "train_script.train.evaluate_period = 5": (
    "train has no parameter 'evaluate_period'; did you mean eval_period?"
  ),
  "utils.SaveCheckpointConfig.perod = 5": (
    "SaveCheckpointConfig has no parameter 'perod'; did you mean period?"
  ),
  "ranking_model.NetworkRankingModel.zloss = 0.0": (
    "NetworkRankingModel has no parameter 'zloss'; did you mean z_loss?"
  ),
  "utils.SaveCheckpointConfigs.period = 5": (
    "t5x.utils has no 'SaveCheckpointConfigs'; "
    "did you mean SaveCheckpointConfig?"
  ),
  "training.Trainer.num_microbatches = 2": (
    "training.Trainer: the file imports no 'training'"
  ),
  "trainer.Trainer.learning_rate_fn = @utils.create_schedule()": (
    "t5x.utils has no 'create_schedule'"
  ),
  "EVALUATOR_NUM_EXAMPLE = 3": (
    "nothing reads the macro EVALUATOR_NUM_EXAMPLE; "
    "did you mean EVALUATOR_NUM_EXAMPLES?"
  ),
  "trian/utils.DatasetConfig.batch_size = 8": (
    "nothing enters the scope trian; did you mean train?"
  ),
  "include 't5x/configs/runs/tune.gin'": (
    "has no t5x/configs/runs/tune.gin; did you mean t5x/configs/runs/"
  ),
  "BATCH_SIZE = work": "Failed to parse token 'work'",
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake, tmp_path):
  (tmp_path / "planted.gin").write_text(
    "from __gin__ import dynamic_registration\n"
    "import __main__ as train_script\n"
    "from instructrec.models import ranking_model\n"
    "from t5x import trainer\n"
    "from t5x import utils\n"
    f"include 'gin/instructrec_xl.gin'\n{mistake}\n"
  )
  (found,) = problems(("planted.gin",), [tmp_path])
  if "include" not in mistake:
    assert found.startswith("planted.gin, line 7: ")
  assert PLANTED[mistake] in found


TYPED = {
  "MIXTUR_OR_TASK_NAME='a'": (
    "nothing reads the macro MIXTUR_OR_TASK_NAME; "
    "did you mean MIXTURE_OR_TASK_NAME?"
  ),
  # Read by other launches, but whoever types it means this one.
  "CHECKPOINT_PATH='a'": "nothing reads the macro CHECKPOINT_PATH",
  "trian/utils.DatasetConfig.batch_size=8": (
    "nothing enters the scope trian; did you mean train?"
  ),
  "utils.SaveCheckpointConfig.perod=3": (
    "SaveCheckpointConfig has no parameter 'perod'; did you mean period?"
  ),
  "CheckpointConfig.sav=None": (
    "CheckpointConfig has no parameter 'sav'; did you mean save?"
  ),
  "NetworkRankingModel.zloss=0.0": (
    "NetworkRankingModel has no parameter 'zloss'; did you mean z_loss?"
  ),
  "DatasetConfi.pack=False": (
    "the gin files name no DatasetConfi; did you mean DatasetConfig?"
  ),
  "MODEL_DIR=work/model": (
    "strings stand in quotes that the shell leaves, as --gin.MODEL_DIR="
    '\\"work/model\\"'
  ),
}


@pytest.mark.parametrize("binding", TYPED)
def test_a_mistake_on_the_command_line_is_caught(binding):
  files = ("gin/instructrec_xl.gin", *_TINY)
  (found,) = problems(files, bindings=[binding])
  assert found.startswith(f"--gin.{binding.partition('=')[0]}")
  assert TYPED[binding] in found


def test_what_is_right_on_the_command_line_passes():
  files = ("gin/instructrec_xl.gin", *_TINY)
  bindings = [
    "MODEL_DIR='gs://bucket/model'",
    "MODEL_PARALLEL_SUBMESH = (1, 2, 1, 1)",
    "train/utils.DatasetConfig.batch_size=%EVAL_BATCH_SIZE",
    "infer_eval/DatasetConfig.seed=3",
    "Trainer.num_microbatches=2",
    "T5Config.emb_dim=32",
    # Decorated by T5X, and so known without an import.
    "get_gin_config_str.show_provenance=True",
    "SaveBestCheckpointer.metric_mode='max'",
  ]
  assert not problems(files, bindings=bindings, unset=())


def test_a_macro_that_is_typed_may_be_new_where_something_reads_it():
  found = problems(
    ("gin/instructrec_xl.gin",),
    bindings=["MINE=3", "Trainer.num_microbatches=%MINE"],
  )
  assert not found
  (found,) = problems(
    ("gin/instructrec_xl.gin",), bindings=["Trainer.num_microbatches=%MINE"]
  )
  assert found.startswith("MINE has no value; set --gin.MINE=...")


def test_a_macro_without_value_is_missed(tmp_path):
  (tmp_path / "planted.gin").write_text(
    "include 'gin/runs/t5x_finetune.gin'\n"
    "include 'gin/mixtures/instructrec.gin'\n"
  )
  found = problems(("planted.gin",), [tmp_path])
  assert [problem.split()[0] for problem in found] == [
    "INITIAL_CHECKPOINT_PATH",
    "MODEL",
    "TRAIN_STEPS",
  ]
  assert "MODEL_DIR" in str(problems(("planted.gin",), [tmp_path], unset=()))


def test_any_gin_file_of_the_t5x_at_hand_may_be_included(tmp_path):
  """The record has those that are included most."""
  root = tmp_path / "t5x"
  (root / "contrib").mkdir(parents=True)
  (root / "contrib" / "gpu.gin").write_text(
    "MINE = 3\nrun.x = %DROPOUT_RATES\n"
  )
  (tmp_path / "mine.gin").write_text("include 't5x/contrib/gpu.gin'\n")
  here = dataclasses.replace(RECORD, root=root)
  found, _ = t5x_check.problems(
    ["mine.gin"], record=here, folders=[str(tmp_path)]
  )
  assert [problem.split()[0] for problem in found] == ["DROPOUT_RATES"]
  (found,) = problems(("mine.gin",), [tmp_path])
  assert "has no t5x/contrib/gpu.gin" in found


def test_a_file_that_is_missing_is_an_error_with_the_folders(tmp_path):
  (tmp_path / "planted.gin").write_text("include 'gin/models/xs.gin'\n")
  with pytest.raises(
    FileNotFoundError, match=r"'gin/models/xs.gin'; looked in"
  ):
    problems(("planted.gin",), [tmp_path])


def test_a_module_that_is_not_here_is_told_and_not_guessed_at(tmp_path):
  """A launch is checked where it is started, which may lack users' modules."""
  (tmp_path / "mine.gin").write_text(
    "from __gin__ import dynamic_registration\n"
    "from my_models import networks\n"
    "include 'gin/instructrec_xl.gin'\n"
    "networks.Mine.width = 3\nMODEL = @networks.Mine()\n"
  )
  found, notes = t5x_check.problems(
    ["mine.gin"], record=RECORD, folders=[str(tmp_path), str(_ROOT)]
  )
  assert not found
  (note,) = notes
  assert note.startswith("my_models.networks cannot be imported here")


def test_what_a_users_module_may_register_is_not_refused(tmp_path):
  (tmp_path / "mine.gin").write_text(
    "import my_tasks\ninclude 'gin/instructrec_xl.gin'\n"
  )
  assert not problems(("mine.gin",), [tmp_path], bindings=["my_function.x = 3"])


def test_all_problems_are_listed():
  with pytest.raises(t5x_check.GinError) as error:
    t5x_check.check(
      ["gin/instructrec_xl.gin"], ["BATCHSIZE=3", "T5Config.emb=3"]
    )
  lines = str(error.value).splitlines()
  assert lines[0] == "these gin files and bindings are not sound:"
  assert [line.split(":")[0] for line in lines[1:]] == [
    "  --gin.BATCHSIZE",
    "  --gin.T5Config.emb",
  ]


def test_the_model_has_all_that_t5x_touches():
  from instructrec.models import ranking_model

  instance = {"module", "input_vocabulary", "output_vocabulary"}
  instance |= {"optimizer_def"}
  ours = ranking_model.NetworkRankingModel
  # Attributes set by the constructor are no attributes of the class.
  settings = inspect.signature(ours).parameters
  touched = json.loads(t5x_record.FILE.read_text())["model"]
  for name, use in touched.items():
    if name in instance:
      assert name in settings
      continue
    value = getattr(ours, name)
    if use["parameters"]:
      names = list(inspect.signature(value).parameters)[1:]
      assert names[: len(use["parameters"])] == use["parameters"], name


@pytest.mark.t5x
def test_the_record_is_that_of_the_t5x_at_hand():
  if t5x_record.root() is None:
    pytest.skip("google-research/t5x is not on PYTHONPATH")
  assert record_t5x.record() == json.loads(t5x_record.FILE.read_text())
