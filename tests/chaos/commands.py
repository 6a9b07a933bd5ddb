"""The commands that are interrupted, on data that take seconds."""

import dataclasses
import os
import pathlib
import sys

import instructrec

_TRAIN = {
  "TRAIN_STEPS": 80,
  "WARMUP_STEPS": 10,
  "BATCH_SIZE": 4,
  "INPUTS_LENGTH": 64,
  "TARGETS_LENGTH": 16,
  "VOCAB_SIZE": 640,
  # No two of them meet, so that a checkpoint lies anywhere between rows.
  "LOG_PERIOD": 7,
  "EVAL_PERIOD": 25,
  "EVAL_STEPS": 2,
  "EVAL_LISTS": 4,
  "CHECKPOINT_PERIOD": 16,
}


@dataclasses.dataclass(frozen=True)
class Command:
  """A command and where its work is seen.

  Attributes:
    name: of the table.
    args: after `instructrec`; paths are those in one folder.
    inputs: what it reads there.
    output: what it makes there.
    complete: what is there once it is done, and not replaced by the same
      command; None where that goes on or does all again.
    compiles: whether it is faster the second time.
    begins: a file that changes when the long part begins; None where that is
      the first change of all.
  """

  name: str
  args: tuple[str, ...]
  inputs: tuple[str, ...]
  output: str
  complete: str | None = None
  compiles: bool = False
  begins: str | None = None

  def line(self) -> list[str]:
    """To be started in the folder of inputs and output."""
    return [sys.executable, "-m", "instructrec.cli.main", *self.args]


COMMANDS = (
  Command(
    "prepare",
    (
      "prepare",
      "--source=synthetic",
      "--output=prepared",
      "--num_users=100",
      "--num_items=100",
    ),
    inputs=(),
    output="prepared",
    complete="prepared",
  ),
  Command(
    "generate",
    (
      "generate",
      "--data=prepared",
      "--output=instructions",
      "--vocab_size=500",
      "--num_workers=2",
    ),
    inputs=("prepared",),
    output="instructions",
    complete="instructions",
  ),
  Command(
    "train",
    (
      "train",
      "--gin_file=gin/quickstart_token.gin",
      *(f"--gin.{name}={value}" for name, value in _TRAIN.items()),
      "--tfds_data_dir=instructions",
      "--model_dir=model",
    ),
    inputs=("prepared", "instructions"),
    output="model",
    compiles=True,
    begins="model/metrics.jsonl",
  ),
  Command(
    "evaluate",
    (
      "evaluate",
      "--model_dir=model",
      "--output=report",
      "--task_type=sequential_p1_i0",
      "--task_type=personalized_search_p1_i1",
      "--num_requests=40",
      "--num_validation=40",
    ),
    inputs=("prepared", "instructions", "model"),
    output="report",
    compiles=True,
  ),
  Command(
    "retrieve fit",
    (
      "retrieve",
      "fit",
      "--data=prepared",
      "--method=sasrec",
      "--output=sasrec",
      "--max_epochs=3",
    ),
    inputs=("prepared",),
    output="sasrec",
    compiles=True,
    complete="sasrec",
  ),
  Command(
    "checkpoint export",
    (
      "checkpoint",
      "export",
      "--source=model",
      "--output=exported",
      "--format=t5x",
    ),
    inputs=("prepared", "instructions", "model"),
    output="exported",
    complete="exported/checkpoint_0",
  ),
)


def environment(work: pathlib.Path) -> dict[str, str]:
  """Of every command; what one compiled serves the others.

  Args:
    work: where the cache lies.

  Returns:
    The variables.
  """
  return {
    **os.environ,
    # The package that this process found, installed or not.
    "PYTHONPATH": str(pathlib.Path(instructrec.__file__).parents[1]),
    "XDG_CACHE_HOME": str(work / "cache"),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "JAX_PLATFORMS": "cpu",
  }
