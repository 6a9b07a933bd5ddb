"""Which run a command opens."""

import dataclasses
import pathlib
from typing import Annotated

from instructrec import checkpoint_steps
from instructrec.settings import option
from instructrec.settings.option import Option
from instructrec.settings.trusted_modules import TrustedModules

_Path = pathlib.Path
CheckpointStep = Annotated[
  str,
  Option(
    "Checkpoint: best (by the run's validation; the newest where it chose "
    "none), latest, or a step."
  ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
  """A folder of a run, of either runner; or gin files and a checkpoint.

  Attributes:
    bindings: over the gin files, such as "INPUTS_LENGTH=256"; on the command
      line --gin.INPUTS_LENGTH=256.

  Raises:
    ValueError: where a number is too small, no run is named, or two, or the
      checkpoint is none.
  """

  model_dir: Annotated[
    _Path | None, Option("Folder that `train` wrote, or MODEL_DIR of T5X.")
  ] = None
  gin_files: Annotated[
    tuple[str, ...],
    Option(
      "Without a folder: gin file of the model, such as gin/models/xl.gin, for "
      "--checkpoint and --tfds_data_dir; may be repeated.",
      name="gin_file",
    ),
  ] = ()
  bindings: tuple[str, ...] = ()
  checkpoint: Annotated[
    str | None,
    Option(
      "Hugging Face, T5X or other checkpoint to use instead of the run's own."
    ),
  ] = None
  step: CheckpointStep = checkpoint_steps.BEST
  tfds_data_dir: Annotated[
    _Path | None,
    Option(
      "Instructions, where they have moved; a run of T5X, and gin files, do "
      "not say where they are."
    ),
  ] = None
  data: Annotated[
    _Path | None,
    Option("Prepared data of the instructions, where they have moved."),
  ] = None
  vocabulary: Annotated[
    _Path | None,
    Option(
      "SentencePiece model of a run of T5X, or for gin files; the one that "
      "INSTRUCTREC_VOCABULARY names if left out."
    ),
  ] = None
  modules: TrustedModules = ()

  def __post_init__(self) -> None:
    """Checks the numbers, and that one run is named."""
    option.check_bounds(self)
    checkpoint_steps.parse(self.step)
    if (self.model_dir is None) == (not self.gin_files):
      raise ValueError(
        "expected --model_dir or --gin_file: the folder of a run, or a model "
        "for a --checkpoint"
      )
    if self.gin_files and self.checkpoint is None:
      raise ValueError(
        "--gin_file names a model; pass its parameters as --checkpoint"
      )
    if self.bindings and not self.gin_files:
      raise ValueError(
        f"--gin.{self.bindings[0]}: the settings of a run are those of its "
        "folder; bindings go over --gin_file"
      )
