"""What `instructrec align` is told."""

import dataclasses
import pathlib
from typing import Annotated

from instructrec import checkpoint_steps
from instructrec.settings import option
from instructrec.settings.option import Option
from instructrec.settings.run import CheckpointStep
from instructrec.settings.training import WatchSettings

_Path = pathlib.Path
GIN_FILE = "gin/align_cpu.gin"
VALIDATION, TEST = "validation", "test"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignmentSettings:
  """Which run is aligned, with what, and what promotes the result.

  Attributes:
    bindings: over the gin files, such as "TRAIN_STEPS=500"; on the command line
      --gin.TRAIN_STEPS=500.

  Raises:
    ValueError: where a number is too small, the checkpoint or the split is
      none, or the run would be overwritten.
  """

  model_dir: Annotated[
    _Path,
    Option("Folder of the run that was taught lists; it stays as it is."),
  ]
  teacher: Annotated[
    _Path,
    Option("Folder of the fitted retriever whose lists it was taught."),
  ]
  output: Annotated[
    _Path,
    Option("Folder of the aligned run; an unfinished run in it goes on."),
  ]
  gin_files: Annotated[
    tuple[str, ...],
    Option(
      f"Gin file of the alignment, {GIN_FILE} if left out; may be repeated. "
      "Sizes of the network and lengths are those of the run.",
      name="gin_file",
    ),
  ] = (GIN_FILE,)
  bindings: tuple[str, ...] = ()
  step: CheckpointStep = checkpoint_steps.BEST
  split: Annotated[
    str,
    Option(
      "validation: lists of its requests are asked before and after, and "
      "judged. test: what is judged already is asked for lists of test "
      "requests, for a report that decides nothing."
    ),
  ] = VALIDATION
  num_requests: Annotated[
    int,
    Option(
      "Requests for which lists are asked before and after, drawn by seed, "
      "with all of their rows.",
      least=1,
    ),
  ] = 300
  max_accuracy_loss: Annotated[
    float,
    Option("Share of NDCG@10 that may be lost where the result is promoted."),
  ] = 0.05
  tfds_data_dir: Annotated[
    _Path | None, Option("Instructions of the run, where they have moved.")
  ] = None
  data: Annotated[
    _Path | None,
    Option("Prepared data of the instructions, where they have moved."),
  ] = None
  seed: Annotated[
    int,
    Option(
      "Of the requests and the intervals; that of training is --gin.SEED.",
      least=0,
    ),
  ] = 0
  watched: WatchSettings = dataclasses.field(default_factory=WatchSettings)

  def __post_init__(self) -> None:
    """Checks the numbers and the folders."""
    option.check_bounds(self)
    checkpoint_steps.parse(self.step)
    if self.split not in (VALIDATION, TEST):
      raise ValueError(
        f"--split is {self.split!r}; expected {VALIDATION} or {TEST}"
      )
    if self.model_dir.resolve() == self.output.resolve():
      raise ValueError(
        f"--model_dir and --output are both {self.output}; the run that is "
        "aligned stays, name another folder for the result"
      )
