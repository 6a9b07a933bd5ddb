"""What the commands of `instructrec retrieve` are told."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any

from instructrec import checkpoint_steps
from instructrec.settings import option
from instructrec.settings.metric_names import Metrics
from instructrec.settings.option import Option
from instructrec.settings.run import CheckpointStep
from instructrec.settings.trusted_modules import TrustedModules

_Path = pathlib.Path
_Data = Annotated[_Path, Option("Folder that `prepare` wrote.")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
  """Which retriever to fit, and how its settings are found.

  Attributes:
    settings: those of every trial, by name; on the command line
      --setting=NAME=VALUE.

  Raises:
    ValueError: where a number is too small.
  """

  data: _Data
  method: Annotated[
    str,
    Option(
      "Such as random, popularity, bm25, itemknn, als, sasrec, bert4rec or "
      "two_tower; a wrong name lists all."
    ),
  ]
  output: Annotated[_Path, Option("Folder to make.")]
  num_trials: Annotated[
    int, Option("Settings tried: the defaults, then draws by seed.")
  ] = 1
  max_epochs: Annotated[
    int | None,
    Option("Of each trial, at most; the method's if left out.", least=1),
  ] = None
  num_validation: Annotated[
    int,
    Option("Validation requests that stop training and choose.", least=1),
  ] = 2000
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  seed: Annotated[
    int,
    Option("Of training, settings and validation requests.", least=0),
  ] = 0
  overwrite: Annotated[bool, Option("Replace an existing output.")] = False

  def __post_init__(self) -> None:
    """Checks the numbers."""
    option.check_bounds(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrieverEvaluationSettings:
  """Which retrievers and runs to compare, and on which lists.

  Raises:
    ValueError: where there are none of them, a number is too small, or users
      are both drawn and given.
  """

  data: _Data
  output: Annotated[_Path, Option("Folder of the report.")]
  retrievers: Annotated[
    tuple[_Path, ...],
    Option(
      "Folder that `retrieve fit` wrote; may be repeated.", name="retriever"
    ),
  ] = ()
  model_dirs: Annotated[
    tuple[_Path, ...],
    Option(
      "Folder that `train` wrote, of a run that matches titles: its state "
      "vector is a row; may be repeated.",
      name="model_dir",
    ),
  ] = ()
  tfds_data_dir: Annotated[
    _Path | None,
    Option("Instructions of these runs, where they have moved."),
  ] = None
  step: CheckpointStep = checkpoint_steps.BEST
  candidates: Annotated[
    tuple[_Path, ...],
    Option(
      "Published candidate file (LLMRank's format); may be repeated. Only its "
      "users are evaluated."
    ),
  ] = ()
  num_candidates: Annotated[
    int, Option("Of a published list, the target included.", least=2)
  ] = 20
  split: Annotated[str, Option("validation or test.")] = "test"
  num_requests: Annotated[
    int | None,
    Option("Drawn by seed; all if left out. Not with candidates.", least=1),
  ] = None
  metrics: Metrics = ()
  keep_seen: Annotated[
    bool, Option("Rank items of the history, too (full catalogue).")
  ] = False
  seed: Annotated[int, Option("Of subset and bootstrap.", least=0)] = 0
  modules: TrustedModules = ()

  def __post_init__(self) -> None:
    """Checks the numbers, and that users come from one place."""
    option.check_bounds(self)
    if not (self.retrievers or self.model_dirs):
      raise ValueError(
        "there is nothing to evaluate; pass --retriever (a folder of "
        "`retrieve fit`) or --model_dir (of `train`)"
      )
    checkpoint_steps.parse(self.step)
    if self.candidates and self.num_requests is not None:
      raise ValueError(
        "--num_requests draws users and --candidates brings its own; pass one "
        "of them"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CandidateSettings:
  """Which candidate lists to make.

  Raises:
    ValueError: where a number is too small.
  """

  data: _Data
  output: Annotated[_Path, Option("Parquet file to make.")]
  retriever: Annotated[
    _Path | None,
    Option("Folder that `retrieve fit` wrote; not where items are drawn."),
  ] = None
  protocol: Annotated[
    str,
    Option(
      "retrieved: the best items. hard: the target and the best others. "
      "random: the target and unseen items. popularity_matched: the target and "
      "unseen items that are about as popular."
    ),
  ] = "retrieved"
  num_candidates: Annotated[int, Option("Length of a list.", least=2)] = 100
  split: Annotated[str, Option("validation or test.")] = "test"
  num_requests: Annotated[
    int | None, Option("Drawn by seed; all if left out.", least=1)
  ] = None
  window: Annotated[
    int,
    Option(
      "popularity_matched: ranks of popularity on either side of the target.",
      least=1,
    ),
  ] = 60
  seed: Annotated[int, Option("Of subset, draws and order.", least=0)] = 0
  overwrite: Annotated[bool, Option("Replace an existing output.")] = False

  def __post_init__(self) -> None:
    """Checks the numbers."""
    option.check_bounds(self)
