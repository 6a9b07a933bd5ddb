"""Scoring a candidate list beside T5X, Hugging Face and a cross-encoder.

  PYTHONPATH=${T5X_DIR} python benchmarks/scoring.py --json=scoring.json

One request is an instruction and 20 candidate titles, drawn from a seed; the
network is T5 1.1 small with random weights, float32, the same in all rows. All
rows score the same request and are compared before anything is timed (a
cross-encoder has other scores: it is only timed). Then they take turns, and
the medians are printed as a Markdown table. A row whose library is not
installed (torch and transformers, T5X) is left out and named. All rows share a
process, in which the C library keeps freed memory (`instructrec/allocator.py`).

The floor is the time of the request's matrix products and nothing else: the
FLOPs of encoder, decoder and logits, counted by formula, each over the fastest
rate of plain products of their size, which take their turns with the rows.
"""

import argparse
import dataclasses
import functools
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import drawn_network
import side_by_side
from instructrec import allocator
from instructrec.evaluation import environment
from instructrec.models import ranking_model
from instructrec.models.networks import network, t5, t5_config
from instructrec.models.scoring import candidate_tree, features

# Scores the request; a NumPy or torch array of one score a candidate.
Run = Callable[[], Any]

_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Work:
  """What every row is given.

  Attributes:
    config: the network.
    params: its parameters.
    inputs: instruction tokens, [1, inputs].
    targets: candidate tokens, [1, candidates, length], 0 where padded.
  """

  config: t5_config.T5Config
  params: Any
  inputs: np.ndarray
  targets: np.ndarray

  @property
  def model(self) -> ranking_model.NetworkRankingModel:
    """The network as a ranking model."""
    return ranking_model.NetworkRankingModel(t5.T5(self.config))

  @property
  def one_example_a_candidate(self) -> dict[str, np.ndarray]:
    """A batch in which the instruction stands once for each candidate."""
    count = self.targets.shape[1]
    return features.to_features(
      np.repeat(self.inputs, count, axis=0), self.targets[0]
    )


def draw(args: argparse.Namespace, inputs_length: int) -> Work:
  """A request and a network, by the seed; lengths are uniform."""
  rng = np.random.default_rng(args.seed)
  config = drawn_network.config(args)
  shape = (args.candidates, args.targets_length)
  tokens = rng.integers(2, args.vocab_size, shape)
  lengths = rng.integers(
    args.shortest, args.targets_length + 1, args.candidates
  )
  tokens[np.arange(args.candidates), lengths - 1] = 1
  tokens[np.arange(args.targets_length) >= lengths[:, None]] = 0
  model = ranking_model.NetworkRankingModel(t5.T5(config))
  return Work(
    config=config,
    params=drawn_network.params(model, args.seed),
    inputs=rng.integers(2, args.vocab_size, (1, inputs_length)).astype(
      np.int32
    ),
    targets=tokens[None].astype(np.int32),
  )


def ours(work: Work) -> Run:
  """What `instructrec evaluate` runs, the tree included."""
  score = jax.jit(work.model.score_batch)
  size = int(candidate_tree.num_nodes(work.targets)[0])

  def run() -> np.ndarray:
    batch = candidate_tree.to_features(work.inputs, work.targets, size)
    return np.asarray(score(work.params, batch))[0]

  return run


def lists(work: Work) -> Run:
  """Ours without the tree: candidates padded to the longest."""
  score = jax.jit(work.model.score_batch)
  batch = features.to_features(work.inputs, work.targets)
  return lambda: np.asarray(score(work.params, batch))[0]


def repeated(work: Work) -> Run:
  """Our network, one example a candidate."""
  score = jax.jit(work.model.score_batch)
  batch = work.one_example_a_candidate
  return lambda: np.asarray(score(work.params, batch))


def t5x(work: Work) -> Run:
  """T5X's own network and `score_batch`, one example a candidate."""
  from t5x.examples.t5 import network

  import t5x_t5

  model = t5x_t5.build(network, work.config)
  score = jax.jit(model.score_batch)
  batch = work.one_example_a_candidate
  return lambda: np.asarray(score(work.params, batch))


def _hugging_face(work: Work, name: str) -> Run:
  """A function of `hf_t5` over the request."""
  import torch

  import hf_t5

  model = hf_t5.build(work.config, work.params)
  score = getattr(hf_t5, name)
  inputs = torch.tensor(work.inputs, dtype=torch.long)
  targets = torch.tensor(work.targets[0], dtype=torch.long)

  @torch.inference_mode()
  def run() -> Any:
    return score(model, inputs, targets)

  return run


def hugging_face_naive(work: Work) -> Run:
  """The instruction repeated for each candidate."""
  return _hugging_face(work, "naive_scores")


def hugging_face_reused(work: Work) -> Run:
  """One encoder pass for all candidates."""
  return _hugging_face(work, "reused_scores")


def cross_encoder(work: Work) -> Run:
  """An encoder of as many layers, once over instruction and candidate."""
  layers = work.config.num_encoder_layers + work.config.num_decoder_layers
  module = t5.T5(
    dataclasses.replace(
      work.config, num_encoder_layers=layers, num_decoder_layers=1
    )
  )
  count = work.targets.shape[1]
  tokens = np.concatenate(
    [np.repeat(work.inputs, count, axis=0), work.targets[0]], axis=1
  )
  settings = {"method": "read", "enable_dropout": False}
  params = jax.jit(functools.partial(module.init, **settings))(
    jax.random.key(0), network.Prompt(tokens[:, :8])
  )
  read = functools.partial(module.apply, **settings)
  score = jax.jit(
    lambda params, x: read(params, network.Prompt(x)).output[:, 0].sum(-1)
  )
  return lambda: np.asarray(score(params, tokens))


ROWS: dict[str, tuple[Callable[[Work], Run], tuple[str, ...]]] = {
  "InstructRec": (ours, ()),
  "InstructRec, padded lists": (lists, ()),
  "InstructRec, one example a candidate": (repeated, ()),
  "T5X, one example a candidate": (t5x, ("t5x", "seqio")),
  "Hugging Face, naive": (hugging_face_naive, ("torch", "transformers")),
  "Hugging Face, encoder reused": (
    hugging_face_reused,
    ("torch", "transformers"),
  ),
  "cross-encoder of equal size": (cross_encoder, ()),
}


def needed_flops(work: Work) -> dict[str, float]:
  """Multiplications and additions of the matrix products that must be done.

  Each distinct prefix is decoded once and looks at itself and at the prefixes
  that it continues; padding costs nothing.
  """
  config, length = work.config, work.inputs.shape[1]
  nodes = int(candidate_tree.num_nodes(work.targets)[0])
  depths = candidate_tree.to_features(work.inputs, work.targets, nodes)[
    "decoder_positions"
  ]
  square = config.emb_dim * config.joined_dim
  mlp = (len(config.mlp_activations) + 1) * config.emb_dim * config.mlp_dim
  per_key = 2 * config.joined_dim  # Logits and weighted sum.
  encoder = config.num_encoder_layers * (
    length * (4 * square + mlp) + length**2 * per_key
  )
  decoder = config.num_decoder_layers * (
    nodes * (6 * square + mlp)
    + 2 * length * square
    + (nodes * length + int((depths + 1).sum())) * per_key
  )
  return {
    "encoder": 2.0 * encoder,
    "decoder": 2.0 * decoder,
    "logits": 2.0 * nodes * config.emb_dim * config.vocab_size,
  }


def plain_products(work: Work) -> dict[str, tuple[Run, float]]:
  """Products of the sizes of each part, and their FLOPs.

  Those of the stacks have the size of their feed-forward blocks, a matrix of
  its own for each layer; the logits' are theirs.
  """
  config, length = work.config, work.inputs.shape[1]
  nodes = int(candidate_tree.num_nodes(work.targets)[0])
  sizes = {
    "encoder": (length, config.mlp_dim, config.num_encoder_layers),
    "decoder": (nodes, config.mlp_dim, config.num_decoder_layers),
    "logits": (nodes, config.vocab_size, 1),
  }
  multiply = jax.jit(lambda left, rights: [left @ right for right in rights])
  again = 5  # Times a turn, so that what ran before is no part of the rate.

  def make(rows: int, columns: int, count: int) -> tuple[Run, float]:
    left = jnp.ones((rows, config.emb_dim))
    rights = [jnp.ones((config.emb_dim, columns)) for _ in range(count)]

    def run() -> None:
      for _ in range(again):
        jax.block_until_ready(multiply(left, rights))

    run()
    return run, again * 2.0 * rows * config.emb_dim * columns * count

  return {part: make(*size) for part, size in sizes.items()}


def check(runs: dict[str, Run]) -> None:
  """Compares the scores of all rows.

  Raises:
    ValueError: where a row's scores are not those of the first.
  """
  expected = np.asarray(runs["InstructRec"]())
  for name, run in runs.items():
    found = np.asarray(run())
    if name.startswith("cross-encoder"):
      continue
    if not np.allclose(found, expected, rtol=0.0, atol=_TOLERANCE):
      raise ValueError(
        f"{name} scores {found}, expected {expected}; timing different "
        "computations would say nothing"
      )


def measure(args: argparse.Namespace, inputs_length: int) -> dict[str, Any]:
  """Checks and times all rows on one request."""
  work = draw(args, inputs_length)
  left_out = side_by_side.missing({name: row[1] for name, row in ROWS.items()})
  runs = {
    name: make(work) for name, (make, _) in ROWS.items() if name not in left_out
  }
  check(runs)
  plain = plain_products(work)
  seconds = side_by_side.take_turns(
    {**runs, **{part: run for part, (run, _) in plain.items()}}, args.repeats
  )
  rates = {
    part: work_done / min(seconds.pop(part))
    for part, (_, work_done) in plain.items()
  }
  flops = needed_flops(work)
  return {
    "inputs_length": inputs_length,
    "nodes": int(candidate_tree.num_nodes(work.targets)[0]),
    "tokens": int((work.targets > 0).sum()),
    "slots": work.targets[0].size,
    "flops": flops,
    "product_flops_per_second": rates,
    "floor_seconds": sum(flops[part] / rates[part] for part in flops),
    "seconds": seconds,
    "left_out": left_out,
  }


def table(found: dict[str, Any]) -> str:
  """A Markdown table of one measurement."""
  rates = found["product_flops_per_second"]
  mine = statistics.median(found["seconds"]["InstructRec"])
  rows = []
  timed = {**found["seconds"], "FLOP floor": [found["floor_seconds"]]}
  for name, seconds in timed.items():
    median = statistics.median(seconds)
    rows.append(
      [
        name,
        f"{median * 1e3:,.0f}",
        f"{min(seconds) * 1e3:,.0f}",
        f"{median / mine:.2f}",
      ]
    )
  return (
    f"Instruction of {found['inputs_length']} tokens; candidates with "
    f"{found['tokens']} tokens in {found['slots']} slots, "
    f"{found['nodes']} distinct prefixes. Needed: "
    + ", ".join(
      f"{part} {flops / 1e9:.1f} GFLOP (plain products {rates[part] / 1e9:.0f} "
      "GFLOP/s)"
      for part, flops in found["flops"].items()
    )
    + ".\n\n"
    + side_by_side.table(
      [
        "request scored by",
        "median ms",
        "fastest ms",
        "times as long as ours",
      ],
      rows,
      found["left_out"],
    )
  )


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--inputs_length", type=int, nargs="+", default=[256, 512]
  )
  parser.add_argument("--candidates", type=int, default=20)
  parser.add_argument("--targets_length", type=int, default=16)
  parser.add_argument("--shortest", type=int, default=4, help="candidate")
  drawn_network.add_arguments(
    parser, emb_dim=512, num_heads=6, mlp_dim=1024, num_layers=8
  )
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  allocator.keep_freed_memory()
  about = environment.describe("torch", "transformers")
  print(
    f"{about['processor']}, {about['cores']} cores; "
    + ", ".join(f"{k} {v}" for k, v in about["packages"].items() if v)
  )
  found = []
  for length in args.inputs_length:
    found.append(measure(args, length))
    print("\n" + table(found[-1]), flush=True)
  if args.json is not None:
    settings = {k: v for k, v in vars(args).items() if k != "json"}
    record = {"environment": about, "settings": settings, "measured": found}
    side_by_side.write_json(args.json, record)


if __name__ == "__main__":
  main()
