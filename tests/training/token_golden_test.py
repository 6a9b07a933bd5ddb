"""Token likelihood trains as it did before there were other objectives.

The losses are those of commit 948d3d9, from its own gin/quickstart.gin: on one
machine equal to the last digit, with the parameters after the last step.
"""

import jax
import numpy as np
import pytest

from instructrec.training import gin_config, mesh, runner
from instructrec.training import trainer as trainer_lib

# The first update has the rate zero; the two after it change what is learnt.
ROWS, INPUTS, TARGETS, STEPS = 16, 256, 32, 4
GOLDEN = {
  (): (
    8.279345512390137,
    8.233716011047363,
    8.248395919799805,
    8.220458984375,
  ),
  ("NUM_MICROBATCHES = 2",): (
    8.229105949401855,
    8.161362648010254,
    8.153409004211426,
    8.226957321166992,
  ),
}


def packed(rng):
  """A batch of random tokens; up to three examples share a row."""

  def segments(width):
    found = np.sort(rng.integers(1, 4, (ROWS, width)), axis=1)
    return found.astype(np.int32)

  targets = rng.integers(2, 2000, (ROWS, TARGETS)).astype(np.int32)
  inputs_of, targets_of = segments(INPUTS), segments(TARGETS)
  inputs = rng.integers(2, 2000, (ROWS, INPUTS)).astype(np.int32)
  for array in (inputs, inputs_of):
    array[:, 240:] = 0
  for array in (targets, targets_of):
    array[:, 28:] = 0
  starts = np.diff(targets_of, axis=1, prepend=0) != 0
  shifted = np.pad(targets, ((0, 0), (1, 0)))[:, :-1]
  return {
    "encoder_input_tokens": inputs,
    "decoder_input_tokens": np.where(starts, 0, shifted).astype(np.int32),
    "decoder_target_tokens": targets,
    "decoder_loss_weights": (targets > 0).astype(np.int32),
    "encoder_segment_ids": inputs_of,
    "decoder_segment_ids": targets_of,
    "encoder_positions": np.zeros_like(inputs_of),
    "decoder_positions": np.zeros_like(targets_of),
  }


@pytest.mark.parametrize("bindings", GOLDEN)
def test_the_losses_are_those_of_before(bindings):
  rng = np.random.default_rng(0)
  batches = [packed(rng) for _ in range(STEPS)]
  gin_config.parse(
    ["gin/quickstart_token.gin"],
    ["DROPOUT_RATE = 0.1", "WARMUP_STEPS = 2", "TRAIN_STEPS = 10", *bindings],
  )
  config = gin_config.build(runner.TrainConfig)
  trainer = trainer_lib.Trainer.create(
    config,
    {name: array.shape for name, array in batches[0].items()},
    jax.devices()[:1],
  )
  state = trainer.init()
  losses = []
  with mesh.use(trainer.mesh, config.mesh):
    for batch in batches:
      state, metrics = trainer.step_fn(
        state,
        mesh.global_batch(trainer.mesh, batch, ROWS),
        jax.random.key(config.seed),
      )
      losses.append(float(metrics["loss"].compute()))
  # Other processors add in another order.
  np.testing.assert_allclose(losses, GOLDEN[bindings], rtol=2e-6)
