"""What `instructrec rank` is told."""

import dataclasses
import pathlib
from typing import Annotated

from instructrec.settings import option
from instructrec.settings.option import Option
from instructrec.settings.trusted_modules import TrustedModules


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankingSettings:
  """For whom a run ranks, and what.

  Raises:
    ValueError: where a number is too small.
  """

  model_dir: Annotated[pathlib.Path, Option("Folder that `train` wrote.")]
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
  checkpoint: Annotated[
    str | None,
    Option(
      "Hugging Face, T5X or other checkpoint to rank with instead of the run's "
      "newest."
    ),
  ] = None
  tfds_data_dir: Annotated[
    pathlib.Path | None,
    Option("Instructions of the run, where they have moved."),
  ] = None
  data: Annotated[
    pathlib.Path | None,
    Option("Prepared data of the instructions, where they have moved."),
  ] = None
  modules: TrustedModules = ()

  def __post_init__(self) -> None:
    """Checks the numbers."""
    option.check_bounds(self)
