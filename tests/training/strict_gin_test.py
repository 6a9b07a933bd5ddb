"""A gin file in a folder is data: what it may name, and what it then means."""

import dataclasses
import subprocess
import sys

import pytest

from instructrec.training import (
  data_config,
  gin_config,
  gin_data,
  runner,
  strict_gin,
)

GIN = """
from __gin__ import dynamic_registration
from instructrec.training import data_config
data_config.DataConfig:
  mixture = 'toy'
  inputs_length = 32
  targets_length = 16
  batch_size = 4
"""
PARTS = """
import dataclasses
from subprocess import getoutput

CALLS = []

@dataclasses.dataclass
class Part:
  size: int = 1
  inner: object = None
  more: tuple = ()

def made(size, extra=0):
  CALLS.append(size)
  return ("made", size, extra)
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
  """A module of a user's own."""
  folder = tmp_path_factory.mktemp("parts")
  (folder / "made_up_parts.py").write_text(PARTS)
  sys.path.insert(0, str(folder))
  yield
  sys.path.remove(str(folder))


def opened(folder, text, modules=()):
  path = folder / "config.gin"
  path.write_text(text)
  return strict_gin.StrictGin.open(path, modules)


def test_a_config_is_built(tmp_path):
  found = opened(tmp_path, GIN).build(data_config.DataConfig)
  assert found == data_config.DataConfig(
    mixture="toy", inputs_length=32, targets_length=16, batch_size=4
  )


HOSTILE = {
  "an import": "import subprocess\n",
  "a from import": "from os import path\n",
  "an alias of our name": (
    "import subprocess as data_config\n"
    "data_config.DataConfig.seed = @data_config.getoutput()\n"
  ),
  "an import after ours": f"{GIN}\nimport this\n",
  "a reference": "A = @subprocess.getoutput()\n",
  "a reference in a dictionary": "A = {'a': [(@os.system(),)]}\n",
  "a reference as a key": "A = {@os.system: 1}\n",
  "a reference of no module": "A = @getoutput()\n",
  "a reference under a scope": "A = @runner/os.system()\n",
  "a binding": "subprocess.getoutput.cmd = 'touch {marker}'\n",
  "a binding of no module": "getoutput.cmd = 'touch {marker}'\n",
  "a block": "os.system:\n  command = 'touch {marker}'\n",
  "gin's own": "A = @gin.singleton()\n",
  "ours, but no part of a run": (
    "from instructrec import output_folder\n"
    "output_folder.publish.final = '{marker}'\n"
  ),
  "ours, a class that writes": (
    "from instructrec.training import checkpoints\n"
    "checkpoints.Checkpoints.directory = '{marker}'\n"
  ),
}
THROUGH_OURS = {
  "what our module imports": (
    "from instructrec.training import runner\n"
    "data_config.DataConfig.seed = @runner.os.system()\n"
  ),
  "a class that our module imports": (
    "from instructrec.training import runner\n"
    "data_config.DataConfig.seed = @runner.Any()\n"
  ),
  "a function of a module of classes": (
    "from instructrec.training import runner\n"
    "data_config.DataConfig.seed = @runner.train()\n"
  ),
  "a method": (
    "from instructrec.models.networks import t5_config\n"
    "data_config.DataConfig.seed = @t5_config.T5Config.num_parameters()\n"
  ),
  "a private name": (
    "from instructrec.training import optimizer\n"
    "data_config.DataConfig.seed = @optimizer._per_layer()\n"
  ),
  "a class of a module of functions": (
    "from instructrec.training import optimizer\n"
    "data_config.DataConfig.seed = @optimizer.Any()\n"
  ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_folder_may_not_name_is_refused_unread(
  name, tmp_path, monkeypatch
):
  for called in ("getoutput", "run", "Popen"):
    monkeypatch.setattr(subprocess, called, None)
  before = set(sys.modules)
  marker = tmp_path / "marker"
  text = HOSTILE[name].replace("{marker}", str(marker))
  with pytest.raises(
    strict_gin.NotAllowedError,
    match=r"config\.gin, line \d+: names .* nothing was imported or called",
  ):
    opened(tmp_path, text)
  assert set(sys.modules) == before
  assert not marker.exists()


@pytest.mark.parametrize("name", THROUGH_OURS)
def test_our_modules_are_no_way_to_others(name, tmp_path):
  with pytest.raises(ValueError, match=r"config\.gin, line 10: "):
    opened(tmp_path, GIN + THROUGH_OURS[name]).build(data_config.DataConfig)


def test_a_file_stands_alone(tmp_path):
  (tmp_path / "other.gin").write_text("A = 1\n")
  for file in ("other.gin", "../x.gin", "/etc/passwd", "gin/quickstart.gin"):
    with pytest.raises(
      gin_data.GinDataError, match=r"config\.gin, line 1: include .* alone"
    ):
      opened(tmp_path, f"include '{file}'\n")


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("A = \n", "line 1"),
    ("A = [1, 2\nB = 3\n", "config.gin"),
    ("A = 1\nA.b.c 3\n", "line 2"),
    ("A = __import__('os')\n", "line 1"),
    ("A = {[]: 1}\n", "config.gin"),
    ("A = " + "[" * 5000 + "\n", "config.gin"),
    ("A = 'x\n", "config.gin"),
    ("A:\n", "config.gin"),
    ("A.b = 9" + "9" * 5000, "line 1"),
  ],
)
def test_what_does_not_parse_is_named(text, message, tmp_path):
  with pytest.raises(gin_data.GinDataError, match=message) as caught:
    opened(tmp_path, text)
  assert "config.gin" in str(caught.value)


def test_a_large_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
  path = tmp_path / "config.gin"
  with path.open("wb") as file:
    file.truncate(10 * 2**30)
  with pytest.raises(ValueError, match="INSTRUCTREC_MAX_CONFIG_BYTES"):
    strict_gin.StrictGin.open(path)
  monkeypatch.setenv("INSTRUCTREC_MAX_CONFIG_BYTES", "10")
  with pytest.raises(ValueError, match="expected at most 10;"):
    opened(tmp_path, GIN)


@pytest.mark.parametrize(
  ("lines", "message"),
  [
    ("data_config.DataConfig.seed = %NONE\n", "macro %NONE has no value"),
    ("A = %B\nB = %A\ndata_config.DataConfig.seed = %A\n", "made of itself"),
    (
      "data_config.DataConfig.seed = @data_config.DataConfig()\n",
      "refers to itself",
    ),
    ("data_config.DataConfig.sed = 1\n", "no parameter 'sed'"),
    ("data_config.DataConfig.batch_size = 0\n", "batch_size is 0"),
    ("data_config.DataConfig.inputs_length = 10_000_000\n", "MAX_LENGTH"),
  ],
)
def test_what_cannot_be_built_names_the_file(lines, message, tmp_path):
  with pytest.raises(gin_data.GinDataError, match=message) as caught:
    opened(tmp_path, GIN + lines).build(data_config.DataConfig)
  assert "config.gin" in str(caught.value) or "DataConfig" in str(caught.value)


def test_a_few_lines_that_mean_10_to_the_12_values_are_refused(tmp_path):
  lines = "".join(
    f"M{n} = [{', '.join([f'%M{n + 1}'] * 10)}]\n" for n in range(12)
  )
  text = f"{GIN}{lines}M12 = 1\ndata_config.DataConfig.task_forms = %M0\n"
  with pytest.raises(gin_data.GinDataError, match="more than 10,000"):
    opened(tmp_path, text).build(data_config.DataConfig)


SEMANTICS = {
  "macros of macros": "ROOT = %A\nA = %B\nB = 3\n",
  "later lines win": (
    "ROOT = @parts.Part()\nparts.Part.size = 1\nparts.Part.size = %A\n"
    "A = 1\nA = 2\n"
  ),
  "scopes": (
    "a/parts.Part.size = 5\nparts.Part.size = 2\n"
    "a/b/parts.Part.inner = 'deep'\nINNER = @a/b/parts.Part()\n"
    "c/parts.Part.inner = %INNER\nROOT = @c/parts.Part()\n"
  ),
  "a scope reaches what is made within it": (
    "ROOT = @a/parts.made()\nparts.made.size = @parts.Part()\n"
    "a/parts.Part.size = 7\n"
  ),
  "another scope within one": (
    "ROOT = @a/parts.made()\nparts.made.size = @b/parts.Part()\n"
    "a/parts.Part.size = 7\nb/parts.Part.inner = 1\n"
  ),
  "a macro is a scope": "ROOT = @parts.Part()\nROOT/parts.Part.size = 9\n",
  "functions are passed on, with what is bound": (
    "parts.made.extra = 4\nROOT = (@parts.made, {'k': @parts.made})\n"
  ),
  "literals": (
    "ROOT = {'a': (1,), 'b': [1.5, -2e3, None, True], 3: 'x' 'y', "
    "'c': ('one')}\n"
  ),
}


@pytest.mark.parametrize("name", SEMANTICS)
def test_values_are_those_that_gin_gives(name, tmp_path, parts):
  text = (
    f"{GIN}import made_up_parts as parts\n{SEMANTICS[name]}"
    "data_config.DataConfig.task_forms = %ROOT\n"
  )
  strict = opened(tmp_path, text, ["made_up_parts"])
  ours = strict.build(data_config.DataConfig).task_forms
  gin_config.parse([str(tmp_path / "config.gin")])
  theirs = gin_config.build(data_config.DataConfig).task_forms

  def plain(value):
    if dataclasses.is_dataclass(value):
      return {
        field.name: plain(getattr(value, field.name))
        for field in dataclasses.fields(value)
      }
    if isinstance(value, dict):
      return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
      return type(value)(map(plain, value))
    return value(size=8) if callable(value) else value

  assert plain(ours) == plain(theirs)


def test_a_macro_makes_a_new_object_each_time(tmp_path):
  text = (
    f"{GIN}from instructrec.training import mesh\nA = @mesh.MeshConfig()\n"
    "data_config.DataConfig.task_forms = (%A, %A)\n"
  )
  one, other = opened(tmp_path, text).build(data_config.DataConfig).task_forms
  assert one == other
  assert one is not other


def test_a_module_that_the_caller_names_may_be_named(tmp_path, parts):
  text = (
    f"{GIN}import made_up_parts\nmade_up_parts.made.size = 3\n"
    "data_config.DataConfig.task_forms = @made_up_parts.made()\n"
  )
  with pytest.raises(
    strict_gin.NotAllowedError, match="pass --module=made_up_parts"
  ):
    opened(tmp_path, text)
  found = opened(tmp_path, text, ["made_up_parts"])
  assert found.build(data_config.DataConfig).task_forms == ("made", 3, 0)
  # What lies in it, and not what it imports from elsewhere.
  through = text.replace("made.size = 3", "getoutput.cmd = 'true'").replace(
    "made_up_parts.made()", "made_up_parts.getoutput()"
  )
  with pytest.raises(strict_gin.NotAllowedError, match="nothing that a run"):
    opened(tmp_path, through, ["made_up_parts"]).build(data_config.DataConfig)


def test_modules_of_tasks_are_named_by_the_caller(tmp_path):
  settings = opened(tmp_path, GIN)
  settings.check_task_modules(data_config.DataConfig.modules)
  with pytest.raises(
    strict_gin.NotAllowedError, match="pass --module=my_tasks"
  ):
    settings.check_task_modules(("tasks.instructrec", "my_tasks"))
  opened(tmp_path, GIN, ["my_tasks"]).check_task_modules(("my_tasks.more",))
  for wrong in ("tasks.instructrec", 7, None):
    with pytest.raises(gin_data.GinDataError, match="names of modules"):
      settings.check_task_modules(wrong)


def test_a_run_written_before_a_module_moved_names_where_it_is(tmp_path):
  text = (
    "from instructrec.models import config\n"
    "from instructrec.training import runner\n"
    "runner.TrainConfig.model = @config.T5Config()\n"
  )
  with pytest.raises(ValueError, match=r"instructrec\.models\.networks"):
    opened(tmp_path, text).build(runner.TrainConfig)
