"""What `instructrec rank` is told."""

import dataclasses
from typing import Annotated

from instructrec.settings.option import Option
from instructrec.settings.run import RunSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankingSettings(RunSettings):
  """For whom a run ranks, and what."""

  history: Annotated[
    tuple[str, ...],
    Option("Title of an item bought, oldest first; repeat it."),
  ] = ()
  text: Annotated[
    str | None, Option("What the customer says, in free words.")
  ] = None
  candidates: Annotated[
    tuple[str, ...],
    Option(
      "Title to rank; repeat it. If left out, the best of the whole catalogue "
      "are found without scoring every title.",
      name="candidate",
    ),
  ] = ()
  top: Annotated[int, Option("How many places to print.", least=1)] = 10
