"""Whether a long training run leaks: memory, descriptors, threads, files.

  python benchmarks/flatness.py --steps=2000 --json=flat.json --plot=flat.png

Trains a tiny network on synthetic data through the command line, with rows of
the log, validation and checkpoints every few steps, and looks at the process
at each row: resident memory, open descriptors, threads, and files that are not
what a run keeps (in its folder and in TMPDIR). Prints a table, and the growth
per 1,000 steps of the later three quarters as a least-squares line.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import matplotlib.pyplot as plt
import numpy as np
import psutil

from instructrec.evaluation import environment

_SETTINGS = {
  "BATCH_SIZE": 4,
  "INPUTS_LENGTH": 64,
  "TARGETS_LENGTH": 16,
  "VOCAB_SIZE": 640,
  "LOG_PERIOD": 20,
  "EVAL_PERIOD": 40,
  "EVAL_STEPS": 2,
  "CHECKPOINT_PERIOD": 50,
}
_COLUMNS = ("RSS MiB", "descriptors", "threads", "other files")
_MIB = 2**20


def _run(folder: pathlib.Path, *args: str) -> None:
  subprocess.run(
    [sys.executable, "-m", "instructrec.cli.main", *args],
    check=True,
    cwd=folder,
    stdout=subprocess.DEVNULL,
  )


def start(folder: pathlib.Path, steps: int) -> subprocess.Popen:
  """Makes data, and starts the training of a run on them."""
  (folder / "tmp").mkdir()
  _run(
    folder,
    "prepare",
    "--source=synthetic",
    "--output=prepared",
    "--num_users=400",
    "--num_items=100",
  )
  _run(
    folder,
    "generate",
    "--data=prepared",
    "--output=instructions",
    "--vocab_size=500",
  )
  settings = _SETTINGS | {"TRAIN_STEPS": steps, "WARMUP_STEPS": steps // 10}
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "instructrec.cli.main", "train"),
      "--gin_file=gin/quickstart_token.gin",
      *(f"--gin.{name}={value}" for name, value in settings.items()),
      "--tfds_data_dir=instructions",
      "--model_dir=model",
    ],
    cwd=folder,
    env={**os.environ, "TMPDIR": str(folder / "tmp")},
    stderr=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
  )


def _step(folder: pathlib.Path) -> int:
  """Of the newest row of the training log."""
  log = folder / "model" / "metrics.jsonl"
  lines = log.read_text().splitlines() if log.is_file() else []
  rows = [json.loads(line) for line in lines if line.endswith("}")]
  return max((row["step"] for row in rows), default=0)


def _other_files(folder: pathlib.Path) -> int:
  """Files in TMPDIR, and in the run's folder those of no checkpoint or log."""
  kept = ("checkpoint_", "config.gin", "run.", "metrics.jsonl", "tensorboard")
  kept += ("vocabulary", "items.parquet", "SHA256SUMS")
  inside = [*(folder / "model").iterdir()]
  inside += (folder / "model" / "checkpoints").glob("*")
  others = [
    path
    for path in inside
    if path.name != "checkpoints"
    and (not path.name.startswith(kept) or "tmp" in path.name)
  ]
  # A checkpoint that is being written is there for a moment.
  writing = [path for path in others if "orbax-checkpoint-tmp" in path.name]
  left = len(others) - min(len(writing), 1)
  return left + len([*(folder / "tmp").rglob("*")])


def watch(folder: pathlib.Path, steps: int) -> list[tuple[int, ...]]:
  """Trains; returns a row for each row of its log: step and `_COLUMNS`."""
  running = start(folder, steps)
  process, rows, last = psutil.Process(running.pid), [], 0
  while running.poll() is None:
    if (step := _step(folder)) > last:
      last = step
      with process.oneshot():
        rows.append(
          (
            step,
            process.memory_info().rss // _MIB,
            process.num_fds(),
            process.num_threads(),
            _other_files(folder),
          )
        )
    time.sleep(0.05)
  if running.returncode:
    raise subprocess.CalledProcessError(running.returncode, running.args)
  return rows


def growth(rows: np.ndarray) -> dict[str, float]:
  """Per 1,000 steps, without the first quarter."""
  later = rows[rows[:, 0] > rows[-1, 0] / 4]
  slopes = np.polyfit(later[:, 0], later[:, 1:], 1)[0]
  return dict(zip(_COLUMNS, (1000 * slopes).tolist(), strict=True))


def plot(rows: np.ndarray, path: pathlib.Path) -> None:
  """Draws each column over the steps."""
  figure, axes = plt.subplots(1, 4, figsize=(12, 2.6), layout="constrained")
  for axis, name, values in zip(axes, _COLUMNS, rows.T[1:], strict=True):
    axis.plot(rows[:, 0], values)
    axis.set(title=name, xlabel="step", ylim=(0, max(values) * 1.1 + 1))
  figure.savefig(path, dpi=120)


def main() -> None:
  """Trains and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--steps", type=int, default=2000)
  parser.add_argument("--json", type=pathlib.Path)
  parser.add_argument("--plot", type=pathlib.Path)
  args = parser.parse_args()
  with tempfile.TemporaryDirectory(prefix="flatness-") as folder:
    rows = np.array(watch(pathlib.Path(folder), args.steps))
  print("| step | " + " | ".join(_COLUMNS) + " |\n" + "|---" * 5 + "|")
  for at in np.linspace(0, len(rows) - 1, 9).astype(int):
    print("| " + " | ".join(f"{value:,}" for value in rows[at]) + " |")
  slopes = growth(rows)
  for name, slope in slopes.items():
    print(f"{name}: {slope:+.2f} per 1,000 steps")
  if args.json is not None:
    about = environment.describe()
    record = {"environment": about, "rows": rows.tolist(), "growth": slopes}
    args.json.write_text(json.dumps(record) + "\n")
  if args.plot is not None:
    plot(rows, args.plot)


if __name__ == "__main__":
  main()
