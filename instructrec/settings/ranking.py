"""What `instructrec rank` is told."""

import dataclasses
import enum
import pathlib
from typing import Annotated

from instructrec.settings.option import Option
from instructrec.settings.run import RunSettings


class OnUnknown(enum.StrEnum):
  """What to do with titles that the catalogue does not have."""

  error = "error"
  skip = "skip"
  nearest = "nearest"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankingSettings(RunSettings):
  """For whom a run ranks, and what.

  Raises:
    ValueError: where a number is too small, no run is named, or two, or
      requests are named twice.
  """

  history: Annotated[
    tuple[str, ...],
    Option("Title or id of an item bought, oldest first; repeat it."),
  ] = ()
  text: Annotated[
    str | None, Option("What the customer says, in free words.")
  ] = None
  candidates: Annotated[
    tuple[str, ...],
    Option(
      "Title or id to rank; repeat it. If left out, the best of the whole "
      "catalogue are found without scoring every title.",
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
  on_unknown: Annotated[
    OnUnknown,
    Option(
      "What to do with titles that the catalogue does not have: stop, leave "
      "them out, or take the nearest, and say which."
    ),
  ] = OnUnknown.error
  json: Annotated[bool, Option("Print a JSON object for each request.")] = False

  def __post_init__(self) -> None:
    """Checks the numbers, and that requests are named once."""
    super().__post_init__()
    if self.input is not None and self.asks:
      raise ValueError(
        "--input has requests of its own; leave --history, --text and "
        "--candidate out"
      )

  @property
  def asks(self) -> bool:
    """Whether there is a request among the settings."""
    return bool(self.history or self.text or self.candidates)
