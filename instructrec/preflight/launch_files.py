"""From gin files to a launch, whichever runner they are for.

Files of the embedded runner are built as `instructrec train` builds them.
Files for T5X are read without T5X, see `t5x_launch.py`.
"""

import dataclasses
from collections.abc import Sequence

from instructrec.preflight import launch as launch_lib
from instructrec.preflight import t5x_check, t5x_launch
from instructrec.training import data_config, gin_config, runner, t5x_files

RUNNERS = ("embedded", "t5x")


def check(
  files: Sequence[str], bindings: Sequence[str] = (), runner: str | None = None
) -> list[str]:
  """Fails where gin files and bindings are not sound; compiles nothing.

  Args:
    files: as in `read`; of T5X also such as evaluate or infer.
    bindings: as in `read`.
    runner: who will run them, "embedded" or "t5x"; None for either.

  Returns:
    What could not be looked at, in words.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where something is misspelt, is read by nothing, has no value,
      or the files are for the other runner.
  """
  found = RUNNERS[t5x_files.need_t5x(files)]
  if runner not in (None, found):
    raise ValueError(
      f"{', '.join(files)}: for the runner {found!r}, not {runner!r}; those of "
      "T5X are gin/instructrec_*.gin, others include gin/runs/train.gin"
    )
  if found == "t5x":
    return t5x_check.check(files, bindings)
  data = _built(files, bindings)[1]
  if not (unknown := data.unknown):
    return []
  names = [gin_config.option(data_config.DataConfig, name) for name in unknown]
  return [f"{', '.join(names)} will be chosen from the data"]


def read(
  files: Sequence[str],
  bindings: Sequence[str] = (),
  *,
  score_batch_size: int | None = None,
  num_candidates: int | None = None,
  num_items: int | None = None,
  title_length: int | None = None,
) -> launch_lib.Launch:
  """The launch of gin files.

  Args:
    files: gin files, as given to `instructrec train` or to T5X.
    bindings: gin bindings over them.
    score_batch_size: candidate lists scored at once; None takes the files'
      (T5X), or 32.
    num_candidates: candidates of a list; None takes the files', or 10.
    num_items: of the catalogue, where lists are rewarded; None takes 10,000.
    title_length: tokens of its longest title, likewise; None takes 16.

  Returns:
    The launch.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where the files configure no training run.
  """
  if t5x_files.need_t5x(files):
    launch = t5x_launch.read(files, bindings)
  else:
    config, data = _built(files, bindings)
    if unknown := data.unknown:
      names = [gin_config.option(data_config.DataConfig, n) for n in unknown]
      raise ValueError(
        f"{', '.join(names)} would be chosen from the data, which are not "
        "here; `instructrec train` says what it chooses: set "
        f"{' '.join(f'--gin.{name}=...' for name in names)}"
      )
    launch = launch_lib.Launch(
      config=config,
      batch_size=data.batch_size,
      inputs_length=data.inputs_length,
      targets_length=data.targets_length,
      pack=data.pack,
      loss_on_targets_only=data.loss_on_targets_only,
      history_length=data.history_length,
      title_length=data.title_length,
      num_drawn=data.num_drawn,
      score_batch_size=32,
      num_candidates=10,
    )
  if launch.lists is not None:
    given = {"items": num_items, "title_length": title_length}
    said = {name: size for name, size in given.items() if size is not None}
    catalog = launch.catalog or launch_lib.Catalog()
    launch = launch.with_catalog(dataclasses.replace(catalog, **said))
  return dataclasses.replace(
    launch,
    score_batch_size=score_batch_size or launch.score_batch_size,
    num_candidates=num_candidates or launch.num_candidates,
  )


def _built(
  files: Sequence[str], bindings: Sequence[str]
) -> tuple[runner.TrainConfig, data_config.DataConfig]:
  gin_config.parse(files, bindings)
  config = gin_config.build(runner.TrainConfig)
  data = gin_config.build(data_config.DataConfig)
  gin_config.check_all_used()
  return config, data
