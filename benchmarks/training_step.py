"""A training step beside those of Hugging Face and T5X, on this machine.

  PYTHONPATH=${T5X_DIR} python benchmarks/training_step.py --json=step.json

Each row makes the same update from the same weights and the same examples:
loss, gradient and plain SGD in float32, dropout off. The losses of the first
steps are compared before anything is timed, so forward pass, gradient and
update are known to agree. Then the rows take turns, and the medians are
printed as a Markdown table. A row whose library is not installed (torch and
transformers, T5X) is left out and named.

Each row has a process of its own. Ours starts as `instructrec train` does,
and has the C library keep freed memory (`instructrec/allocator.py`); Hugging
Face is there as it is, and with that setting too.

Hugging Face has no packing. In the second table it gets the examples of the
packed rows one a row, which is how it would train on them.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl

import drawn_network
import side_by_side
from instructrec import allocator
from instructrec.evaluation import environment
from instructrec.models import ranking_model
from instructrec.models.networks import t5, t5_config
from instructrec.models.scoring import features
from instructrec.preflight import network_flops
from instructrec.training import batches, ragged, token_dataset, train_step

# Makes one update and returns the loss before it, in nats a target token.
Step = Callable[[], float]

_RATE = 0.1
_CHECKED_STEPS = 3
_TOLERANCE = 1e-4


def make_stream(args: argparse.Namespace, pack: bool) -> batches.BatchStream:
  """Batches of drawn tokens, the lengths uniform up to the longest."""
  rng = np.random.default_rng(args.seed)

  def draw(longest: int) -> ragged.Ragged:
    lengths = rng.integers(longest // 4, longest + 1, args.examples)
    return ragged.Ragged(
      rng.integers(2, args.vocab_size, lengths.sum()).astype(np.int32),
      np.concatenate([[0], np.cumsum(lengths)]),
    )

  dataset = token_dataset.TokenDataset(
    name="drawn",
    inputs=draw(args.inputs_length),
    targets=draw(args.targets_length),
    lists=None,
    columns=pl.DataFrame(),
    meta={},
  )
  return batches.BatchStream(
    datasets={"drawn": dataset},
    rates={"drawn": 1.0},
    batch_size=args.batch_size,
    inputs_length=args.inputs_length,
    targets_length=args.targets_length,
    seed=args.seed,
    pack=pack,
  )


def ours(config: t5_config.T5Config, params: Any, batch: Any) -> Step:
  """The step that `instructrec train` runs, as it runs it."""
  allocator.keep_freed_memory()
  model = ranking_model.NetworkRankingModel(t5.T5(config), z_loss=0.0)
  optimizer = optax.sgd(_RATE)

  step = jax.jit(
    lambda state, batch, rng: train_step.train_step(
      state, batch, rng, model=model, optimizer=optimizer
    ),
    donate_argnums=0,
  )
  state = train_step.start_from(jax.tree.map(jnp.copy, params), optimizer)
  rng = jax.random.key(0)

  def run() -> float:
    nonlocal state
    state, metrics = step(state, batch, rng)
    jax.block_until_ready(state)
    return float(metrics["loss"].compute())

  return run


def t5x(config: t5_config.T5Config, params: Any, batch: Any) -> Step:
  """T5X's `examples/t5` with the loss of its `EncoderDecoderModel`."""
  from t5x.examples.t5 import network

  import t5x_t5

  model = t5x_t5.build(network, config, z_loss=0.0)

  def update(params, batch):
    grad_fn = jax.value_and_grad(model.loss_fn, has_aux=True)
    (loss, _), grads = grad_fn(params, batch, None)
    tokens = batch["decoder_loss_weights"].sum()
    return (
      jax.tree.map(lambda p, g: p - _RATE * (g / tokens), params, grads),
      loss / tokens,
    )

  step = jax.jit(update, donate_argnums=0)
  held = jax.tree.map(jnp.copy, params)

  def run() -> float:
    nonlocal held
    held, loss = step(held, batch)
    jax.block_until_ready(held)
    return float(loss)

  return run


def hugging_face(config: t5_config.T5Config, params: Any, batch: Any) -> Step:
  """`T5ForConditionalGeneration` and `torch.optim.SGD`."""
  import torch

  import hf_t5

  model = hf_t5.build(config, params)
  model.train()
  optimizer = torch.optim.SGD(model.parameters(), lr=_RATE)
  inputs = torch.tensor(batch["encoder_input_tokens"], dtype=torch.long)
  targets = torch.tensor(batch["decoder_target_tokens"], dtype=torch.long)
  arguments = {
    "input_ids": inputs,
    "attention_mask": (inputs != 0).long(),
    "labels": targets.masked_fill(targets == 0, -100),
    "use_cache": False,
  }

  def run() -> float:
    optimizer.zero_grad(set_to_none=True)
    loss = model(**arguments).loss
    loss.backward()
    optimizer.step()
    return loss.item()

  return run


def hugging_face_keeping_memory(*arguments: Any) -> Step:
  """`hugging_face` with our setting of the allocator."""
  allocator.keep_freed_memory()
  return hugging_face(*arguments)


ROWS = {
  "InstructRec": (ours, ()),
  "Hugging Face": (hugging_face, ("torch", "transformers")),
  "Hugging Face, freed memory kept": (
    hugging_face_keeping_memory,
    ("torch", "transformers"),
  ),
  "T5X": (t5x, ("t5x", "seqio")),
}


def one_a_row(stream: batches.BatchStream, step: int) -> dict[str, np.ndarray]:
  """The examples of a packed batch, unpacked, in the same order."""
  pairs = [pair for row in stream.examples(step) for pair in row]
  picked = np.array([example for _, example in pairs])
  (dataset,) = stream.datasets.values()
  return features.to_features(
    dataset.inputs.pad(picked, stream.inputs_length),
    dataset.targets.pad(picked, stream.targets_length),
  )


def check_losses(steps: dict[str, Step]) -> list[float]:
  """Losses of the first steps, the same in all rows.

  Raises:
    ValueError: where they differ by more than one part in ten thousand.
  """
  losses = {
    name: [step() for _ in range(_CHECKED_STEPS)]
    for name, step in steps.items()
  }
  first = next(iter(losses.values()))
  for name, found in losses.items():
    if not np.allclose(found, first, rtol=_TOLERANCE, atol=0.0):
      raise ValueError(
        f"{name} has the losses {found}, expected those of the first row, "
        f"{first}; timing different computations would say nothing"
      )
  return first


def batch_seconds(stream: batches.BatchStream, steps: int = 50) -> float:
  """Median seconds to make a batch, packing included."""
  seconds = []
  for step in range(steps):
    start = time.perf_counter()
    stream.batch(step)
    seconds.append(time.perf_counter() - start)
  return statistics.median(seconds)


def matrix_rate(size: int = 1024, repeats: int = 10) -> float:
  """FLOPs a second of a plain float32 matrix product on this machine."""
  matrix = jnp.ones((size, size))
  product = jax.jit(jnp.dot)
  product(matrix, matrix).block_until_ready()
  best = float("inf")
  for _ in range(repeats):
    start = time.perf_counter()
    product(matrix, matrix).block_until_ready()
    best = min(best, time.perf_counter() - start)
  return 2 * size**3 / best


def measure(
  args: argparse.Namespace, config: t5_config.T5Config, pack: bool
) -> dict[str, Any]:
  """Checks and times all rows on one batch."""
  stream = make_stream(args, pack)
  batch = stream.batch(0)
  unpacked = one_a_row(stream, 0) if pack else batch
  params = drawn_network.params(
    ranking_model.NetworkRankingModel(t5.T5(config)), args.seed
  )
  left_out = side_by_side.missing({name: row[1] for name, row in ROWS.items()})
  params = jax.tree.map(np.asarray, params)
  with contextlib.ExitStack() as processes:
    steps = {
      name: processes.enter_context(
        side_by_side.in_a_process(
          make, config, params, unpacked if "torch" in libraries else batch
        )
      )
      for name, (make, libraries) in ROWS.items()
      if name not in left_out
    }
    losses = check_losses(steps)
    seconds = side_by_side.take_turns(steps, args.repeats)
  real = int((batch["encoder_input_tokens"] > 0).sum()) + int(
    (batch["decoder_target_tokens"] > 0).sum()
  )
  flops = 3 * network_flops.forward_flops(
    config,
    rows=len(batch["encoder_input_tokens"]),
    inputs_length=args.inputs_length,
    targets_length=args.targets_length,
  )
  return {
    "packed": pack,
    "rows": len(batch["encoder_input_tokens"]),
    "examples": len(unpacked["encoder_input_tokens"]),
    "tokens": real,
    "model_flops": flops,
    "losses": losses,
    "batch_seconds": batch_seconds(stream),
    "seconds": seconds,
    "left_out": left_out,
  }


def table(found: dict[str, Any], rate: float) -> str:
  """A Markdown table of one measurement."""
  kind = "packed" if found["packed"] else "one example a row"
  mine = statistics.median(found["seconds"]["InstructRec"])
  rows = []
  for name, seconds in found["seconds"].items():
    median = statistics.median(seconds)
    rows.append(
      [
        name,
        f"{median * 1e3:.0f}",
        f"{min(seconds) * 1e3:.0f}",
        f"{found['tokens'] / median:,.0f}",
        f"{found['model_flops'] / median / rate:.0%}",
        f"{median / mine:.2f}",
      ]
    )
  return (
    f"{found['rows']} rows, {kind}: {found['examples']} examples, "
    f"{found['tokens']:,} tokens, {found['model_flops'] / 1e9:.1f} GFLOP a "
    f"step; first loss {found['losses'][0]:.5f}; making the batch takes "
    f"{found['batch_seconds'] * 1e3:.2f} ms\n\n"
    + side_by_side.table(
      [
        "step of",
        "median ms",
        "fastest ms",
        "tokens/s",
        "of a matrix product's rate",
        "times as long as ours",
      ],
      rows,
      found["left_out"],
    )
  )


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--batch_size", type=int, default=8)
  parser.add_argument("--inputs_length", type=int, default=256)
  parser.add_argument("--targets_length", type=int, default=64)
  drawn_network.add_arguments(
    parser, emb_dim=256, num_heads=4, mlp_dim=512, num_layers=4
  )
  parser.add_argument("--examples", type=int, default=256, help="to draw from")
  parser.add_argument("--repeats", type=int, default=9)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  config = drawn_network.config(args)
  rate = matrix_rate()
  about = environment.describe("torch", "transformers")
  about |= {
    "load": os.getloadavg(),
    "matrix_flops_per_second": rate,
    "versions": about.pop("packages"),
  }
  print(
    f"{about['processor']}, {about['cores']} cores, matrix product "
    f"{rate / 1e9:.0f} GFLOP/s; "
    + ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
  )
  found = []
  for pack in (False, True):
    found.append(measure(args, config, pack))
    print("\n" + table(found[-1], rate))
  if args.json is not None:
    sizes = {k: v for k, v in vars(args).items() if k != "json"}
    record = {"machine": about, "settings": sizes, "measured": found}
    side_by_side.write_json(args.json, record)


if __name__ == "__main__":
  main()
