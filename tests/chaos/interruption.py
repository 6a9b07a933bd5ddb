"""Starts a command, interrupts it at a moment, and looks at what is left."""

import contextlib
import dataclasses
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

import commands
import outcome
import psutil

_POLL_SECONDS = 0.02
_SECONDS = 600.0  # A command that takes longer hangs.
_ORPHAN_SECONDS = 30.0


@dataclasses.dataclass
class Tally:
  """What happened to a command under a signal; a row of the table.

  Attributes:
    sent: signals that met the command.
    in_work: of them, after its long part had begun.
    to_children: of them, to one of its worker processes.
    statuses: with which it ended then.
    finished: trials that were run to the end.
    equal: of them, with the outcome of an unbroken run.
    problems: what went wrong, in words.
  """

  sent: int = 0
  in_work: int = 0
  to_children: int = 0
  statuses: set[int] = dataclasses.field(default_factory=set)
  finished: int = 0
  equal: int = 0
  problems: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Reference:
  """An unbroken run.

  Attributes:
    outcome: see `outcome.outcome`.
    seconds: from the start to the end.
    work_seconds: from where the long part began.
  """

  outcome: dict[str, str]
  seconds: float
  work_seconds: float


class Bench:
  """A folder in which commands are run, always under the same paths.

  Args:
    work: the folder; `inputs` in it keeps what unbroken runs made, `trial` is
      where commands run.
  """

  def __init__(self, work: pathlib.Path) -> None:
    self.work = work
    self.trial = work / "trial"
    self.references: dict[str, Reference] = {}
    # How the machine's load is now, against that of the reference.
    self._pace: dict[str, float] = {}

  def refer(
    self, command: commands.Command, *, is_timed: bool = True
  ) -> Reference:
    """Runs a command unbroken; its output is the input of others.

    Args:
      command: the command.
      is_timed: whether one that compiles is run again, to be timed with what it
        compiled at hand: as it will be interrupted. Else it is taken to be
        twice as fast then.

    Returns:
      What it made, and its times.
    """
    self._lay_out(command)
    if command.compiles and not is_timed:
      self._pace[command.name] = 0.5
    for _ in range(1 + (command.compiles and is_timed)):
      shutil.rmtree(self.trial / command.output, ignore_errors=True)
      running = _Running(command, self)
      running.wait_for_work()
      begun = time.monotonic()
      status = running.wait()
      if status:
        raise RuntimeError(f"{command.name} ended with {status}: {running.log}")
    found = Reference(
      outcome.outcome(self.trial / command.output),
      time.monotonic() - running.started,
      time.monotonic() - begun,
    )
    kept = self.work / "inputs" / command.output
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(self.trial / command.output, kept)
    self.references[command.name] = found
    return found

  def interrupt(
    self,
    command: commands.Command,
    number: signal.Signals,
    most: int,
    rng: random.Random,
    tally: Tally,
  ) -> None:
    """Interrupts a command some times in a row, and lets it finish.

    Args:
      command: the command.
      number: the signal.
      most: how many times at most; fewer where it finishes before.
      rng: draws the moments.
      tally: takes what happened.
    """
    self._lay_out(command)
    reference = self.references[command.name]
    status = None
    for _ in range(most):
      running = _Running(command, self)
      # Some meet the start as well.
      in_work = rng.random() > 0.15
      if in_work:
        running.wait_for_work()
      seconds = reference.work_seconds if in_work else reference.seconds
      pace = self._pace.get(command.name, 1.0)
      if running.ends_within(rng.random() * seconds * pace):
        self._pace[command.name] = 0.7 * pace
        status = running.wait()
        break
      self._pace[command.name] = min(1.1 * pace, 2.0)
      tally.sent += 1
      tally.in_work += in_work
      tally.to_children += running.send(number, rng) != running.process.pid
      tally.statuses.add(running.wait())
      if orphans := running.orphans():
        tally.problems.append(f"left processes behind: {orphans}")
      # The signal may come when all is written; given again, the command
      # refuses to do it twice, and clears up.
      if command.complete and (self.trial / command.complete).exists():
        again = _Running(command, self)
        if again.wait() != 1 or "exists" not in again.log:
          tally.problems.append(f"not refused: {again.log}")
        status = 0
        break
    if status is None:
      status = _Running(command, self).wait()
    self._judge(command, status, tally)

  def _judge(
    self, command: commands.Command, status: int, tally: Tally
  ) -> None:
    tally.finished += 1
    if status:
      log = (self.work / "log").read_text()[-2000:]
      tally.problems.append(f"ended with {status}: {log}")
      return
    wanted = self.references[command.name].outcome
    found = outcome.outcome(self.trial / command.output)
    differ = outcome.differences(found, wanted)
    left = outcome.unfinished(self.trial)
    if differ:
      tally.problems.append(f"differs in {differ[:5]}")
    if left:
      tally.problems.append(f"left {left[:5]}")
    tally.equal += not differ

  def _lay_out(self, command: commands.Command) -> None:
    shutil.rmtree(self.trial, ignore_errors=True)
    self.trial.mkdir(parents=True)
    for name in command.inputs:
      shutil.copytree(self.work / "inputs" / name, self.trial / name)


class _Running:
  """A command that was started, in a process group of its own."""

  def __init__(self, command: commands.Command, bench: Bench) -> None:
    self._command, self._trial = command, bench.trial
    self._log = bench.work / "log"
    self._before = self._seen()
    self.started = time.monotonic()
    with self._log.open("wb") as log:
      self.process = subprocess.Popen(
        command.line(),
        cwd=bench.trial,
        env=commands.environment(bench.work),
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
      )

  @property
  def log(self) -> str:
    return self._log.read_text(errors="replace")

  @property
  def ended(self) -> bool:
    return self.process.poll() is not None

  def _seen(self) -> set[tuple[str, int]]:
    """Files and folders and when they changed; some vanish while one looks."""
    if self._command.begins is not None:
      paths = [str(self._trial / self._command.begins)]
    else:
      # `os.walk` goes on where a folder is no more; `rglob` raises.
      paths = [
        os.path.join(folder, name)
        for folder, folders, files in os.walk(self._trial)
        for name in (*folders, *files)
      ]
    seen = set()
    for path in paths:
      with contextlib.suppress(FileNotFoundError):
        seen.add((path, os.stat(path).st_mtime_ns))
    return seen

  def wait_for_work(self) -> None:
    """Returns when the long part begins, or the command has ended."""
    while not self.ended:
      if self._seen() != self._before:
        return
      # What writes at its end alone shows a progress line before.
      if self._command.begins is None and "%|" in self.log:
        return
      time.sleep(_POLL_SECONDS)

  def ends_within(self, seconds: float) -> bool:
    try:
      self.process.wait(seconds)
    except subprocess.TimeoutExpired:
      return False
    return True

  def send(self, number: signal.Signals, rng: random.Random) -> int:
    """Sends a signal as it comes in life; returns the process that got it."""
    if number == signal.SIGINT:
      # A terminal sends it to all processes of the command.
      os.killpg(self.process.pid, number)
      return self.process.pid
    children = psutil.Process(self.process.pid).children(recursive=True)
    victims = [self.process.pid, *(c.pid for c in children if _works(c))]
    # Where memory is short, the kernel takes any process.
    victim = victims[0] if number != signal.SIGKILL else rng.choice(victims)
    os.kill(victim, number)
    return victim

  def wait(self) -> int:
    try:
      return self.process.wait(_SECONDS)
    finally:
      if not self.ended:
        os.killpg(self.process.pid, signal.SIGKILL)

  def orphans(self) -> list[str]:
    """Processes of the group that live on; they are ended."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while found := self._group():
      if time.monotonic() > deadline:
        os.killpg(self.process.pid, signal.SIGKILL)
        break
      time.sleep(_POLL_SECONDS)
    return found

  def _group(self) -> list[str]:
    found = []
    for process in psutil.process_iter():
      try:
        if os.getpgid(process.pid) == self.process.pid:
          found.append(" ".join(process.cmdline())[-80:])
      except (ProcessLookupError, psutil.Error):
        continue  # It ended meanwhile.
    return found


def _works(process: psutil.Process) -> bool:
  """Whether it is more than Python's list of what to clear up."""
  try:
    return "resource_tracker" not in " ".join(process.cmdline())
  except psutil.NoSuchProcess:
    return False
