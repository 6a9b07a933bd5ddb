"""A tiny run that learns to copy; also what other processes start.

Found by name in tests and in scripts: `conftest.py` and they put this folder on
the path.
"""

import json
import pathlib
import time

import jax
import numpy as np

from instructrec.models import ranking_model
from instructrec.models.networks import t5, t5_config
from instructrec.training import (
  batches,
  checkpoints,
  mesh,
  optimizer,
  runner,
  token_dataset,
)
from instructrec.training import ragged as ragged_lib
from instructrec.training import (
  trainer as trainer_lib,
)


def dataset(seed=0, count=64):
  """Targets that repeat the first input tokens: something to learn."""
  import polars as pl

  rng = np.random.default_rng(seed)
  inputs = rng.integers(3, 60, (count, 8)).astype(np.int32)
  inputs[:, -1] = 1
  targets = np.concatenate([inputs[:, :4], inputs[:, -1:]], axis=1)

  def ragged(rows):
    return ragged_lib.Ragged(
      rows.reshape(-1), np.arange(len(rows) + 1) * rows.shape[1]
    )

  return token_dataset.TokenDataset(
    "copy/train",
    ragged(inputs),
    ragged(targets),
    None,
    pl.DataFrame(),
    {"fingerprint": str(seed)},
  )


def stream(*, pack=False, seed=0):
  return batches.BatchStream(
    datasets={"copy": dataset()},
    rates={"copy": 1.0},
    batch_size=8,
    inputs_length=16,
    targets_length=12,
    seed=seed,
    pack=pack,
  )


def model(dropout=0.1, loss_chunks=1):
  config = t5_config.T5Config(
    vocab_size=64,
    dtype="float32",
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
    head_dim=8,
    mlp_dim=32,
    dropout_rate=dropout,
  )
  return ranking_model.NetworkRankingModel(
    t5.T5(config), loss_chunks=loss_chunks
  )


def train_config(
  *,
  steps,
  data=1,
  model_axis=1,
  shard_parameters=False,
  shard_sequence=False,
  chunked_loss=False,
  **changes,
):
  return runner.TrainConfig(
    **{
      "model": model(
        changes.pop("dropout", 0.1), loss_chunks=4 if chunked_loss else 1
      ),
      "optimizer": optimizer.adamw(1e-2),
      "train_steps": steps,
      "mesh": mesh.MeshConfig(
        data=data,
        model=model_axis,
        shard_parameters=shard_parameters,
        shard_sequence=shard_sequence,
      ),
      "log_period": 1,
      "checkpoint_period": 4,
      "eval_period": 4,
      "eval_steps": 2,
      **changes,
    }
  )


def run(
  directory, *, steps, data=1, model=1, delay=0.0, unvalidated=False, **changes
):
  source = stream(pack=True)
  if delay:
    # Gives the test time to kill the run between two checkpoints.
    inner = type(source).batch
    type(source).batch = lambda *args: (time.sleep(delay), inner(*args))[1]
  config = train_config(steps=steps, data=data, model_axis=model, **changes)
  validation = None if unvalidated else stream(seed=1)
  return runner.train(config, source, validation, directory)


def losses(directory, split="train"):
  lines = (pathlib.Path(directory) / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return {r["step"]: r["loss"] for r in rows if r["split"] == split}


def params(directory, step):
  shapes = {
    "encoder_input_tokens": (8, 16),
    "decoder_input_tokens": (8, 12),
    "decoder_target_tokens": (8, 12),
  }
  config = train_config(steps=1)
  trainer = trainer_lib.Trainer.create(config, shapes)
  store = checkpoints.Checkpoints(pathlib.Path(directory) / "checkpoints")
  return store.restore_params(trainer.abstract_state.params, step)


def assert_trees_equal(a, b, **tolerance):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def rows(directory):
  """The rows of the log, without what depends on the clock."""
  lines = (pathlib.Path(directory) / "metrics.jsonl").read_text().splitlines()
  found = [json.loads(line) for line in lines]
  for row in found:
    row.pop("steps_per_s", None)
    row.pop("tokens_per_s", None)
  return found
