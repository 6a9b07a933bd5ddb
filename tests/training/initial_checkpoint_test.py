"""A run begins with the numbers of the file, whatever its form."""

import dataclasses

import flax.traverse_util
import jax
import numpy as np
import pytest

from instructrec.models import ranking_model
from instructrec.models.checkpoint import convert, names, tensors
from instructrec.models.networks import t5, t5_config
from instructrec.training import mesh, optimizer, runner

CONFIG = t5_config.T5Config(
  vocab_size=40,
  emb_dim=16,
  num_heads=2,
  head_dim=6,
  num_encoder_layers=2,
  num_decoder_layers=1,
  mlp_dim=24,
)
SHAPES = {
  "encoder_input_tokens": (2, 8),
  "decoder_input_tokens": (2, 4),
  "decoder_target_tokens": (2, 4),
}


def _source(cfg=CONFIG):
  rng = np.random.default_rng(0)
  arrays = {
    name: rng.standard_normal(p.shape, np.float32)
    for name, p in names.parameters(cfg).items()
  }
  params = {n: tensors.from_array(a, n) for n, a in arrays.items()}
  return tensors.Checkpoint("memory", "instructrec", 0, params, {}, config=cfg)


def _trainer(checkpoint, cfg=CONFIG):
  return runner.Trainer.create(
    runner.TrainConfig(
      model=ranking_model.T5RankingModel(t5.T5(cfg)),
      optimizer=optimizer.adamw(1e-2),
      train_steps=1,
      mesh=mesh.MeshConfig(data=1, model=1),
      initial_checkpoint=str(checkpoint),
    ),
    SHAPES,
    jax.devices()[:1],
  )


def _flat(params):
  return flax.traverse_util.flatten_dict(params, sep="/")


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize(
  ("form", "layers"),
  [
    ("huggingface", "unstacked"),
    ("t5x", "stacked"),
    ("t5x_legacy", "unstacked"),
    ("instructrec", "stacked"),
  ],
)
def test_a_run_begins_with_the_numbers_of_the_file(
  form, layers, scan_layers, tmp_path
):
  source = _source()
  convert.convert(
    source, tmp_path / "out", convert.Settings(form=form, layers=layers)
  )
  cfg = dataclasses.replace(CONFIG, scan_layers=scan_layers)
  state = _trainer(tmp_path / "out", cfg).init()
  assert int(state.step) == 0
  expected = {name: t.read() for name, t in source.params.items()}
  if scan_layers:
    for name in [n for n in expected if names.split_layer(n)]:
      stack, index, rest = names.split_layer(name)
      layer = expected.pop(name)
      expected.setdefault(f"{stack}/layers/{rest}", {})[index] = layer
  found = _flat(state.params)
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    if isinstance(array, dict):
      array = np.stack([array[i] for i in sorted(array)])
    np.testing.assert_array_equal(found[name], array, name)


def test_lower_types_are_widened(tmp_path):
  source = _source()
  convert.convert(
    source,
    tmp_path / "out",
    convert.Settings(form="huggingface", dtype="bfloat16"),
  )
  found = _flat(_trainer(tmp_path / "out").init().params)
  for name, tensor in source.params.items():
    assert found[name].dtype == np.float32
    lower = tensor.astype(tensors.DTYPES["bfloat16"]).read()
    np.testing.assert_array_equal(found[name], lower.astype(np.float32), name)


def test_another_network_is_named(tmp_path):
  other = dataclasses.replace(CONFIG, mlp_dim=28, num_decoder_layers=2)
  convert.convert(
    _source(other), tmp_path / "out", convert.Settings(form="huggingface")
  )
  with pytest.raises(tensors.CheckpointError) as error:
    _trainer(tmp_path / "out").init()
  message = str(error.value)
  assert "(huggingface) does not hold the parameters of this run's" in message
  # A layer's fourteen, and three matrices each of three layers.
  assert "unknown (14):\n    decoder/layers_1/" in message
  assert "of another shape (9):" in message
  assert "mlp/wo/kernel: found [28, 16], expected [24, 16]" in message


def test_no_checkpoint_at_the_path(tmp_path):
  with pytest.raises(FileNotFoundError, match="gone does not exist"):
    _trainer(tmp_path / "gone").init()
