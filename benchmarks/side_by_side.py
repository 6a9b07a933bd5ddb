"""Rows of a benchmark beside each other: in turns, as a table, on record."""

import contextlib
import functools
import importlib.util
import json
import multiprocessing
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing import connection
from typing import Any

from instructrec.evaluation import markdown


def missing(needs: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
  """Rows that cannot run here.

  Args:
    needs: the libraries of each row.

  Returns:
    Those that are not installed, by row; rows that lack none are left out.
  """
  found = {
    name: [x for x in libraries if importlib.util.find_spec(x) is None]
    for name, libraries in needs.items()
  }
  return {name: libraries for name, libraries in found.items() if libraries}


def take_turns(
  runs: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
  """Seconds of each row; they alternate, so that other load meets all.

  Args:
    runs: what to time, compiled already.
    repeats: how often each.

  Returns:
    The seconds of each call, by row.
  """
  seconds: dict[str, list[float]] = {name: [] for name in runs}
  for _ in range(repeats):
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      seconds[name].append(time.perf_counter() - start)
  return seconds


def with_cpu(
  runs: Mapping[str, Callable[[], Any]],
) -> tuple[dict[str, Callable[[], Any]], dict[str, list[float]]]:
  """Rows that also keep the processor's time of all their threads.

  Other load on the machine lengthens what takes long more than what does not;
  this is what it leaves alone.

  Args:
    runs: what to time.

  Returns:
    The same, and the seconds of each call so far, by row.
  """
  seconds: dict[str, list[float]] = {name: [] for name in runs}

  def watched(name: str) -> Any:
    start = time.process_time()
    found = runs[name]()
    seconds[name].append(time.process_time() - start)
    return found

  return {name: functools.partial(watched, name) for name in runs}, seconds


def _serve(
  make: Callable[..., Callable[[], Any]],
  arguments: Sequence[Any],
  parent: connection.Connection,
) -> None:
  run = make(*arguments)
  with contextlib.suppress(EOFError):  # The parent is done.
    while parent.recv():
      parent.send(run())


@contextlib.contextmanager
def in_a_process(
  make: Callable[..., Callable[[], Any]], *arguments: Any
) -> Iterator[Callable[[], Any]]:
  """A row in a process of its own, with the allocator and threads it likes.

  Args:
    make: gives what to time; found by name in a module.
    *arguments: of `make`.

  Yields:
    What calls it there and returns its result; `EOFError` where the process
    has died, having printed why.
  """
  context = multiprocessing.get_context("spawn")
  mine, its = context.Pipe()
  process = context.Process(
    target=_serve, args=(make, arguments, its), daemon=True
  )
  process.start()
  its.close()

  def run() -> Any:
    mine.send(True)
    return mine.recv()

  try:
    yield run
  finally:
    mine.close()
    process.join()


def table(
  head: Sequence[str],
  rows: Iterable[Sequence[str]],
  left_out: Mapping[str, Sequence[str]],
) -> str:
  """A Markdown table, and who is not in it.

  Args:
    head: names of the columns.
    rows: their cells.
    left_out: what `missing` gave.

  Returns:
    The text.
  """
  lines = [markdown.table(head, rows)]
  for name, libraries in left_out.items():
    lines.append(f"\n{name} is left out: {', '.join(libraries)} not installed.")
  return "\n".join(lines)


def write_json(path: pathlib.Path, record: Mapping[str, Any]) -> None:
  """Writes a record, complete or not at all.

  Args:
    path: the file.
    record: JSON values, and what `str` says of others.
  """
  partial = path.with_name(path.name + ".tmp")
  partial.write_text(json.dumps(record, indent=1, default=str) + "\n")
  partial.replace(path)
