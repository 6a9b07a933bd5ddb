import importlib
import re
import textwrap

import pytest

from instructrec.training import data_config, gin_config

GIN = """
from __gin__ import dynamic_registration
from instructrec.training import data_config
LENGTH = 64
data_config.DataConfig:
  mixture = 'toy'
  inputs_length = %LENGTH
  targets_length = 16
  batch_size = 4
"""


@pytest.fixture
def gin_file(tmp_path):
  def write(extra=""):
    path = tmp_path / "test.gin"
    path.write_text(GIN + textwrap.dedent(extra))
    return str(path)

  return write


def test_builds_a_config_with_overrides(gin_file):
  gin_config.parse([gin_file()], ["LENGTH = 32", "DataConfig.pack = True"])
  built = gin_config.build(data_config.DataConfig)
  assert isinstance(built, data_config.DataConfig)
  assert (built.inputs_length, built.pack) == (32, True)
  gin_config.check_all_used()


def test_the_recorded_text_restores_the_config(gin_file, tmp_path):
  gin_config.parse([gin_file()], ["LENGTH = 32"])
  first = gin_config.build(data_config.DataConfig)
  path = tmp_path / "config.gin"
  path.write_text(gin_config.config_text())
  gin_config.parse([str(path)])
  again = gin_config.build(data_config.DataConfig)
  assert vars(again) == vars(first)


def test_an_unused_macro_is_an_error_with_the_nearest_name(gin_file):
  gin_config.parse([gin_file("LENGHT = 128\n")])
  gin_config.build(data_config.DataConfig)
  with pytest.raises(
    gin_config.UnusedBindingError, match=r"LENGHT \(did you mean LENGTH\?\)"
  ):
    gin_config.check_all_used()


def test_an_unused_binding_is_an_error(gin_file):
  gin_config.parse(
    [
      gin_file(
        """
        from instructrec.training import schedules
        schedules.constant.value = 1.0
        """
      )
    ]
  )
  gin_config.build(data_config.DataConfig)
  with pytest.raises(
    gin_config.UnusedBindingError, match=r"schedules.constant.value"
  ):
    gin_config.check_all_used()


def test_overriding_an_unknown_macro_names_the_nearest(gin_file):
  with pytest.raises(
    gin_config.UnusedBindingError, match=r"no macro 'LENGHT' \(did you mean"
  ):
    gin_config.parse([gin_file()], ["LENGHT=3"])


def test_a_misspelt_parameter_is_an_error(gin_file):
  with pytest.raises(ValueError, match="input_length"):
    gin_config.parse([gin_file()], ["DataConfig.input_length = 3"])


def test_a_missing_file_names_where_it_was_looked_for():
  with pytest.raises(FileNotFoundError, match="looked in"):
    gin_config.parse(["gin/no_such.gin"])


def test_a_required_field_that_is_bound_nowhere_is_named(tmp_path):
  path = tmp_path / "empty.gin"
  path.write_text("")
  gin_config.parse([str(path)])
  with pytest.raises(ValueError, match="mixture"):
    gin_config.build(data_config.DataConfig)


def test_bindings_of_an_earlier_parse_are_forgotten(gin_file, tmp_path):
  gin_config.parse([gin_file()], ["DataConfig.seed = 7"])
  gin_config.parse([gin_file()])
  assert gin_config.build(data_config.DataConfig).seed == 0


def test_a_launch_of_t5x_is_called_so():
  with pytest.raises(ValueError, match=r"start it with t5x/train\.py"):
    gin_config.parse(["gin/instructrec_xl.gin"])


@pytest.mark.parametrize(
  ("old", "new"),
  [
    ("config", "networks.t5_config"),
    ("t5", "networks.t5"),
    ("training_metrics", "objectives.training_metrics"),
  ],
)
@pytest.mark.parametrize(
  "statement",
  ["from instructrec.models import {}", "import instructrec.models.{}"],
)
def test_a_run_written_before_a_module_moved_names_where_it_is(
  tmp_path, statement, old, new
):
  path = tmp_path / "config.gin"
  path.write_text(
    f"from __gin__ import dynamic_registration\n{statement.format(old)}\n"
  )
  with pytest.raises(
    ValueError,
    match=rf"{re.escape(str(path))}: instructrec\.models\.{old} is now "
    rf"instructrec\.models\.{new};",
  ):
    gin_config.parse([str(path)])


def test_a_binding_of_a_module_that_moved_names_where_it_is():
  with pytest.raises(
    ValueError,
    match=r"--gin\.config\.T5Config\.emb_dim: instructrec\.models\.config is "
    r"now instructrec\.models\.networks\.t5_config;",
  ):
    gin_config.parse(["gin/models/tiny.gin"], ["config.T5Config.emb_dim = 8"])


def test_what_stands_for_a_moved_module_is_there():
  for moved in gin_config._MOVED.values():
    importlib.import_module(f"instructrec.models.{moved}")
