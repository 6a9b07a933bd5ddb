"""How scoring grows: seconds with users and candidates, memory with users.

  python benchmarks/scoring_scale.py --json=scale.json --plot=scale.png

Scores drawn requests (instructions of 40 to 256 tokens, candidates of 4 to 16
tokens) as `instructrec evaluate` does, each point in a process of its own:
requests are doubled at 20 candidates, then candidates at a fixed number of
requests. Seconds are those of a second run, with what the first has compiled;
memory is the process's peak. 30 words begin all titles; otherwise they share
nothing.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import polars as pl

import drawn_network
import side_by_side
from instructrec import allocator
from instructrec.evaluation import environment
from instructrec.models import ranking_model, t5
from instructrec.training import scoring, token_dataset

_INPUTS, _TARGETS = 256, 16


def make_dataset(
  num_requests: int, num_candidates: int, vocab_size: int, seed: int
) -> token_dataset.TokenDataset:
  """Requests with candidate lists."""
  rng = np.random.default_rng(seed)

  def ragged(lengths: np.ndarray, below: int) -> token_dataset.Ragged:
    tokens = rng.integers(2, below, lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens[offsets[1:] - 1] = token_dataset.EOS_ID
    return token_dataset.Ragged(tokens, offsets)

  rows = num_requests * num_candidates
  targets = ragged(rng.integers(4, _TARGETS + 1, rows), vocab_size)
  starts = targets.offsets[:-1]
  targets.tokens[starts] = rng.integers(2, 32, rows)
  return token_dataset.TokenDataset(
    name="drawn",
    inputs=ragged(rng.integers(40, _INPUTS + 1, num_requests), vocab_size),
    targets=targets,
    lists=np.arange(num_requests + 1) * num_candidates,
    columns=pl.DataFrame(),
    meta={},
  )


def point(args: argparse.Namespace) -> dict[str, Any]:
  """Seconds and peak bytes of one size, in this process."""
  allocator.keep_freed_memory()
  num_requests, num_candidates = args.point
  model = ranking_model.T5RankingModel(t5.T5(drawn_network.config(args)))
  params = drawn_network.params(model, args.seed)
  dataset = make_dataset(
    num_requests, num_candidates, args.vocab_size, args.seed
  )

  def run() -> float:
    start = time.perf_counter()
    scoring.score_lists(
      model,
      params,
      dataset,
      np.arange(num_requests),
      inputs_length=_INPUTS,
      targets_length=_TARGETS,
    )
    return time.perf_counter() - start

  first = run()
  return {
    "requests": num_requests,
    "candidates": num_candidates,
    "first_seconds": first,
    "seconds": run(),
    # KiB on Linux.
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
  }


def plot(points: list[dict[str, Any]], path: pathlib.Path, fixed: int) -> None:
  """Three panels: seconds and memory with users, seconds with candidates."""
  from matplotlib.figure import Figure

  users = [p for p in points if p["varied"] == "requests"]
  lists = [p for p in points if p["varied"] == "candidates"]
  figure = Figure(figsize=(11, 3.4), layout="constrained")
  panels = figure.subplots(1, 3)
  for axes, rows, x, y, label in (
    (panels[0], users, "requests", lambda p: p["seconds"], "seconds"),
    (panels[1], users, "requests", lambda p: p["peak_bytes"] / 2**20, "MiB"),
    (panels[2], lists, "candidates", lambda p: p["seconds"], "seconds"),
  ):
    rows = sorted(rows, key=lambda row: row[x])
    at = [row[x] for row in rows]
    values = [y(row) for row in rows]
    axes.plot(at, values, marker="o", color="#0072B2", label="measured")
    if label == "seconds":
      line = [values[0] * n / at[0] for n in at]
      axes.plot(at, line, ":", color="black", label="proportional")
      axes.legend(frameon=False)
    axes.set_xlabel(x)
    axes.set_ylabel(label)
    axes.set_ylim(0, 1.1 * max(values))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
  panels[0].set_title("time with users, 20 candidates")
  panels[1].set_title("peak memory with users")
  panels[2].set_title(f"time with candidates, {fixed} requests")
  figure.savefig(path, dpi=120)


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--requests", type=int, nargs="+", default=[64, 128, 256, 512]
  )
  parser.add_argument(
    "--candidates", type=int, nargs="+", default=[5, 10, 20, 50, 100, 200]
  )
  parser.add_argument("--fixed", type=int, default=64, help="requests")
  drawn_network.add_arguments(
    parser,
    vocab_size=8192,
    emb_dim=128,
    num_heads=2,
    mlp_dim=256,
    num_layers=4,
  )
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  parser.add_argument("--plot", type=pathlib.Path)
  parser.add_argument(
    "--point", type=int, nargs=2, help="one size, in this process"
  )
  args = parser.parse_args()
  if args.point:
    print(json.dumps(point(args)))
    return
  sizes = [("requests", n, 20) for n in args.requests]
  sizes += [("candidates", args.fixed, n) for n in args.candidates]
  points = []
  print("| requests | candidates | seconds | ms a request | peak MiB |")
  print("|---|---|---|---|---|")
  for varied, requests, candidates in sizes:
    command = [sys.executable, *sys.argv]
    command += ["--point", str(requests), str(candidates)]
    output = subprocess.run(
      command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    found = json.loads(output.splitlines()[-1]) | {"varied": varied}
    points.append(found)
    print(
      f"| {requests} | {candidates} | {found['seconds']:.2f} | "
      f"{found['seconds'] / requests * 1e3:.1f} | "
      f"{found['peak_bytes'] / 2**20:,.0f} |",
      flush=True,
    )
  if args.json is not None:
    record = {"environment": environment.describe(), "points": points}
    side_by_side.write_json(args.json, record)
  if args.plot is not None:
    plot(points, args.plot, args.fixed)


if __name__ == "__main__":
  main()
