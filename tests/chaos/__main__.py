r"""Kills commands at random moments and compares with unbroken runs.

    python tests/chaos --kills=100 --terms=10 --interrupts=10 --seed=0 \
      --page=docs/reliability.md

Each trial interrupts a command once or a few times in a row, gives the same
command again until it finishes, and compares what it made with what an unbroken
run made: files byte for byte, checkpoints array for array. A quarter of the
kills meet `train`. A line on standard error follows each trial; the table comes
at the end, and with --page goes into that file, between `<!-- chaos -->` and
`<!-- end -->`. Ends with status 1 where anything differs, is left behind, does
not finish, or was not tried within --minutes.
"""

import argparse
import dataclasses
import datetime
import itertools
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

import commands
import interruption

from instructrec.evaluation import environment

_BEGIN, _END = "<!-- chaos -->", "<!-- end -->"


@dataclasses.dataclass
class _Clock:
  """How far the harness is, and how long it may go on.

  Attributes:
    total: signals to send.
    minutes: no trial begins after so many.
    sent: signals of the rows that are done.
    begun: when it started, by `time.monotonic`.
  """

  total: int
  minutes: float
  sent: int = 0
  begun: float = dataclasses.field(default_factory=time.monotonic)

  @property
  def passed(self) -> float:
    """Minutes since it started."""
    return (time.monotonic() - self.begun) / 60

  def tell(self, text: str, sent: int = 0) -> None:
    """Says how far it is, and what happened."""
    done = f"{self.sent + sent}/{self.total} signals, {self.passed:.1f} min"
    print(f"[{done}] {text}", file=sys.stderr, flush=True)


def main(args: list[str] | None = None) -> int:
  """Runs the harness; returns the exit status."""
  options = _parser().parse_args(args)
  # What a shell starts in its background ignores Ctrl-C, and so do children.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  chosen = [
    c for c in commands.COMMANDS if c.name in (options.command or [c.name])
  ]
  if options.page is not None:
    _around(options.page)  # It has a place for the table.
  rng = random.Random(options.seed)
  wanted = [
    (command, number, count)
    for number, total in (
      (signal.SIGKILL, options.kills),
      (signal.SIGTERM, options.terms),
      (signal.SIGINT, options.interrupts),
    )
    for command, count in _shares(chosen, total).items()
  ]
  clock = _Clock(sum(count for *_, count in wanted), options.minutes)
  rows: dict[tuple[commands.Command, signal.Signals], interruption.Tally] = {}
  with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
    bench = interruption.Bench(pathlib.Path(options.work or temporary))
    # Each is the input of some that follow.
    last = max(commands.COMMANDS.index(command) for command in chosen)
    for command in commands.COMMANDS[: last + 1]:
      found = bench.refer(command)
      clock.tell(
        f"{command.name}: unbroken in {found.seconds:.1f} s, of which "
        f"{found.work_seconds:.1f} s work; {len(found.outcome)} files and "
        "arrays"
      )
    for command, number, count in wanted:
      rows[command, number] = _run(bench, command, number, count, rng, clock)
  problems = _problems(rows, wanted)
  text = f"{_table(rows)}\n\n{_summary(rows, options.seed, clock)}"
  print(text)
  for problem in problems:
    print(problem)
  if options.page is not None:
    before, after = _around(options.page)
    page = f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}"
    options.page.write_text(page, encoding="utf-8")
  return bool(problems)


def _around(page: pathlib.Path) -> tuple[str, str]:
  """What stands before and after the table of a page."""
  before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
  _, end, after = rest.partition(_END)
  if not (begin and end):
    raise SystemExit(f"{page} has no {_BEGIN} and {_END} for the table")
  return before, after


def _problems(rows: dict, wanted: list) -> list[str]:
  """What went wrong, and what was not tried."""
  found = []
  for command, number, count in wanted:
    tally, name = rows[command, number], f"{command.name} under {number.name}"
    found += [f"{name}: {problem}" for problem in tally.problems]
    if tally.sent < count:
      found.append(f"{name}: {tally.sent} of {count} signals sent")
  return found


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
    "--minutes", type=float, default=40, help="no trial begins after these"
  )
  parser.add_argument(
    "--page", type=pathlib.Path, help="Markdown file that gets the table"
  )
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
  clock: _Clock,
) -> interruption.Tally:
  """Trials of one command, until it was interrupted so many times."""
  tally = interruption.Tally()
  while (
    tally.sent < count
    and len(tally.problems) < 3
    and clock.passed < clock.minutes
  ):
    row = rng.randint(1, 3)
    bench.interrupt(command, number, min(row, count - tally.sent), rng, tally)
    clock.tell(
      f"{command.name}, {number.name}: {tally.equal} of {tally.finished} "
      f"trials equal, {len(tally.problems)} problems",
      tally.sent,
    )
  clock.sent += tally.sent
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


def _summary(rows: dict, seed: int, clock: _Clock) -> str:
  """Figures of the whole, and where they are from."""
  tallies = rows.values()
  finished = sum(tally.finished for tally in tallies)
  equal = sum(tally.equal for tally in tallies)
  problems = sum(len(tally.problems) for tally in tallies)
  about = environment.describe()
  day = datetime.datetime.now(datetime.UTC).date()
  return (
    f"{clock.sent} signals in {finished} trials, of which {equal} ended with "
    f"the outcome of an unbroken run; {problems} problems. Seed {seed}, "
    f"{clock.passed:.0f} minutes on {os.cpu_count()} cores, Python "
    f"{about['python']}, JAX {about['packages']['jax']}, {day}."
  )


if __name__ == "__main__":
  sys.exit(main())
