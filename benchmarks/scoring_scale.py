"""How scoring grows: with users, candidates, length, layers and processes.

  python benchmarks/scoring_scale.py --json=scale.json --plot=scale.png

Scores drawn requests (instructions of 40 tokens up to a longest, candidates of
4 to 16 tokens) as `instructrec evaluate` does, each point in processes of its
own; what is not varied has the first value of its option. Seconds are those of
a second run, with what the first has compiled; memory is the process's peak.
30 words begin all titles; otherwise they share nothing. Where processes are
varied, each has one core to itself, and a share of the requests.
"""

import argparse
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
import polars as pl

import drawn_network
import side_by_side
from instructrec import allocator
from instructrec.evaluation import environment
from instructrec.models import ranking_model, tokenizer
from instructrec.models.networks import t5
from instructrec.training import distributed, mesh, scoring, token_dataset
from instructrec.training import ragged as ragged_lib

_TARGETS = 16
_SECONDS_TO_MEET = 60

# Option and unit of each axis; the first default is the fixed value.
_AXES = {
  "requests": [64, 128, 256, 512],
  "candidates": [20, 5, 10, 50, 100, 200],
  "inputs_length": [256, 64, 128, 512, 1024],
  "num_layers": [4, 2, 8, 16],
  "processes": [1, 2],
}


def make_dataset(
  num_requests: int,
  num_candidates: int,
  inputs_length: int,
  *,
  vocab_size: int,
  seed: int,
) -> token_dataset.TokenDataset:
  """Requests with candidate lists."""
  rng = np.random.default_rng(seed)

  def ragged(lengths: np.ndarray, below: int) -> ragged_lib.Ragged:
    tokens = rng.integers(2, below, lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens[offsets[1:] - 1] = tokenizer.EOS_ID
    return ragged_lib.Ragged(tokens, offsets)

  rows = num_requests * num_candidates
  targets = ragged(rng.integers(4, _TARGETS + 1, rows), vocab_size)
  starts = targets.offsets[:-1]
  targets.tokens[starts] = rng.integers(2, 32, rows)
  lengths = rng.integers(40, inputs_length + 1, num_requests)
  return token_dataset.TokenDataset(
    name="drawn",
    inputs=ragged(lengths, vocab_size),
    targets=targets,
    lists=np.arange(num_requests + 1) * num_candidates,
    columns=pl.DataFrame(),
    meta={},
  )


def measure(args: argparse.Namespace) -> dict[str, Any]:
  """Seconds and peak bytes of one point, in this process."""
  point = json.loads(args.point)
  if point["pinned"]:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[point["index"] % len(cores)]})
  if point["processes"] > 1:
    distributed.initialize(
      point["address"], point["processes"], point["index"], _SECONDS_TO_MEET
    )
  allocator.keep_freed_memory()
  args.num_layers = point["num_layers"]
  model = ranking_model.NetworkRankingModel(t5.T5(drawn_network.config(args)))
  layout = mesh.MeshConfig(data=-1, model=1)
  everywhere = mesh.replicated(mesh.scoring_mesh(layout))
  params = jax.tree.map(np.asarray, drawn_network.params(model, args.seed))
  params = jax.device_put(params, everywhere)
  dataset = make_dataset(
    point["requests"],
    point["candidates"],
    point["inputs_length"],
    vocab_size=args.vocab_size,
    seed=args.seed,
  )

  def run() -> float:
    start = time.perf_counter()
    scoring.score_lists(
      model,
      params,
      dataset,
      np.arange(point["requests"]),
      inputs_length=point["inputs_length"],
      targets_length=_TARGETS,
      mesh_config=layout,
    )
    return time.perf_counter() - start

  return {
    "first_seconds": run(),
    "seconds": run(),
    # KiB on Linux.
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
  }


def _free_address() -> str:
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{probe.getsockname()[1]}"


def run_point(varied: str, sizes: dict[str, int]) -> dict[str, Any]:
  """Measures one point in processes of its own; those of process 0 count."""
  point = sizes | {"pinned": varied == "processes", "address": _free_address()}
  processes = [
    subprocess.Popen(
      [*sys.orig_argv, "--point", json.dumps(point | {"index": index})],
      stdout=subprocess.PIPE,
      text=True,
    )
    for index in range(sizes["processes"])
  ]
  outputs = [process.communicate()[0] for process in processes]
  if any(process.returncode for process in processes):
    raise SystemExit(f"{point} failed; its error is above")
  found = json.loads(outputs[0].splitlines()[-1])
  return {"varied": varied, **sizes, **found}


def plot(points: list[dict[str, Any]], path: pathlib.Path) -> None:
  """Seconds along each axis, and memory along that of users."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(11, 6.2), layout="constrained")
  panels = figure.subplots(2, 3).flat
  for axes, (varied, quantity) in zip(
    panels,
    [("requests", "peak MiB"), *[(name, "seconds") for name in _AXES]],
    strict=True,
  ):
    rows = [row for row in points if row["varied"] == varied]
    rows.sort(key=lambda row: row[varied])
    at = [row[varied] for row in rows]
    values = [row["seconds"] for row in rows]
    if quantity == "peak MiB":
      values = [row["peak_bytes"] / 2**20 for row in rows]
    axes.plot(at, values, marker="o", color="#0072B2", label="measured")
    if quantity == "seconds":
      power = -1 if varied == "processes" else 1
      line = [values[0] * (n / at[0]) ** power for n in at]
      name = "inversely proportional" if power < 0 else "proportional"
      axes.plot(at, line, ":", color="black", label=name)
      axes.legend(frameon=False)
    axes.set_xlabel(varied.replace("_", " "))
    axes.set_ylabel(quantity)
    axes.set_xlim(left=0)
    if len(at) < 5:
      axes.set_xticks(at)
    axes.set_ylim(0, 1.1 * max(values))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
  figure.savefig(path, dpi=120)


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for name, sizes in _AXES.items():
    parser.add_argument(f"--{name}", type=int, nargs="+", default=sizes)
  drawn_network.add_arguments(
    parser,
    vocab_size=8192,
    emb_dim=128,
    num_heads=2,
    mlp_dim=256,
  )
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  parser.add_argument("--plot", type=pathlib.Path)
  parser.add_argument("--point", help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.point:
    print(json.dumps(measure(args)))
    return
  fixed = {name: getattr(args, name)[0] for name in _AXES}
  points = []
  print("| varied | value | seconds | ms a request | peak MiB |")
  print("|---|---|---|---|---|")
  for varied in _AXES:
    for value in sorted(getattr(args, varied)):
      found = run_point(varied, fixed | {varied: value})
      points.append(found)
      print(
        f"| {varied} | {value} | {found['seconds']:.2f} | "
        f"{found['seconds'] / found['requests'] * 1e3:.1f} | "
        f"{found['peak_bytes'] / 2**20:,.0f} |",
        flush=True,
      )
  if args.json is not None:
    record = {"environment": environment.describe(), "points": points}
    side_by_side.write_json(args.json, record)
  if args.plot is not None:
    plot(points, args.plot)


if __name__ == "__main__":
  main()
