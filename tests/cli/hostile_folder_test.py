"""Commands that open the run folder of a stranger run nothing of it."""

import json
import shutil
import sys

import pytest
from typer.testing import CliRunner

from instructrec import checksums
from instructrec.cli import main
from instructrec.training import data_config, gin_config, run_dir, strict_gin

pytestmark = pytest.mark.tf
EVIL = """
import subprocess
subprocess.getoutput.cmd = 'touch {marker}'
runner.TrainConfig.seed = @subprocess.getoutput()
"""


@pytest.fixture(scope="module")
def settings():
  """The config.gin of a run that nobody changed."""
  lengths = ("INPUTS_LENGTH=256", "TARGETS_LENGTH=32", "TITLE_LENGTH=24")
  gin_config.parse(["gin/quickstart_token.gin"], lengths)
  return gin_config.config_text()


def write(config, text):
  """Writes settings; who makes a folder can hash it as well."""
  config.write_text(text)
  checksums.write(config.parent, [config.name])


@pytest.fixture
def folder(tmp_path, settings):
  """A run as far as commands look before they would run anything of it."""
  model = tmp_path / "model"
  (model / "checkpoints").mkdir(parents=True)
  write(model / "config.gin", settings)
  record = {
    "tfds_data_dir": "data",
    "tfds_data_dir_relative": "../data",
    "instructions_fingerprint": "sha256:0",
    "sha256": checksums.UNSEALED,
  }
  (model / "run.json").write_text(json.dumps(record))
  checksums.seal(model / "run.json")
  return model


def error_of(*args):
  result = CliRunner().invoke(main.app, [str(a) for a in args])
  return str(result.exception)


COMMANDS = {
  "rank": ("rank", "--model_dir={model}", "--wish=x"),
  "evaluate": ("evaluate", "--model_dir={model}"),
  "checkpoint export": (
    "checkpoint",
    "export",
    "--source={model}",
    "--output={model}/out",
    "--format=huggingface",
  ),
  "retrieve evaluate": (
    "retrieve",
    "evaluate",
    "--data={data}",
    "--retriever={data}/../popularity",
    "--model_dir={model}",
    "--output={model}/out",
  ),
}


@pytest.fixture(scope="module")
def data(prepared_dir, tmp_path_factory):
  """Prepared data, with a fitted retriever beside them."""
  made = tmp_path_factory.mktemp("hostile")
  shutil.copytree(prepared_dir, made / "data")
  fitted = CliRunner().invoke(
    main.app,
    [
      "retrieve",
      "fit",
      f"--data={made / 'data'}",
      "--method=popularity",
      f"--output={made / 'popularity'}",
    ],
  )
  assert fitted.exit_code == 0, fitted.output
  return made / "data"


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_called_and_the_line_is_named(command, folder, data):
  marker = folder / "marker"
  config = folder / "config.gin"
  write(config, config.read_text() + EVIL.replace("{marker}", str(marker)))
  args = [a.format(model=folder, data=data) for a in COMMANDS[command]]
  error = error_of(*args)
  assert "config.gin, line " in error
  assert "names 'subprocess'" in error
  assert "--module=subprocess" in error
  assert not marker.exists()
  # The same folder is one that somebody may trust by name.
  error = error_of(*args, "--module=subprocess")
  assert "names 'subprocess'" not in error


@pytest.mark.parametrize("command", COMMANDS)
def test_modules_of_tasks_are_imported_where_the_user_names_them(
  command, folder, data, monkeypatch
):
  monkeypatch.syspath_prepend(str(folder))
  (folder / "tasks_of_a_stranger.py").write_text("")
  config = folder / "config.gin"
  write(
    config,
    f"{config.read_text()}\n"
    "data_config.DataConfig.modules = ('tasks_of_a_stranger',)\n",
  )
  args = [a.format(model=folder, data=data) for a in COMMANDS[command]]
  error = error_of(*args)
  assert "the module 'tasks_of_a_stranger', which was not imported" in error
  assert "tasks_of_a_stranger" not in sys.modules
  error = error_of(*args, "--module=tasks_of_a_stranger")
  assert "tasks_of_a_stranger" not in error


def test_a_folder_is_opened_with_the_modules_that_are_named(folder):
  assert run_dir.load(folder).data == data_config.DataConfig(
    mixture="instructrec_v1_direct",
    inputs_length=256,
    targets_length=32,
    title_length=24,
    batch_size=16,
    pack=True,
  )
  config = folder / "config.gin"
  write(
    config,
    f"{config.read_text()}\ndata_config.DataConfig.modules = ('my_tasks',)\n",
  )
  with pytest.raises(strict_gin.NotAllowedError, match="my_tasks"):
    run_dir.load(folder)
  opened = run_dir.load(folder, modules=["my_tasks"])
  assert opened.data.modules == ("my_tasks",)


def test_a_network_beyond_all_measure_is_refused_at_once(folder):
  config = folder / "config.gin"
  write(
    config,
    f"{config.read_text()}\nt5_config.T5Config.num_encoder_layers = 10000000\n",
  )
  error = error_of("rank", f"--model_dir={folder}", "--wish=x")
  assert "config.gin, line " in error
  assert "found 10,000,000 layers, expected at most 512" in error
