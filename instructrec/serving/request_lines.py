"""Requests as lines of JSON, and rankings as such."""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any

from instructrec import limits
from instructrec.data import raw_file
from instructrec.serving import constraints, rankings, reasons, run_ranker
from instructrec.settings import ranking

_LISTS = ("history", "candidates", "only", "exclude")
_FIELDS = (
  *("history", "wish", "k", "candidates", "id", "only", "exclude"),
  *constraints.BOUNDS,
)


@dataclasses.dataclass(frozen=True)
class Request:
  """Somebody who wants something.

  Attributes:
    history: titles or ids of what was taken, oldest first.
    wish: what is wanted, in words.
    candidates: titles or ids to rank; None for the catalogue but the history.
    k: how many places; None for as many as usual.
    id: what the answer is found by.
    only: attributes of which an item must have one: categories, brands.
    exclude: titles or ids that are not to be found.
    max_price: the most that an item may cost.
    min_price: the least.
    max_year: the latest year that an item may be of.
    min_year: the earliest.
    year: the only one.
  """

  history: tuple[str, ...] = ()
  wish: str | None = None
  candidates: tuple[str, ...] | None = None
  k: int | None = None
  id: str | int | None = None
  only: tuple[str, ...] = ()
  exclude: tuple[str, ...] = ()
  max_price: float | None = None
  min_price: float | None = None
  max_year: float | None = None
  min_year: float | None = None
  year: float | None = None

  def of(
    self,
    ranker: run_ranker.Ranker,
    *,
    k: int,
    on_unknown: ranking.OnUnknown = ranking.OnUnknown.error,
  ) -> rankings.Request:
    """It among the items of a run.

    Args:
      ranker: the run.
      k: how many places where the request does not say.
      on_unknown: what to do with titles that the catalogue does not have.

    Returns:
      What the run ranks.

    Raises:
      ValueError: see `Ranker.rank`; also for an attribute that no items have.
    """
    shelf, notes = ranker.shelf, list[str]()
    asked = [shelf.named(constraints.Kind.AMONG, name) for name in self.only]
    for kind in constraints.BOUNDS:
      number = getattr(self, kind)
      if number is not None:
        asked.append(constraints.Constraint(kind, number=number))
    for item in ranker.items(self.exclude, on_unknown, notes):
      asked.append(shelf.of_item(constraints.Kind.EXCLUDED, item))
    found = ranker.request(
      self.history,
      self.wish,
      k=k if self.k is None else self.k,
      candidates=self.candidates,
      on_unknown=on_unknown,
      asked=asked,
    )
    return dataclasses.replace(found, notes=(*notes, *found.notes))


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
  for name in _LISTS:
    if name in given:
      given[name] = _names(name, given[name])
  _check(given, "wish", str, "text")
  _check(given, "k", int, "a whole number")
  _check(given, "id", str | int, "text or a whole number")
  for kind in constraints.BOUNDS:
    _check(given, kind, int | float, "a number")
  return Request(**given)


def _check(given: dict[str, Any], name: str, kind: Any, expected: str) -> None:
  value = given.get(name)
  # JSON's true is no number.
  if value is not None and (
    not isinstance(value, kind) or isinstance(value, bool)
  ):
    raise ValueError(f"{name} is {value!r}, expected {expected}")


def _names(name: str, value: Any) -> tuple[str, ...]:
  """Titles, ids or names of attributes; ids may be numbers."""
  one_is, several = (
    ("an attribute", "attributes")
    if name == "only"
    else ("a title or an id", "titles or ids")
  )
  if not isinstance(value, list):
    raise ValueError(f"{name} is {value!r}, expected a list of {several}")
  for one in value:
    if not isinstance(one, str | int) or isinstance(one, bool):
      raise ValueError(f"{name} has {one!r}, expected {one_is}")
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


def answer(
  found: rankings.Ranking,
  explained: Sequence[reasons.Reasons] | None = None,
) -> dict[str, Any]:
  """A ranking as JSON has it.

  Args:
    found: the ranking.
    explained: why its places are there, where it was asked for.

  Returns:
    Its fields; those that it does not have are left out.
  """
  made = {
    name: value
    for name, value in dataclasses.asdict(found).items()
    if value is not None
  }
  for place, why in zip(made["places"], explained or (), strict=False):
    place["reasons"] = why.to_json()
  return made
