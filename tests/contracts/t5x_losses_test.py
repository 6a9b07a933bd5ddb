"""T5X and the embedded runner train alike: the same losses, step by step.

Both get the batches of one `BatchStream` (T5X through `get_dataset_fn`, which
its `train` takes for this) and start from the parameters that T5X drew from
the seed and saved as `checkpoint_0`. Each then runs its own loop, step and
Adafactor, in float32: T5X on a mesh of 2 x 2, the embedded runner on one
device.
"""

import json

import jax
import numpy as np
import pytest

from instructrec.models import ranking_model, tokenizer
from instructrec.models.networks import t5, t5_config
from instructrec.training import data_config, optimizer, runner

pytestmark = [pytest.mark.t5x, pytest.mark.slow, pytest.mark.tf]

STEPS = 5
LEARNING_RATE = 1e-2
# Wide enough for Adafactor to factor the second moments of the matrices.
SIZES = {
  "emb_dim": 128,
  "num_heads": 4,
  "head_dim": 32,
  "num_encoder_layers": 2,
  "num_decoder_layers": 2,
  "mlp_dim": 256,
}

_DATASET = """
import numpy as np
import tensorflow as tf

def get_dataset(cfg, shard_id, num_shards, feature_converter_cls, **unused):
  assert (shard_id, num_shards) == (0, 1)
  return tf.data.Dataset.from_tensor_slices(dict(np.load({path!r})))
"""

_GIN = """
from __gin__ import dynamic_registration

import __main__ as train_script
import dataset_of_batches
from instructrec.models.networks import t5_config
from t5x import utils

train_script.train:
  get_dataset_fn = @dataset_of_batches.get_dataset
  train_eval_dataset_cfg = None
  infer_eval_dataset_cfg = None
  stats_period = 1
utils.SaveCheckpointConfig.save_dataset = False
"""


class _StartingAt(ranking_model.T5RankingModel):
  """The model with given initial parameters."""

  def __init__(self, module, params):
    super().__init__(module)
    self._params = params

  def get_initial_variables(self, rng, input_shapes, input_types=None):
    variables = super().get_initial_variables(rng, input_shapes, input_types)
    same = jax.tree.map(
      lambda a, b: a.shape == b.shape, variables["params"], self._params
    )
    assert all(jax.tree.leaves(same))
    return {**variables, "params": self._params}


@pytest.fixture(scope="module")
def stream(t5x):
  """Packed training batches of all task types."""
  import seqio

  from instructrec.pipelines import registry, streams

  vocabulary = seqio.SentencePieceVocabulary(
    str(t5x.data / "vocabulary" / "sentencepiece.model"),
    extra_ids=tokenizer.EXTRA_IDS,
  )
  registry.register(vocabulary, prefix="losses_v1")
  return streams.open_stream(
    data_config.DataConfig(
      mixture="losses_v1",
      inputs_length=256,
      targets_length=64,
      batch_size=16,
      pack=True,
      modules=(),
    ),
    "train",
    t5x.data,
  )


def _t5x_losses(t5x, stream, folder):
  """Trains under T5X; gives the losses and the initial parameters."""
  import orbax.checkpoint as ocp
  from tensorboard.backend.event_processing import event_accumulator
  from tensorboard.util import tensor_util

  steps = [stream.batch(step) for step in range(STEPS)]
  arrays = {name: np.stack([s[name] for s in steps]) for name in steps[0]}
  np.savez(folder / "batches.npz", **arrays)
  (folder / "dataset_of_batches.py").write_text(
    _DATASET.format(path=str(folder / "batches.npz"))
  )
  sizes = "".join(f"t5_config.T5Config.{k} = {v}\n" for k, v in SIZES.items())
  (folder / "losses.gin").write_text(_GIN + sizes)
  model_dir = folder / "model"
  t5x.run(
    "train",
    "--gin_file=gin/instructrec_small.gin",
    "--gin_file=gin/overrides/tiny.gin",
    f"--gin_file={folder / 'losses.gin'}",
    f"--gin.MODEL_DIR='{model_dir}'",
    f"--gin.TRAIN_STEPS={STEPS}",
    f"--gin.LEARNING_RATE={LEARNING_RATE}",
    "--gin.MODEL_PARALLEL_SUBMESH=(1, 2, 1, 1)",
    devices=4,
    python_path=[folder],
  )
  events = event_accumulator.EventAccumulator(str(model_dir / "train"))
  losses = [
    float(tensor_util.make_ndarray(event.tensor_proto))
    for event in events.Reload().Tensors("loss")
  ]
  checkpointer = ocp.PyTreeCheckpointer()
  path = model_dir / "checkpoint_0" / "state"
  tree = checkpointer.metadata(path).item_metadata.tree
  restored = checkpointer.restore(
    path,
    restore_args=jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
    ),
  )
  return losses, restored["target"]


def test_five_losses_agree(t5x, stream, tmp_path):
  theirs, params = _t5x_losses(t5x, stream, tmp_path)
  module = t5.T5(
    t5_config.T5Config(
      vocab_size=2176, dtype="float32", dropout_rate=0.0, **SIZES
    )
  )
  runner.train(
    runner.TrainConfig(
      model=_StartingAt(module, params),
      optimizer=optimizer.adafactor(LEARNING_RATE),
      train_steps=STEPS,
      log_period=1,
      mean_loss=False,
    ),
    stream,
    None,
    tmp_path / "embedded",
  )
  rows = (tmp_path / "embedded" / "metrics.jsonl").read_text().splitlines()
  ours = [json.loads(row)["loss"] for row in rows]
  assert len(ours) == len(theirs) == STEPS
  assert ours[-1] < ours[0] - 0.5
  np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
