"""What `instructrec train` is told beside its gin files."""

import dataclasses
import pathlib
from typing import Annotated

from instructrec.settings import option
from instructrec.settings.option import Option

TRACKERS = ("wandb", "mlflow")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WatchSettings:
  """How a run is watched; what is trained does not depend on it.

  Raises:
    ValueError: for unknown trackers, for steps that are none, or where a number
      is too small.
  """

  trackers: Annotated[
    tuple[str, ...],
    Option(
      "wandb or mlflow ([wandb], [mlflow] extras), beside metrics.jsonl and "
      "TensorBoard; may be repeated.",
      name="tracker",
    ),
  ] = ()
  profile_steps: Annotated[
    str | None,
    Option(
      "Profile these steps with JAX's profiler, first and last, such as 10:15; "
      "goes to the run's folder."
    ),
  ] = None
  hang_seconds: Annotated[
    int,
    Option(
      "Where no step is done for so long, print all stacks and end with status "
      "75, compiling apart; 0 for never.",
      least=0,
    ),
  ] = 3600

  def __post_init__(self) -> None:
    """Checks names and numbers."""
    option.check_bounds(self)
    if unknown := sorted(set(self.trackers) - set(TRACKERS)):
      raise ValueError(
        f"unknown trackers {unknown}; expected some of {', '.join(TRACKERS)}"
      )
    self.profiled  # noqa: B018 - it checks.

  @property
  def profiled(self) -> tuple[int, int] | None:
    """The first and the last step to profile, counted from 1."""
    if self.profile_steps is None:
      return None
    first, colon, last = self.profile_steps.partition(":")
    digits = colon and first.isdecimal() and last.isdecimal()
    if digits and 1 <= int(first) <= int(last):
      return int(first), int(last)
    raise ValueError(
      f"profile_steps is {self.profile_steps!r}, expected the first and the "
      "last step, such as 10:15"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
  """Which gin, which data, and where the run is kept.

  Attributes:
    bindings: over the gin files, such as "TRAIN_STEPS=500"; on the command line
      --gin.TRAIN_STEPS=500.
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
  watched: WatchSettings = WatchSettings()
