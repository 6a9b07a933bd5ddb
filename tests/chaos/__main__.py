"""Kills commands at random moments and compares with unbroken runs.

    python tests/chaos --kills=100 --terms=10 --interrupts=10 --seed=0

Each trial interrupts a command once or a few times in a row, gives the same
command again until it finishes, and compares what it made with what an unbroken
run made: files byte for byte, checkpoints array for array. A quarter of the
kills meet `train`. Ends with status 1 where anything differs, is left behind or
does not finish.
"""

import argparse
import itertools
import pathlib
import random
import signal
import sys
import tempfile

import commands
import interruption


def main(args: list[str] | None = None) -> int:
  """Runs the harness; returns the exit status."""
  options = _parser().parse_args(args)
  chosen = [
    c for c in commands.COMMANDS if c.name in (options.command or [c.name])
  ]
  rng = random.Random(options.seed)
  with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
    bench = interruption.Bench(pathlib.Path(options.work or temporary))
    # Each is the input of some that follow.
    last = max(commands.COMMANDS.index(command) for command in chosen)
    for command in commands.COMMANDS[: last + 1]:
      found = bench.refer(command)
      _tell(
        f"{command.name}: unbroken in {found.seconds:.1f} s, of which "
        f"{found.work_seconds:.1f} s work; {len(found.outcome)} files and "
        "arrays"
      )
    rows = {}
    for number, total in (
      (signal.SIGKILL, options.kills),
      (signal.SIGTERM, options.terms),
      (signal.SIGINT, options.interrupts),
    ):
      for command, count in _shares(chosen, total).items():
        rows[command, number] = _run(bench, command, number, count, rng)
  print(_table(rows))
  problems = [
    f"{command.name} under {number.name}: {problem}"
    for (command, number), tally in rows.items()
    for problem in tally.problems
  ]
  for problem in problems:
    print(problem)
  return bool(problems)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="chaos",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--kills", type=int, default=12, help="kill -9 in all")
  parser.add_argument("--terms", type=int, default=2, help="SIGTERM in all")
  parser.add_argument("--interrupts", type=int, default=2, help="Ctrl-C in all")
  parser.add_argument("--seed", type=int, default=0, help="of the moments")
  parser.add_argument(
    "--command",
    action="append",
    choices=[c.name for c in commands.COMMANDS],
    help="interrupt this one alone; may be repeated",
  )
  parser.add_argument(
    "--work", help="folder that stays; a temporary one if not"
  )
  return parser


def _shares(
  chosen: list[commands.Command], total: int
) -> dict[commands.Command, int]:
  """How many interruptions each command gets; training gets a quarter."""
  weights = [5 if c.name == "train" else 3 for c in chosen]
  ends = [
    total * sum(weights[:i]) // sum(weights) for i in range(len(chosen) + 1)
  ]
  counts = [b - a for a, b in itertools.pairwise(ends)]
  return {c: n for c, n in zip(chosen, counts, strict=True) if n}


def _run(
  bench: interruption.Bench,
  command: commands.Command,
  number: signal.Signals,
  count: int,
  rng: random.Random,
) -> interruption.Tally:
  """Trials of one command, until it was interrupted so many times."""
  tally = interruption.Tally()
  while tally.sent < count and len(tally.problems) < 3:
    row = rng.randint(1, 3)
    bench.interrupt(command, number, min(row, count - tally.sent), rng, tally)
    _tell(f"{command.name}, {number.name}: {tally}")
  return tally


def _table(rows: dict) -> str:
  lines = [
    "| command | signal | sent | in its work | to a worker | ended with | run "
    "again until finished | equal | problems |",
    "|---|---|---|---|---|---|---|---|---|",
  ]
  for (command, number), t in rows.items():
    statuses = ", ".join(map(str, sorted(t.statuses)))
    lines.append(
      f"| {command.name} | {number.name} | {t.sent} | {t.in_work} | "
      f"{t.to_children} | {statuses} | {t.finished} | {t.equal} | "
      f"{len(t.problems)} |"
    )
  return "\n".join(lines)


def _tell(text: str) -> None:
  print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
  sys.exit(main())
