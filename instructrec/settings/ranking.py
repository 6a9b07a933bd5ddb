"""What `instructrec rank` and `instructrec recommend` are told."""

import dataclasses
import enum
import os
import pathlib
from typing import Annotated, Any

from instructrec.settings.option import Option
from instructrec.settings.preparation import OnBadRow
from instructrec.settings.run import RunSettings


class OnUnknown(enum.StrEnum):
  """What to do with titles that the catalogue does not have."""

  error = "error"
  skip = "skip"
  nearest = "nearest"


_OnUnknown = Annotated[
  OnUnknown,
  Option(
    "What to do with titles that the catalogue does not have: stop, leave them "
    "out, or take the nearest, and say which."
  ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankingSettings(RunSettings):
  """For whom a run ranks, and what.

  Raises:
    ValueError: where a number is too small, no run is named, or two, or
      requests are named twice.
  """

  history: Annotated[
    tuple[str, ...],
    Option("Title or id of an item taken, oldest first; may be repeated."),
  ] = ()
  wish: Annotated[
    str | None, Option("What the customer says, in free words.")
  ] = None
  candidates: Annotated[
    tuple[str, ...],
    Option(
      "Title or id to rank; may be repeated. If left out, the best of the "
      "whole catalogue are found without scoring every title.",
      name="candidate",
    ),
  ] = ()
  top: Annotated[int, Option("How many places to print.", least=1)] = 10
  input: Annotated[
    pathlib.Path | None,
    Option(
      "Many requests, a JSON object a line: history, wish, k, candidates, and "
      "an id to find the answer by; - is the standard input. On a terminal, "
      "without any request, you are asked."
    ),
  ] = None
  on_unknown: _OnUnknown = OnUnknown.error
  json: Annotated[bool, Option("Print a JSON object for each request.")] = False

  def __post_init__(self) -> None:
    """Checks the numbers, and that requests are named once."""
    super().__post_init__()
    if self.input is not None and self.asks:
      raise ValueError(
        "--input has requests of its own; leave --history, --wish and "
        "--candidate out"
      )

  @property
  def asks(self) -> bool:
    """Whether there is a request among the settings."""
    return bool(self.history or self.wish or self.candidates)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecommendationSettings(RunSettings):
  """For whom a run recommends, among which items, and where that is written.

  Raises:
    ValueError: where a number is too small, no run is named, or two, nothing is
      asked for, or requests are named twice.
  """

  history: Annotated[
    tuple[str, ...],
    Option("Title or id of an item taken, oldest first; may be repeated."),
  ] = ()
  wish: Annotated[
    str | None, Option("What is wanted and what is not, in free words.")
  ] = None
  k: Annotated[int, Option("How many items.", least=1)] = 10
  only: Annotated[
    tuple[str, ...],
    Option(
      "Category, brand or other attribute that items must have; of several, "
      "one of them; may be repeated."
    ),
  ] = ()
  max_price: Annotated[
    float | None,
    Option("The most that an item may cost; unknown prices are left out."),
  ] = None
  min_price: Annotated[
    float | None, Option("The least that an item may cost, likewise.")
  ] = None
  max_year: Annotated[
    int | None,
    Option("The latest year of an item; unknown years are left out."),
  ] = None
  min_year: Annotated[
    int | None, Option("The earliest year of an item, likewise.")
  ] = None
  year: Annotated[
    int | None, Option("The only year that an item may be of, likewise.")
  ] = None
  exclude: Annotated[
    tuple[str, ...], Option("Title or id that is left out; may be repeated.")
  ] = ()
  reasons: Annotated[
    bool,
    Option(
      "Say what of the history and of the wish raised each item, in nats, and "
      "what it meets."
    ),
  ] = False
  json: Annotated[bool, Option("Print a JSON object.")] = False
  on_unknown: _OnUnknown = OnUnknown.error
  input: Annotated[
    pathlib.Path | None,
    Option(
      "Many requests, a JSON object a line: history, wish, k, only, exclude, "
      "max_price, min_price, max_year, min_year, year, candidates, and an id; "
      "gzipped or not."
    ),
  ] = None
  output: Annotated[
    pathlib.Path | None,
    Option(
      "File for the answers to --input, a line for each. Where the command is "
      "stopped, the same one goes on."
    ),
  ] = None
  overwrite: Annotated[bool, Option("Replace an earlier output.")] = False
  on_bad_row: Annotated[
    OnBadRow,
    Option(
      "Stop at a line that is no request, or write what is wrong in its place "
      "and go on."
    ),
  ] = OnBadRow.error

  def __post_init__(self) -> None:
    """Checks the numbers, and what is asked."""
    super().__post_init__()
    asks = bool(
      self.history or self.wish or self.only or self.exclude or self.bounds
    )
    if (self.input is None) != (self.output is None):
      raise ValueError(
        "--input and --output go together: requests, and where their answers "
        "are written"
      )
    if self.input is not None and asks:
      raise ValueError(
        "--input has requests of its own; leave --history, --wish and the "
        "like out"
      )
    files = {os.path.realpath(f) for f in (self.input, self.output) if f}
    if self.input is not None and len(files) < 2:
      raise ValueError(
        f"--output={self.output} is the file of the requests, which the "
        "answers would replace; choose another"
      )
    if self.input is None and not (self.history or self.wish):
      raise ValueError(
        "nothing is asked for; pass --history, --wish or both, or --input"
      )

  @property
  def bounds(self) -> dict[str, Any]:
    """The bounds on prices and years that are given, by name."""
    found = {
      "max_price": self.max_price,
      "min_price": self.min_price,
      "max_year": self.max_year,
      "min_year": self.min_year,
      "year": self.year,
    }
    return {name: each for name, each in found.items() if each is not None}
