"""Every shipped gin file parses; every launch file builds its configs."""

import pathlib
import re

import numpy as np
import pytest

from instructrec.training import data_config, gin_config, runner, strict_gin

_GIN = next(
  path
  for path in (
    pathlib.Path(folder) / "gin" for folder in gin_config.search_paths()[1:]
  )
  if path.is_dir()
)
_ALL = sorted(str(p.relative_to(_GIN.parent)) for p in _GIN.rglob("*.gin"))


def _needs_t5x(name):
  """Whether T5X itself is part of it; see t5x_gin_test.py."""
  text = (_GIN.parent / name).read_text()
  if re.search(r"^from t5x import", text, re.MULTILINE):
    return True
  includes = re.findall(r"^include '(.*)'", text, re.MULTILINE)
  return any(i.startswith("t5x/") or _needs_t5x(i) for i in includes)


_FILES = [name for name in _ALL if not _needs_t5x(name)]
_LAUNCHES = [name for name in _FILES if name.count("/") == 1]
_PREFIXES = ("instructrec_v1", "genrec_v1", "control_v1")


def test_the_gin_folder_is_no_package():
  # It would shadow gin-config.
  assert not list(_GIN.rglob("__init__.py"))


@pytest.mark.parametrize("name", _ALL)
def test_the_file_opens_with_its_purpose(name):
  assert (_GIN.parent / name).read_text().startswith("# ")


@pytest.mark.parametrize("name", _FILES)
def test_the_file_parses(name):
  gin_config.parse([name])


@pytest.mark.parametrize("name", _LAUNCHES)
def test_the_launch_builds_and_uses_all_its_bindings(name):
  gin_config.parse([name])
  train = gin_config.build(runner.TrainConfig)
  data = gin_config.build(data_config.DataConfig)
  gin_config.check_all_used()
  assert train.model.module.config.vocab_size > 0
  assert data.mixture.startswith(_PREFIXES)


@pytest.mark.parametrize("name", _LAUNCHES)
def test_a_run_of_the_launch_opens_with_the_settings_it_was_trained_with(
  name, tmp_path
):
  gin_config.parse([name])
  (tmp_path / "config.gin").write_text(gin_config.config_text())
  opened = strict_gin.StrictGin.open(tmp_path / "config.gin")
  build = gin_config.build
  assert opened.build(data_config.DataConfig) == build(data_config.DataConfig)
  ours, theirs = opened.build(runner.TrainConfig), build(runner.TrainConfig)
  assert _said(ours) == _said(theirs)
  assert _said(ours.model) == _said(theirs.model)
  # Schedules and optimizers are functions, which say nothing of their settings.
  params = {"w": np.linspace(-1, 1, 6)}
  updates = [_third_update(each.optimizer, params) for each in (ours, theirs)]
  assert np.any(updates[0])
  np.testing.assert_array_equal(*updates)


def _third_update(optimizer, params):
  state = optimizer.init(params)
  for _ in range(3):
    updates, state = optimizer.update(params, state, params)
  return updates["w"]


def _said(settings):
  """What an object's fields say, without addresses."""
  return re.sub(" at 0x[0-9a-f]+", "", repr(vars(settings)))


@pytest.mark.parametrize(
  ("size", "millions"),
  [
    ("small", 77),
    ("base", 248),
    ("large", 783),
    ("xl", 2850),
    ("xxl", 11135),
    ("tinyllama_1b", 1100),
    ("llama_7b", 6738),
    ("llama3_8b", 8030),
  ],
)
def test_the_sizes_have_the_published_number_of_parameters(size, millions):
  import jax

  # Counted alike and traced once, however many layers there are.
  gin_config.parse(
    [f"gin/models/{size}.gin", "gin/runs/train.gin"], ["SCAN_LAYERS = True"]
  )
  import gin
  from instructrec.models import ranking_model

  model = gin.get_configurable(ranking_model.NetworkRankingModel)()
  shapes = {
    "encoder_input_tokens": (1, 8),
    "decoder_input_tokens": (1, 8),
    "decoder_target_tokens": (1, 8),
  }
  params = jax.eval_shape(
    lambda rng: model.get_initial_variables(rng, shapes), jax.random.key(0)
  )["params"]
  count = sum(np.prod(p.shape) for p in jax.tree.leaves(params)) / 1e6
  assert count == pytest.approx(millions, rel=0.005)
