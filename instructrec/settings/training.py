"""What `instructrec train` is told beside its gin files."""

import dataclasses
import pathlib
from typing import Annotated

from instructrec.settings.option import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
  """Which gin, which data, and where the run is kept.

  Attributes:
    bindings: over the gin files, such as "TRAIN_STEPS=100"; on the command line
      --gin.TRAIN_STEPS=100.
  """

  gin_files: Annotated[
    tuple[str, ...],
    Option(
      "Gin file, e.g. gin/quickstart.gin; may be repeated.", name="gin_file"
    ),
  ]
  bindings: tuple[str, ...] = ()
  tfds_data_dir: Annotated[
    pathlib.Path, Option("Folder that `generate` wrote.")
  ]
  model_dir: Annotated[
    pathlib.Path,
    Option("Folder of the run; an unfinished run in it goes on."),
  ]
