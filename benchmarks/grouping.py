"""Training steps on rows that are alike in length, beside rows by chance.

  python benchmarks/grouping.py --gin_file=gin/quickstart.gin \
    --tfds_data_dir=work/instructions --json=grouping.json

Both take the same rows of the same data, a window of batches at a time
(`instructrec/training/length_groups.py`), from the same start, with the run's
own network, objective and optimizer. They take turns, and medians are printed
as a Markdown table; so are the shapes that were compiled, which each run pays
for once, and how much of the text is padding.
"""

import argparse
import collections
import dataclasses
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import side_by_side
from instructrec import allocator
from instructrec.evaluation import environment
from instructrec.pipelines import training_data
from instructrec.training import (
  batches,
  data_config,
  gin_config,
  length_groups,
  runner,
)
from instructrec.training import mesh as mesh_lib
from instructrec.training import trainer as trainer_lib

BY_CHANCE, ALIKE = "by chance", "alike in length"


def text_width(batch: dict[str, Any]) -> int:
  """Positions of a batch's text, and of its histories where these are apart."""
  names = ("encoder_input_tokens", "history_items")
  return sum(batch[name].shape[1] for name in names if name in batch)


def shape(batch: dict[str, Any]) -> str:
  """A batch's widths, in words."""
  text = f"{batch['encoder_input_tokens'].shape[1]} tokens"
  if "history_items" not in batch:
    return text
  return f"{text}, {batch['history_items'].shape[1]} items"


class Window:
  """Updates on all batches of a window, from a state of its own.

  Attributes:
    shapes: how many batches have each shape.
    first_seconds: of the first turn, in which all of them are compiled.
    padding: share of the positions that hold nothing.
  """

  def __init__(
    self, config: runner.TrainConfig, stream: batches.BatchStream
  ) -> None:
    made = trainer_lib.Trainer.create(config, stream.shapes)
    self._trainer = made.for_groups(stream)
    self._state = self._trainer.init()
    steps = range(length_groups.WINDOW)
    self._batches = [self._trainer.batch(stream, step) for step in steps]
    self.shapes = collections.Counter(shape(b) for b in self._batches)
    held = sum(
      int((np.asarray(batch[name]) > 0).sum())
      for batch in self._batches
      for name in ("encoder_input_tokens", "history_items")
      if name in batch
    )
    room = sum(text_width(b) for b in self._batches) * stream.batch_size
    self.padding = 1 - held / room
    start = time.perf_counter()
    self()
    self.first_seconds = time.perf_counter() - start

  def __call__(self) -> None:
    """One update a batch."""
    rng = jax.random.key(0)
    for batch in self._batches:
      self._state, _ = self._trainer.step_fn(self._state, batch, rng)
    jax.block_until_ready(self._state)


def measure(args: argparse.Namespace) -> dict[str, Any]:
  """Compiles and times both."""
  allocator.keep_freed_memory()
  gin_config.parse(
    args.gin_file, ["EVAL_LISTS = 0", "BEST_METRIC = None", *args.binding]
  )
  config = gin_config.build(runner.TrainConfig)
  data = gin_config.build(data_config.DataConfig)
  opened = training_data.TrainingData.open(args.tfds_data_dir, config, data)
  streams = {
    BY_CHANCE: opened.stream.ungrouped,
    ALIKE: dataclasses.replace(opened.stream, grouped=True),
  }
  with mesh_lib.use(mesh_lib.make_mesh(config.mesh), config.mesh):
    windows = {name: Window(config, s) for name, s in streams.items()}
    runs: dict[str, Callable[[], Any]] = dict(windows)
    watched, cpu = side_by_side.with_cpu(runs)
    seconds = side_by_side.take_turns(watched, args.repeats)
  return {
    name: {
      "seconds": seconds[name],
      "processor_seconds": cpu[name],
      "first_seconds": window.first_seconds,
      "padding": window.padding,
      "shapes": dict(window.shapes),
    }
    for name, window in windows.items()
  }


def table(found: dict[str, Any]) -> str:
  """A Markdown table, and the shapes below it."""
  least = statistics.median(found[ALIKE]["seconds"])
  rows = []
  for name, row in found.items():
    median = statistics.median(row["seconds"])
    cpu = statistics.median(row["processor_seconds"])
    rows.append(
      [
        name,
        f"{row['padding']:.0%}",
        f"{median / length_groups.WINDOW * 1e3:.1f}",
        f"{cpu / length_groups.WINDOW * 1e3:.1f}",
        f"{median / least:.2f}",
        f"{len(row['shapes'])}",
        f"{row['first_seconds']:.0f}",
      ]
    )
  head = [
    "rows",
    "padding",
    "median ms a step",
    "processor ms a step",
    "times as long",
    "shapes",
    "first window with compilation, s",
  ]
  shapes = "; ".join(
    f"{count} of {name}"
    for name, count in sorted(found[ALIKE]["shapes"].items())
  )
  return f"{side_by_side.table(head, rows, {})}\n\nBatches: {shapes}."


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--gin_file", action="append", required=True, help="of a run; repeated"
  )
  parser.add_argument(
    "--binding",
    action="append",
    default=[],
    help="of gin, such as 'NUM_ITEMS = 500'; repeated",
  )
  parser.add_argument("--tfds_data_dir", type=pathlib.Path, required=True)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  found = measure(args)
  print(table(found))
  if args.json is not None:
    settings = {k: v for k, v in vars(args).items() if k != "json"}
    record = {
      "machine": environment.describe(),
      "settings": settings,
      "measured": found,
    }
    side_by_side.write_json(args.json, record)


if __name__ == "__main__":
  main()
