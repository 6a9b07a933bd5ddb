"""How long a command takes before it does anything.

  python benchmarks/start_up.py --json=start_up.json

Each row is a fresh process, started `--repeats` times after one that is not
counted (it fills the file cache); the rows take turns. CPU seconds are those of
all its threads, and say what the machine's other load hides. `scoring` imports
what `instructrec rank` does; what it would take with TensorFlow stands beside.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

from instructrec.evaluation import environment

_SCORING = (
  "import instructrec.data.dataset, instructrec.serving.ranker, "
  "instructrec.training.run_dir"
)
ROWS = {
  "instructrec --help": ["-m", "instructrec.cli.main", "--help"],
  "instructrec rank --help": ["-m", "instructrec.cli.main", "rank", "--help"],
  "imports of scoring": ["-c", _SCORING],
  "imports of scoring, and SeqIO": ["-c", f"{_SCORING}, seqio"],
}


def start(arguments: list[str]) -> tuple[float, float]:
  """Wall and CPU seconds of a Python process."""
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  began = time.perf_counter()
  subprocess.run(
    [sys.executable, *arguments],
    check=True,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  seconds = time.perf_counter() - began
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
  return seconds, cpu


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=10)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  found: dict[str, list[tuple[float, float]]] = {name: [] for name in ROWS}
  for repeat in range(args.repeats + 1):
    for name, arguments in ROWS.items():
      taken = start(arguments)
      if repeat:
        found[name].append(taken)
  about = environment.describe()
  load = os.getloadavg()
  print(
    f"{about['processor']}, {about['cores']} cores, load {load[0]:.1f}, "
    f"{args.repeats} starts each\n\n"
    "| process | median s | fastest s | median CPU s |\n|---|---|---|---|"
  )
  for name, taken in found.items():
    walls, cpus = zip(*taken, strict=True)
    print(
      f"| {name} | {statistics.median(walls):.2f} | {min(walls):.2f} | "
      f"{statistics.median(cpus):.2f} |"
    )
  if args.json is not None:
    record = {"environment": about, "load": load, "seconds": found}
    partial = args.json.with_name(args.json.name + ".tmp")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(args.json)


if __name__ == "__main__":
  main()
