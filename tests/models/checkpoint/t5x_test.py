"""Unmodified T5X restores what we write, and we read what it writes.

Runs where google-research/t5x and what it imports are on the path:
requirements/t5x.txt.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from instructrec.models.checkpoint import convert, names, opening
from instructrec.models.networks import t5_config

pytestmark = [pytest.mark.t5x, pytest.mark.tf]

CONFIG = t5_config.T5Config(
  vocab_size=160,
  # Wide enough for Adafactor to factor some matrices and not others; query
  # is square, which leaves the order of its axes to the sort.
  emb_dim=136,
  num_heads=2,
  head_dim=68,
  num_encoder_layers=2,
  num_decoder_layers=1,
  mlp_dim=120,
)
STEP = 1_138_000


@dataclasses.dataclass(frozen=True)
class T5X:
  """T5X's modules, and its own network under its own optimizer."""

  checkpoints: object
  partitioner: object
  utils: object
  initializer: object

  @property
  def state(self):
    return self.initializer.from_scratch(jax.random.PRNGKey(0))


@pytest.fixture(name="t5x", scope="module")
def t5x_fixture():
  checkpoints = pytest.importorskip("t5x.checkpoints")
  from t5x import adafactor as t5x_adafactor
  from t5x import models, partitioning, utils
  from t5x.examples.t5 import network

  fields = {f.name for f in dataclasses.fields(network.T5Config)}
  model = models.EncoderDecoderModel(
    network.Transformer(
      network.T5Config(**{n: v for n, v in vars(CONFIG).items() if n in fields})
    ),
    input_vocabulary=None,
    output_vocabulary=None,
    # As t5x/examples/t5/t5_1_1/base.gin has it.
    optimizer_def=t5x_adafactor.Adafactor(
      decay_rate=0.8,
      step_offset=0,
      logical_factor_rules=t5x_adafactor.standard_logical_factor_rules(),
    ),
  )
  partitioner = partitioning.PjitPartitioner(num_partitions=1)
  initializer = utils.TrainStateInitializer(
    optimizer_def=model.optimizer_def,
    init_fn=model.get_initial_variables,
    input_shapes={
      "encoder_input_tokens": (2, 8),
      "decoder_input_tokens": (2, 8),
      "decoder_target_tokens": (2, 8),
      "decoder_loss_weights": (2, 8),
    },
    partitioner=partitioner,
  )
  return T5X(checkpoints, partitioner, utils, initializer)


def _flat(tree):
  from flax import core, traverse_util

  return traverse_util.flatten_dict(core.unfreeze(tree), sep="/")


def _restore(t5x, path, model_dir, *, use_orbax, **settings):
  """What train.py does with t5x/configs/runs/finetune.gin's settings."""
  restore_config, paths = t5x.utils.get_first_valid_restore_config_and_paths(
    [
      t5x.utils.RestoreCheckpointConfig(path=str(model_dir), mode="latest"),
      t5x.utils.RestoreCheckpointConfig(
        path=str(path), mode="specific", dtype="float32", **settings
      ),
    ]
  )
  state, _ = t5x.utils.create_checkpoint_manager_and_restore(
    t5x.initializer,
    t5x.partitioner,
    restore_config,
    paths[0],
    jax.random.PRNGKey(1),
    save_checkpoint_cfg=t5x.utils.SaveCheckpointConfig(period=5),
    model_dir=str(model_dir),
    use_orbax=use_orbax,
  )
  return state


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
  ("form", "use_orbax"),
  [("t5x", True), ("t5x_legacy", True), ("t5x_legacy", False)],
)
def test_t5x_restores_our_export_as_it_fine_tunes(
  t5x, form, use_orbax, dtype, tmp_path, random_arrays, as_checkpoint
):
  arrays = random_arrays(CONFIG, dtype)
  report = convert.convert(
    as_checkpoint(arrays),
    tmp_path / "export",
    convert.Settings(form=form, step=STEP),
  )
  assert pathlib.Path(report.output).name == f"checkpoint_{STEP}"
  model_dir = tmp_path / "model"
  model_dir.mkdir()
  state = _restore(t5x, report.output, model_dir, use_orbax=use_orbax)
  assert int(state.step) == STEP
  restored = _flat(state.params)
  assert restored.keys() == arrays.keys()
  for name, array in restored.items():
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, arrays[name].astype(np.float32), name)
  fresh = _flat(t5x.state.state_dict()["state"]["param_states"])
  ours = _flat(state.state_dict()["state"]["param_states"])
  assert ours.keys() == fresh.keys()
  for name, array in ours.items():
    np.testing.assert_array_equal(array, fresh[name], name)


@pytest.mark.parametrize("form", ["t5x", "t5x_legacy"])
def test_t5x_makes_its_own_optimizer_for_parameters_alone(
  t5x, form, tmp_path, random_arrays, as_checkpoint
):
  arrays = random_arrays(CONFIG)
  report = convert.convert(
    as_checkpoint(arrays),
    tmp_path / "export",
    convert.Settings(form=form, optimizer="none"),
  )
  model_dir = tmp_path / "model"
  model_dir.mkdir()
  state = _restore(
    t5x,
    report.output,
    model_dir,
    use_orbax=True,
    assignment_map=[("state.*", None)],
    fallback_to_scratch=True,
  )
  for name, array in _flat(state.params).items():
    np.testing.assert_array_equal(array, arrays[name], name)


@pytest.mark.parametrize("form", ["t5x", "t5x_legacy"])
def test_we_read_what_t5x_writes(t5x, form, tmp_path, read_all):
  state = t5x.state
  state = state.replace_step(np.int32(12))
  if form == "t5x":
    manager = t5x.checkpoints.OrbaxCheckpointManagerInterface(
      str(tmp_path), state, t5x.partitioner
    )
    manager.save(state)
    manager.wait_until_finished()
    manager.close()
  else:
    t5x.checkpoints.Checkpointer(state, t5x.partitioner, str(tmp_path)).save(
      state
    )
  expected = _flat(state.params)
  # The model_dir as well as the step in it.
  for path in (tmp_path, tmp_path / "checkpoint_12"):
    found = opening.open_checkpoint(path)
    assert (found.form, found.step) == (form, 12)
    sizes = opening.check(found)
    assert names.parameters(sizes) == names.parameters(CONFIG)
    assert len(found.left) == 4 * len(expected)
    arrays = read_all(found)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
      np.testing.assert_array_equal(array, expected[name], name)


def test_the_recorded_optimizer_state_is_that_of_t5x(t5x):
  from t5x import adafactor as t5x_adafactor

  optimizer = t5x_adafactor.Adafactor(
    logical_factor_rules=t5x_adafactor.standard_logical_factor_rules()
  )
  record = pathlib.Path(__file__).parent / "adafactor_t5x.json"
  for recorded in json.loads(record.read_text()):
    axes = jax.sharding.PartitionSpec(*recorded["axes"])
    optimizer.set_param_axes({"x": axes})
    zeros = np.zeros(recorded["shape"], np.float32)
    state = optimizer.init_param_state(zeros, "x")
    found = {n: list(getattr(state, n).shape) for n in recorded["state"]}
    assert found == recorded["state"], recorded
