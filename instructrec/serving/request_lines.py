"""Requests as lines of JSON, and rankings as such."""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from typing import IO, Any

from instructrec import limits
from instructrec.data import raw_file
from instructrec.serving import run_ranker

_FIELDS = ("history", "wish", "k", "candidates", "id")


@dataclasses.dataclass(frozen=True)
class Request:
  """Somebody who wants something.

  Attributes:
    history: titles or ids of what was taken, oldest first.
    wish: what is wanted, in words.
    candidates: titles or ids to rank; None for the catalogue but the history.
    k: how many places; None for as many as usual.
    id: what the answer is found by.
  """

  history: tuple[str, ...] = ()
  wish: str | None = None
  candidates: tuple[str, ...] | None = None
  k: int | None = None
  id: str | int | None = None


def parse(line: bytes) -> Request:
  """The request of a line.

  Args:
    line: a JSON object with some of the fields of `Request`, in UTF-8.

  Returns:
    The request.

  Raises:
    ValueError: saying what was found, and what was expected.
  """
  shown = repr(line.decode(errors="replace").strip()[:80])
  try:
    found = json.loads(line.decode())
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f"found {shown}, expected a JSON object ({error})"
    ) from error
  if not isinstance(found, dict):
    raise ValueError(f"found {shown}, expected a JSON object")
  if unknown := [name for name in found if name not in _FIELDS]:
    raise ValueError(
      f"found the field {unknown[0]!r}, expected some of {', '.join(_FIELDS)}"
    )
  given = {name: value for name, value in found.items() if value is not None}
  for name in ("history", "candidates"):
    if name in given:
      given[name] = _names(name, given[name])
  _check(given, "wish", str, "text")
  _check(given, "k", int, "a whole number")
  _check(given, "id", str | int, "text or a whole number")
  return Request(**given)


def _check(given: dict[str, Any], name: str, kind: Any, expected: str) -> None:
  value = given.get(name)
  # JSON's true is no number.
  if value is not None and (
    not isinstance(value, kind) or isinstance(value, bool)
  ):
    raise ValueError(f"{name} is {value!r}, expected {expected}")


def _names(name: str, value: Any) -> tuple[str, ...]:
  """Titles or ids; ids may be numbers."""
  if not isinstance(value, list):
    raise ValueError(f"{name} is {value!r}, expected a list of titles or ids")
  for one in value:
    if not isinstance(one, str | int) or isinstance(one, bool):
      raise ValueError(f"{name} has {one!r}, expected a title or an id")
  return tuple(map(str, value))


def read(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
  """The lines of a file that are not empty, with their numbers from 1.

  Args:
    path: see `raw_file.open_raw`; the standard input, `-`, is read as it comes.

  Yields:
    Number and line.

  Raises:
    FileNotFoundError: where there is no such file.
    LimitError: where a line is too long.
  """
  if os.fspath(path) == "-":
    lines = _as_they_come(sys.stdin.buffer)
  else:
    lines = raw_file.open_raw(path).lines()
  for number, line in enumerate(lines, 1):
    if line.strip():
      yield number, line


def _as_they_come(stream: IO[bytes]) -> Iterator[bytes]:
  most = limits.LINE_BYTES.value
  while line := stream.readline(most + 1):
    limits.LINE_BYTES.check(len(line), "a line of the standard input")
    yield line


def answer(found: run_ranker.Ranking) -> dict[str, Any]:
  """A ranking as JSON has it.

  Args:
    found: the ranking.

  Returns:
    Its fields; those that it does not have are left out.
  """
  return {
    name: value
    for name, value in dataclasses.asdict(found).items()
    if value is not None
  }
