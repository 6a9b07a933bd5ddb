"""How fast training is fed, beside SeqIO's converter and beside what it eats.

  python benchmarks/feeding.py --json=feeding.json

Makes the quickstart's instructions, then packed batches of one task in three
ways that take turns: ours (`training/batches.py` over the token cache),
SeqIO's `get_dataset` with `EncDecFeatureConverter(pack=True)` over the same
task, and the same over tokens that are held in memory, which spares it reading
and tokenizing. Before anything is timed, both are seen to have the same
examples. Batches have the size and lengths of the XL launch; what a pod needs
follows from the least time of its step (docs/pods.md), which each of its hosts
has to make its own rows in.

Last comes the step of a gin file on this machine, beside making its batch.
Making it is timed alone, though the runner makes it while the step before runs.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import seqio
import tensorflow as tf

from instructrec.cli import generate, prepare
from instructrec.evaluation import environment
from instructrec.models import tokenizer
from instructrec.pipelines import generate as generate_lib
from instructrec.pipelines import streams, token_cache
from instructrec.settings import generation, preparation
from instructrec.training import (
  batches,
  data_config,
  gin_config,
  runner,
  token_dataset,
)
from instructrec.training import ragged as ragged_lib
from instructrec.training import (
  trainer as trainer_lib,
)

_TASK = "instructrec_v1_sequential_p1_i0"
_CACHED = "cached_tokens"

Batch = dict[str, np.ndarray]


def make_data(args: argparse.Namespace, folder: pathlib.Path) -> pathlib.Path:
  """The quickstart's instructions, in a folder."""
  prepare.run(
    preparation.PrepareSettings(
      raw=preparation.SourceSettings(
        source=preparation.Source.synthetic,
        num_users=args.num_users,
        num_items=args.num_items,
      ),
      output=folder / "prepared",
      seed=args.seed,
    )
  )
  generate.run(
    generation.GenerationSettings(
      data=folder / "prepared",
      output=folder / "instructions",
      seed=args.seed,
      num_workers=1,
    )
  )
  model = folder.absolute() / "instructions" / generate_lib.VOCABULARY
  os.environ[tokenizer.ENVIRONMENT_VARIABLE] = str(model)
  import tasks.instructrec  # noqa: F401 - registers the tasks.

  return folder / "instructions"


def register_cached(dataset: token_dataset.TokenDataset) -> None:
  """A SeqIO task over tokens that are in memory."""

  def rows(ragged: ragged_lib.Ragged) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_row_splits(
      np.asarray(ragged.tokens), ragged.offsets
    )

  def source(
    split: str, shuffle_files: bool, seed: int | None = None
  ) -> tf.data.Dataset:
    del split, shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices(
      {"inputs": rows(dataset.inputs), "targets": rows(dataset.targets)}
    )

  seqio.TaskRegistry.add(
    _CACHED,
    source=seqio.FunctionDataSource(source, splits=["train"]),
    preprocessors=[],  # They end with EOS already.
    output_features=seqio.TaskRegistry.get(_TASK).output_features,
  )


def get_dataset(
  args: argparse.Namespace, name: str, **options: Any
) -> tf.data.Dataset:
  """SeqIO's batches of a task's training split."""
  pack = options.pop("pack")
  found = seqio.get_dataset(
    name,
    {"inputs": args.inputs_length, "targets": args.targets_length},
    dataset_split="train",
    feature_converter=seqio.EncDecFeatureConverter(pack=pack),
    seed=args.seed,
    **options,
  )
  return found.batch(args.batch_size, drop_remainder=pack)


def check_same(
  args: argparse.Namespace, dataset: token_dataset.TokenDataset
) -> None:
  """Makes sure that all ways have the same examples.

  Raises:
    ValueError: where SeqIO gives other tokens than the token cache.
  """
  every = np.arange(len(dataset))
  expected = {
    "encoder_input_tokens": dataset.inputs.pad(every, args.inputs_length),
    "decoder_target_tokens": dataset.targets.pad(every, args.targets_length),
  }
  for name in (_TASK, _CACHED):
    once = get_dataset(args, name, pack=False, shuffle=False, num_epochs=1)
    rows = list(once.as_numpy_iterator())
    for key, tokens in expected.items():
      found = np.concatenate([row[key] for row in rows])
      if not np.array_equal(found, tokens):
        raise ValueError(
          f"SeqIO's {key} of {name} are not those of the token cache; timing "
          "other examples would say nothing"
        )


def ours(
  args: argparse.Namespace, dataset: token_dataset.TokenDataset, rows: int
) -> Callable[[], Batch]:
  """Makes the first rows of one batch after the other."""
  stream = batches.BatchStream(
    datasets={_TASK: dataset},
    rates={_TASK: 1.0},
    batch_size=args.batch_size,
    inputs_length=args.inputs_length,
    targets_length=args.targets_length,
    seed=args.seed,
    pack=True,
  )
  steps = itertools.count()
  return lambda: stream.batch(next(steps), np.arange(rows))


def theirs(args: argparse.Namespace, name: str) -> Callable[[], Batch]:
  """Takes SeqIO's next batch, made ahead as T5X has it."""
  endless = get_dataset(args, name, pack=True, shuffle=True, num_epochs=None)
  return endless.prefetch(2).as_numpy_iterator().next


def take_turns(
  ways: dict[str, Callable[[], Batch]], count: int, repeats: int
) -> dict[str, dict[str, list[float]]]:
  """Seconds, examples and tokens of `count` batches, the ways alternating."""
  found: dict[str, dict[str, list[float]]] = {
    name: {"seconds": [], "examples": [], "tokens": []} for name in ways
  }
  for make in ways.values():
    make()
  for _ in range(repeats):
    for name, make in ways.items():
      start = time.perf_counter()
      made = [make() for _ in range(count)]
      found[name]["seconds"].append(time.perf_counter() - start)
      found[name]["examples"].append(
        float(sum(batch["decoder_segment_ids"].max(1).sum() for batch in made))
      )
      found[name]["tokens"].append(
        float(
          sum(
            (batch[key] > 0).sum()
            for batch in made
            for key in ("encoder_input_tokens", "decoder_target_tokens")
          )
        )
      )
  return found


def table(
  args: argparse.Namespace, found: dict[str, dict[str, list[float]]]
) -> str:
  """A Markdown table of the ways, beside what a host of the pod needs."""
  share = args.batch_size // args.pod_hosts
  lines = [
    f"| packed batches by | batches/s | examples/s | tokens/s | ms for {share} "
    "rows | times as fast as the pod needs |",
    "|---|---|---|---|---|---|",
  ]
  for name, way in found.items():
    rates = {
      key: statistics.median(
        value / seconds
        for value, seconds in zip(way[key], way["seconds"], strict=True)
      )
      for key in ("examples", "tokens")
    }
    # The row of a host's share makes no whole batch.
    whole = "share" not in name
    rows = args.batch_size if whole else share
    each = statistics.median(way["seconds"]) / args.batches
    milliseconds = each * share / rows * 1e3
    lines.append(
      f"| {name} | {1 / each:,.1f} | {rates['examples']:,.0f} | "
      f"{rates['tokens']:,.0f} | {milliseconds:,.2f} | "
      f"{args.pod_step_ms / milliseconds:,.1f} |"
    )
  return "\n".join(lines)


def measure_step(
  args: argparse.Namespace, data_dir: pathlib.Path
) -> dict[str, Any]:
  """Seconds of a gin file's step, and of making its batch."""
  gin_config.parse([args.gin_file], args.gin)
  config = gin_config.build(runner.TrainConfig)
  data = gin_config.build(data_config.DataConfig)
  if data.unknown:
    raise ValueError(
      f"{args.gin_file} leaves {', '.join(data.unknown)} to the data; give "
      "lengths, such as --gin=INPUTS_LENGTH=256"
    )
  stream = streams.load(data, "train", data_dir).stream(data)
  shapes = {name: array.shape for name, array in stream.batch(0).items()}
  trainer = trainer_lib.Trainer.create(config, shapes)
  state, rng = trainer.init(), jax.random.key(config.seed)
  making, updating = [], []
  for step in range(args.steps + 1):
    start = time.perf_counter()
    batch = jax.block_until_ready(trainer.batch(stream, step))
    made = time.perf_counter()
    state, _ = trainer.step_fn(state, batch, rng)
    jax.block_until_ready(state)
    making.append(made - start)
    updating.append(time.perf_counter() - made)
  # The first step compiles, and its batch packs a block.
  return {
    "rows": stream.batch_size,
    "inputs_length": stream.inputs_length,
    "targets_length": stream.targets_length,
    "batch_seconds": making[1:],
    "step_seconds": updating[1:],
  }


def measure(args: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
  """Makes the data, checks the ways, times and prints."""
  data_dir = make_data(args, folder)
  start = time.perf_counter()
  dataset = token_cache.load(_TASK, "train", data_dir)
  tokenizing = time.perf_counter() - start
  register_cached(dataset)
  check_same(args, dataset)
  share = args.batch_size // args.pod_hosts
  found = take_turns(
    {
      "InstructRec": ours(args, dataset, args.batch_size),
      f"InstructRec, a host's share ({share} rows)": ours(args, dataset, share),
      "SeqIO": theirs(args, _TASK),
      "SeqIO, tokens in memory": theirs(args, _CACHED),
    },
    args.batches,
    args.repeats,
  )
  print(
    f"\n{len(dataset):,} examples of {_TASK}, tokenized once in "
    f"{tokenizing:.1f} s; batches of {args.batch_size} packed rows of "
    f"{args.inputs_length} + {args.targets_length} tokens; the pod's step "
    f"takes at least {args.pod_step_ms} ms on {args.pod_hosts} hosts\n"
  )
  print(table(args, found))
  step = measure_step(args, data_dir)
  batch_ms, step_ms = (
    statistics.median(step[key]) * 1e3
    for key in ("batch_seconds", "step_seconds")
  )
  print(
    f"\n{args.gin_file} on this machine: {step['rows']} rows of "
    f"{step['inputs_length']} + {step['targets_length']} tokens, a step "
    f"{step_ms:.1f} ms, its batch {batch_ms:.2f} ms: fed "
    f"{step_ms / batch_ms:.0f} times as fast as it eats"
  )
  return {
    "examples": len(dataset),
    "tokenize_seconds": tokenizing,
    "ways": found,
    "step": step,
  }


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--batch_size", type=int, default=64)
  parser.add_argument("--inputs_length", type=int, default=512)
  parser.add_argument("--targets_length", type=int, default=128)
  parser.add_argument("--batches", type=int, default=30, help="of each turn")
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument(
    "--pod_step_ms",
    type=float,
    default=134.0,
    help="least time of a step; that of XL on v5e-32 if left out",
  )
  parser.add_argument("--pod_hosts", type=int, default=4)
  parser.add_argument("--gin_file", default="gin/quickstart_token.gin")
  parser.add_argument(
    "--gin",
    action="append",
    default=["INPUTS_LENGTH=256", "TARGETS_LENGTH=64", "TITLE_LENGTH=24"],
    help="a binding",
  )
  parser.add_argument("--steps", type=int, default=30, help="of the gin file")
  parser.add_argument("--num_users", type=int, default=2000)
  parser.add_argument("--num_items", type=int, default=400)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  if args.batch_size % args.pod_hosts:
    parser.error(
      f"{args.batch_size} rows do not divide over {args.pod_hosts} hosts"
    )
  with tempfile.TemporaryDirectory() as folder:
    measured = measure(args, pathlib.Path(folder))
  if args.json is not None:
    settings = {k: v for k, v in vars(args).items() if k != "json"}
    record = {
      "environment": environment.describe(),
      "load": os.getloadavg(),
      "settings": settings,
      "measured": measured,
    }
    partial = args.json.with_name(args.json.name + ".tmp")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(args.json)


if __name__ == "__main__":
  main()
