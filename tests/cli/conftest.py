"""A tiny run through the command line, made once for all tests."""

import pathlib

import pytest
from command_line import call

from instructrec.retrieval import run_weights

_TRAIN = [
  "train",
  "--gin_file=gin/quickstart_token.gin",
  "--gin.TRAIN_STEPS=6",
  "--gin.WARMUP_STEPS=2",
  "--gin.BATCH_SIZE=4",
  "--gin.EVAL_PERIOD=3",
  "--gin.EVAL_STEPS=1",
  "--gin.EVAL_LISTS=4",
  "--gin.CHECKPOINT_PERIOD=3",
  "--gin.LOG_PERIOD=2",
]


@pytest.fixture(scope="session")
def train_args():
  """Training that takes seconds."""
  return list(_TRAIN)


_SHARED: list[pathlib.Path] = []


@pytest.fixture(autouse=True)
def no_weights_stay():
  """Weights that are fitted stay with their run, so have one of your own."""
  yield
  for folder in _SHARED:
    assert not (folder / run_weights.FILE).exists()


@pytest.fixture(scope="session")
def instructed(tmp_path_factory):
  """Prepared data and instructions."""
  folder = tmp_path_factory.mktemp("work")
  printed = call(
    "prepare",
    "--source=synthetic",
    f"--output={folder / 'prepared'}",
    "--num_users=60",
    "--num_items=40",
    "--min_interactions=1",
  )
  assert "60 users" in printed
  call(
    "generate",
    f"--data={folder / 'prepared'}",
    f"--output={folder / 'instructions'}",
    "--vocab_size=500",
  )
  return folder


@pytest.fixture(scope="session")
def work(instructed):
  """Prepared data, instructions and a model trained for six steps."""
  _SHARED.append(instructed / "model")
  call(
    *_TRAIN,
    f"--tfds_data_dir={instructed / 'instructions'}",
    f"--model_dir={instructed / 'model'}",
  )
  return instructed
