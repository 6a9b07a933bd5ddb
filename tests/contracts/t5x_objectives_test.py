"""Real T5X trains every objective, from a public checkpoint's tensors."""

import json

import numpy as np
import pytest

from instructrec.models.checkpoint import convert, names, opening, tensors
from instructrec.models.networks import t5_config

pytestmark = [pytest.mark.t5x, pytest.mark.slow, pytest.mark.tf]

ITEMS = "--gin_file=gin/runs/t5x_items.gin"
START = 100
# That of gin/overrides/tiny.gin.
CONFIG = t5_config.T5Config(
  vocab_size=2176,
  emb_dim=64,
  num_heads=4,
  head_dim=16,
  num_encoder_layers=2,
  num_decoder_layers=2,
  mlp_dim=128,
)
SETTINGS = (
  "--gin.INPUTS_LENGTH=64",
  "--gin.EVAL_PERIOD=2",
  "--gin.EVAL_STEPS=1",
  "--gin.CHECKPOINT_PERIOD=2",
  "--gin.LOG_PERIOD=1",
  "--gin.EVALUATOR_NUM_EXAMPLES=8",
  "--gin.LEARNING_RATE=1e-3",
  "--gin.DROPOUT_RATE=0.1",
  "--gin.MODEL_PARALLEL_SUBMESH=(1, 2, 1, 1)",
)


def objective_file(name):
  return f"--gin_file=gin/objectives/{name}.gin"


@pytest.fixture(scope="module")
def source():
  """A T5 of random numbers, without what title matching adds."""
  rng = np.random.default_rng(0)
  params = {
    name: tensors.from_array(
      (0.1 * rng.standard_normal(p.shape)).astype(np.float32), name
    )
    for name, p in names.parameters(CONFIG).items()
  }
  return tensors.Checkpoint(
    "memory", "instructrec", START, params, {}, config=CONFIG
  )


def losses(folder):
  from tensorboard.backend.event_processing import event_accumulator
  from tensorboard.util import tensor_util

  events = event_accumulator.EventAccumulator(str(folder / "train")).Reload()
  return {
    event.step: float(tensor_util.make_ndarray(event.tensor_proto))
    for event in events.Tensors("loss")
  }


def metrics(folder):
  """The last line of the metrics of sequential candidate lists."""
  path = "inference_eval/instructrec_v1_sequential_p1_i0_rerank_items"
  text = (folder / f"{path}-metrics.jsonl").read_text()
  return json.loads(text.splitlines()[-1])


@pytest.mark.parametrize(
  ("objective", "form", "resumes"),
  [
    ("next_item", "t5x_legacy", True),
    ("listwise", "t5x_legacy", True),
    ("next_item_and_token", "t5x", False),
  ],
)
def test_it_starts_trains_and_resumes(
  t5x, source, objective, form, resumes, tmp_path
):
  convert.convert(
    source, tmp_path / "start", convert.Settings(form=form, step=START)
  )
  model_dir = tmp_path / "model"
  settings = list(SETTINGS)
  if form == "t5x":
    # T5X would look for a position in the data in the initial checkpoint too.
    settings.append("--gin.utils.SaveCheckpointConfig.save_dataset=False")
  outputs = [
    t5x.run(
      "train",
      "--gin_file=gin/instructrec_xl.gin",
      "--gin_file=gin/overrides/tiny.gin",
      ITEMS,
      objective_file(objective),
      *settings,
      # Microbatches may change from one start to the next.
      f"--gin.NUM_MICROBATCHES={None if steps == START + 2 else 2}",
      f"--gin.MODEL_DIR='{model_dir}'",
      f"--gin.TRAIN_STEPS={steps}",
      "--gin.INITIAL_CHECKPOINT_PATH="
      f"'{tmp_path / 'start' / f'checkpoint_{START}'}'",
      devices=4,
    )
    for steps in (START + 2, START + 4)[: 1 + resumes]
  ]
  titles = objective.startswith("next_item")
  said = "the initial checkpoint lacks"
  assert (said in outputs[0]) == titles
  assert f"Starting main loop over steps {START}-{START + 2}" in outputs[0]
  first = opening.open_checkpoint(model_dir, START).params
  new = first.keys() - source.params.keys()
  assert bool(new) == titles
  assert all(name.startswith("title_matching/") for name in new)
  for name, tensor in source.params.items():
    np.testing.assert_array_equal(first[name].read(), tensor.read(), name)
  found = losses(model_dir)
  assert all(np.isfinite(loss) for loss in found.values())
  assert metrics(model_dir)["num_nan"] == 0
  if resumes:
    assert said not in outputs[1]
    assert f"steps {START + 2}-{START + 4}" in outputs[1]
  assert list(found) == list(range(START + 1, START + 3 + 2 * resumes))
  if objective == "next_item":
    _evaluate(t5x, model_dir, objective, tmp_path)


def _evaluate(t5x, model_dir, objective, tmp_path):
  """`eval.py` reads the arrays of items as the evaluation in training does."""
  t5x.run(
    "eval",
    "--gin_file=gin/instructrec_eval.gin",
    "--gin_file=gin/models/xl.gin",
    "--gin_file=gin/overrides/tiny.gin",
    "--gin_file=gin/runs/t5x_items_eval.gin",
    objective_file(objective),
    "--gin.INPUTS_LENGTH=64",
    "--gin.SPLIT='validation'",
    "--gin.EVALUATOR_NUM_EXAMPLES=8",
    f"--gin.CHECKPOINT_PATH='{model_dir / f'checkpoint_{START + 4}'}'",
    f"--gin.EVAL_OUTPUT_DIR='{tmp_path / 'eval'}'",
  )
  found = metrics(tmp_path / "eval")
  expected = metrics(model_dir)
  assert found["step"] == expected["step"] == START + 4
  assert found == pytest.approx(expected)
