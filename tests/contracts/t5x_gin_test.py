"""Every gin file for T5X fits T5X, checked without T5X.

What T5X offers stands in `t5x_<commit>.json` (see `record_t5x.py`); our own
modules and SeqIO are looked at directly.
"""

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import json
import pathlib
import re

import pytest

from gin import config_parser
from instructrec.training import gin_config

pytestmark = pytest.mark.tf


def _load_recorder():
  path = pathlib.Path(__file__).with_name("record_t5x.py")
  spec = importlib.util.spec_from_file_location("record_t5x", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


record_t5x = _load_recorder()
RECORD = json.loads(record_t5x.path().read_text())
_ROOT = next(
  path
  for path in map(pathlib.Path, gin_config.search_paths()[1:])
  if (path / "gin").is_dir()
)
SIZES = ("small", "base", "large", "xl", "xxl")
FINETUNE = tuple(f"gin/instructrec_{size}.gin" for size in SIZES)
_MODEL = ("gin/models/xl.gin",)
_TINY = ("gin/overrides/tiny.gin",)
_GENERATE = ("gin/overrides/generate.gin",)
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


@dataclasses.dataclass
class Reading:
  """What a list of gin files says, includes and all, later over earlier.

  Attributes:
    problems: everything that does not fit.
    macros: macro names to whether a value stands there (False: required).
    read: macros that some value refers to.
    ours: macros that our own files define.
  """

  problems: list[str] = dataclasses.field(default_factory=list)
  macros: dict[str, bool] = dataclasses.field(default_factory=dict)
  read: set[str] = dataclasses.field(default_factory=set)
  ours: set[str] = dataclasses.field(default_factory=set)


def _nearest(name, known):
  close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
  return f"; did you mean {close[0]}?" if close else ""


def _parameters(imports, selector):
  """Parameters of what a file calls `selector`.

  Raises:
    LookupError: where there is no such thing.
  """
  alias, _, name = selector.rpartition(".")
  module = imports.get(alias)
  if module is None:
    raise LookupError(
      f"{selector}: the file imports no {alias!r}"
      + _nearest(alias, imports.keys())
    )
  if module == "__main__":
    known = RECORD["scripts"].get(alias.removesuffix("_script"), {})
  elif module.split(".")[0] == "t5x":
    known = {
      full.removeprefix(f"{module}."): names
      for full, names in RECORD["callables"].items()
      if full.rpartition(".")[0] == module
    }
  else:
    values = vars(importlib.import_module(module))
    if not callable(values.get(name)):
      raise LookupError(f"{module} has no {name!r}" + _nearest(name, values))
    return record_t5x.parameters(values[name])
  if name not in known:
    raise LookupError(f"{module} has no {name!r}" + _nearest(name, known))
  return known[name]


def read(files, roots):
  """Reads gin files as T5X would, against the record.

  Args:
    files: paths below one of `roots`.
    roots: where `gin/...` is looked up.

  Returns:
    A `Reading`.
  """
  reading = Reading()
  for file in files:
    _read_file(file, roots, reading)
  for macro in sorted(reading.ours - reading.read):
    reading.problems.append(
      f"nothing reads the macro {macro}" + _nearest(macro, reading.read)
    )
  return reading


def _read_file(file, roots, reading):
  if file.startswith("t5x/"):
    if file not in RECORD["gin"]:
      reading.problems.append(
        f"T5X has no {file}" + _nearest(file, RECORD["gin"])
      )
      return
    run = RECORD["gin"][file]
    reading.macros |= dict.fromkeys(run["defined"], True)
    reading.macros |= dict.fromkeys(run["required"], False)
    reading.read |= set(run["read"])
    return
  path = next((r / file for r in roots if (r / file).is_file()), None)
  if path is None:
    reading.problems.append(f"there is no {file}")
    return
  imports = {}
  for statement, macros, references in record_t5x.statements(path.read_text()):
    where = f"{file}:{statement.location.line_num}: "
    reading.read |= set(macros) - {"gin.REQUIRED"}
    if isinstance(statement, config_parser.IncludeStatement):
      _read_file(statement.filename, roots, reading)
      continue
    if isinstance(statement, config_parser.ImportStatement):
      if statement.module != "__gin__.dynamic_registration":
        imports[statement.bound_name()] = statement.module
      continue
    selectors = [(name.split("/")[-1], None) for name in references]
    if isinstance(statement, config_parser.BlockDeclaration):
      selectors.append((statement.selector, None))
    elif statement.arg_name:
      selectors.append((statement.selector, statement.arg_name))
    else:
      reading.macros[statement.selector] = "gin.REQUIRED" not in macros
      reading.ours.add(statement.selector)
    for selector, parameter in selectors:
      try:
        known = _parameters(imports, selector)
      except (LookupError, ImportError) as error:
        reading.problems.append(where + str(error))
        continue
      if parameter is not None and not {parameter, "**"} & set(known):
        reading.problems.append(
          f"{where}{selector} has no parameter {parameter!r}"
          + _nearest(parameter, known)
        )


def _header(name, roots):
  path = next(r / name for r in roots if (r / name).is_file())
  lines = path.read_text().splitlines()
  end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
  return "\n".join(line.removeprefix("#").strip() for line in lines[:end])


def missing(reading, header):
  """Macros that are read and have no value, other than the header's."""
  required = re.search(r"^Required: (.*?)^\w[\w ]*:", header, re.M | re.S)
  listed = set(re.findall(r"\b[A-Z][A-Z_]+\b", required.group(1)))
  empty = {name for name in reading.read if not reading.macros.get(name)}
  return sorted(empty - listed)


@pytest.mark.parametrize("run", RUNS)
def test_the_run_fits_t5x(run):
  reading = read(RUNS[run], [_ROOT])
  # An override defines what one of several launches reads.
  allowed = {"INFER_MODE"} if "eval" in run else set()
  if "objectives" in run and "xl" not in run:
    allowed |= {"NUM_DRAWN"}  # Lists are whole: nothing is drawn.
  if "tiny" in run or "generate" in run:
    every = set().union(*(read(r, [_ROOT]).read for r in RUNS.values()))
    allowed |= every
  unread = {f"nothing reads the macro {name}" for name in allowed}
  problems = [p for p in reading.problems if p.split(";")[0] not in unread]
  assert not problems
  assert not missing(reading, _header(RUNS[run][0], [_ROOT]))


@pytest.mark.parametrize(
  "name",
  [*FINETUNE, "gin/instructrec_eval.gin", "gin/instructrec_infer.gin"],
)
def test_the_header_says_what_a_user_needs(name):
  header = _header(name, [_ROOT])
  for part in ("Command:", "Required:", "Commonly overridden:", "Fits on:"):
    assert f"\n{part}" in header
  assert "python ${T5X_DIR}/t5x/" in header
  reading = read(
    (name,) if name in FINETUNE else (name, *_MODEL, *_GENERATE), [_ROOT]
  )
  # The macros that the header names exist.
  body = header.split("Required:")[1]
  for macro in re.findall(r"\b[A-Z]+_[A-Z_]+\b", body):
    assert macro in reading.read | {"INFER_MODE"}, macro


@pytest.mark.parametrize("size", SIZES)
def test_training_goes_on_from_the_pretraining_step(size):
  text = (_ROOT / f"gin/instructrec_{size}.gin").read_text()
  start = int(re.search(r"/flan_t5_(\w+)/checkpoint_(\d+)'", text).group(2))
  assert f"flan_t5_{size}/" in text
  total = int(re.search(r"^TRAIN_STEPS = ([\d_]+)", text, re.M).group(1))
  assert total == start + 10_000


PLANTED = {
  "train_script.train.evaluate_period = 5": (
    "train_script.train has no parameter 'evaluate_period'; "
    "did you mean eval_period?"
  ),
  "utils.SaveCheckpointConfig.perod = 5": (
    "utils.SaveCheckpointConfig has no parameter 'perod'; did you mean period?"
  ),
  "ranking_model.NetworkRankingModel.zloss = 0.0": (
    "ranking_model.NetworkRankingModel has no parameter 'zloss'; "
    "did you mean z_loss?"
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
  "include 'gin/models/xs.gin'": "there is no gin/models/xs.gin",
  "include 't5x/configs/runs/tune.gin'": (
    "T5X has no t5x/configs/runs/tune.gin; "
    "did you mean t5x/configs/runs/finetune.gin?"
  ),
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
  problems = read(("planted.gin",), [tmp_path, _ROOT]).problems
  assert len(problems) == 1
  assert PLANTED[mistake] in problems[0]


def test_a_macro_without_value_is_missed(tmp_path):
  (tmp_path / "planted.gin").write_text(
    "# A run.\n# Required: MODEL_DIR.\n# Fits on: all.\n"
    "include 'gin/runs/t5x_finetune.gin'\n"
    "include 'gin/mixtures/instructrec.gin'\n"
  )
  reading = read(("planted.gin",), [tmp_path, _ROOT])
  assert missing(reading, _header("planted.gin", [tmp_path])) == [
    "INITIAL_CHECKPOINT_PATH",
    "MODEL",
    "TRAIN_STEPS",
  ]


def test_the_model_has_all_that_t5x_touches():
  from instructrec.models import ranking_model

  instance = {"module", "input_vocabulary", "output_vocabulary"}
  instance |= {"optimizer_def"}
  ours = ranking_model.NetworkRankingModel
  # Attributes set by the constructor are no attributes of the class.
  settings = inspect.signature(ours).parameters
  for name, use in RECORD["model"].items():
    if name in instance:
      assert name in settings
      continue
    value = getattr(ours, name)
    if use["parameters"]:
      names = list(inspect.signature(value).parameters)[1:]
      assert names[: len(use["parameters"])] == use["parameters"], name


@pytest.mark.t5x
def test_the_record_is_that_of_the_t5x_at_hand():
  if importlib.util.find_spec("t5x") is None:
    pytest.skip("google-research/t5x is not on PYTHONPATH")
  assert record_t5x.record() == RECORD
