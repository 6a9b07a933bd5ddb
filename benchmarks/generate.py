"""How long `instructrec generate` takes, and its memory, as users grow.

  python benchmarks/generate.py --data=games/prepared \
    --vocabulary=spiece.model

Runs the command on the first 25%, 50% and 100% of the users, each in
processes of its own, and prints a Markdown table. Memory is the peak of what
all its processes hold together (proportional set size, sampled four times a
second; start-up, vocabulary and data card included in both figures).
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import polars as pl
import psutil

from instructrec.data import dataset, interaction, splits
from instructrec.evaluation import markdown

_INTERVAL = 0.25


def subset(
  prepared: dataset.PreparedData, fraction: float, folder: pathlib.Path
) -> int:
  """Writes the data of the first users; returns how many they are."""
  users = prepared.split.requests["user_id"].unique(maintain_order=True)
  kept = users.head(round(fraction * len(users)))
  mine = pl.col("user_id").is_in(kept.implode())
  split = splits.Split(
    name=prepared.split.name,
    requests=prepared.split.requests.filter(mine),
    training_log=interaction.InteractionLog(
      prepared.split.training_log.frame.filter(mine)
    ),
    parameters=prepared.split.parameters,
    warnings=prepared.split.warnings,
  )
  dataset.save(
    folder,
    log=interaction.InteractionLog(prepared.log.frame.filter(mine)),
    items=prepared.catalog,
    split=split,
    record={
      name: prepared.manifest[name] for name in ("source", "seed", "candidates")
    },
  )
  return len(kept)


def held(process: psutil.Process) -> int:
  """Bytes that a process and its children hold."""
  total = 0
  for found in (process, *process.children(recursive=True)):
    try:
      total += found.memory_full_info().pss
    except psutil.NoSuchProcess:
      continue  # A worker that ended between listing and asking.
  return total


def measure(command: list[str]) -> tuple[float, int]:
  """Seconds and peak bytes of a command.

  Raises:
    subprocess.CalledProcessError: where it fails.
  """
  start, peak = time.monotonic(), 0
  with subprocess.Popen(command, env=os.environ) as running:
    process = psutil.Process(running.pid)
    while running.poll() is None:
      try:
        peak = max(peak, held(process))
      except psutil.NoSuchProcess:
        break
      time.sleep(_INTERVAL)
  if running.returncode:
    raise subprocess.CalledProcessError(running.returncode, command)
  return time.monotonic() - start, peak


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data", required=True, help="what `prepare` wrote")
  parser.add_argument("--vocabulary", help="SentencePiece model")
  parser.add_argument("--num_workers", type=int, help="processes")
  parser.add_argument(
    "--fractions", type=float, nargs="+", default=[0.25, 0.5, 1.0]
  )
  args = parser.parse_args()
  prepared = dataset.load(args.data)
  rows = []
  for fraction in args.fractions:
    with tempfile.TemporaryDirectory() as name:
      folder = pathlib.Path(name)
      users = subset(prepared, fraction, folder / "prepared")
      command = [sys.executable, "-m", "instructrec.cli.main", "generate"]
      command += [f"--data={folder / 'prepared'}", f"--output={folder / 'out'}"]
      if args.vocabulary:
        command.append(f"--vocabulary={args.vocabulary}")
      if args.num_workers:
        command.append(f"--num_workers={args.num_workers}")
      seconds, peak = measure(command)
      manifest = json.loads((folder / "out" / "manifest.json").read_text())
    count = sum(sum(found.values()) for found in manifest["rows"].values())
    rows.append(
      [
        f"{fraction:.0%}",
        f"{users:,}",
        f"{count:,}",
        f"{seconds:.1f}",
        f"{count / seconds:,.0f}",
        f"{peak / 2**20:,.0f}",
      ]
    )
  head = ["users", "number", "rows", "seconds", "rows/s", "peak MiB"]
  print(markdown.table(head, rows))


if __name__ == "__main__":
  main()
