"""Settings that a run has of the run whose checkpoint it begins with."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from instructrec.training import (
  data_config,
  gin_config,
  runner,
  trained_run,
)

_MAY_DIFFER = frozenset(
  (
    "adapter",
    "attention_implementation",
    "dropout_rate",
    "dtype",
    "item_dropout_rate",
    "remat_policy",
    "scan_layers",
    "value_head",
  )
)
"""Fields of a network that leave its own parameters and their meaning."""
_DATA = (
  "eval_mixture",
  "history_length",
  "inputs_length",
  "leave_out_longer",
  "modules",
  "targets_length",
  "title_length",
)
"""Fields of the data that say what the network reads."""


def bindings(
  run: trained_run.Run,
  checkpoint: str,
  gin_files: Sequence[str],
  given: Sequence[str],
) -> tuple[str, ...]:
  """Bindings that make a gin file's run go on from another.

  The sizes of the network and the lengths of what it reads are that run's,
  whatever the files say.

  Args:
    run: that it begins with.
    checkpoint: of it.
    gin_files: of the run to be trained.
    given: bindings over them by the user.

  Returns:
    The user's, and those that the run brings.

  Raises:
    ValueError: where the user's are at odds with the run, the networks are of
      different kinds, or the run would lose what it ranks by.
  """
  gin_config.parse(gin_files, given)
  config = gin_config.build(runner.TrainConfig)
  data = gin_config.build(data_config.DataConfig)
  theirs: Any = run.model.network_config
  ours: Any = config.model.network_config
  if type(ours) is not type(theirs):
    raise ValueError(
      f"{', '.join(gin_files)} has a {type(ours).__name__}, the run in "
      f"{run.directory} a {type(theirs).__name__}; name a --gin_file of its "
      "network"
    )
  if lost := sorted(run.model.score_parts - config.model.score_parts):
    raise ValueError(
      f"the run in {run.directory} ranks by {', '.join(lost)}, which "
      f"{', '.join(gin_files)} does not train further, so that the result "
      "could not be ranked by it any more; give its objective a small weight "
      "in OBJECTIVE, as gin/align_cpu.gin does"
    )
  names = [f.name for f in dataclasses.fields(ours)]
  found = [
    *_differing(ours, theirs, [n for n in names if n not in _MAY_DIFFER]),
    *_differing(data, run.data, _DATA),
    *_differing(
      config,
      dataclasses.replace(config, initial_checkpoint=checkpoint),
      ["initial_checkpoint"],
    ),
  ]
  by_user = {binding.split("=", 1)[0].strip() for binding in given}
  wrong = [
    f"{option}={own!r}, the run has {value!r}"
    for option, own, value in found
    if option in by_user
  ]
  if wrong:
    raise ValueError(
      f"--gin.{'; --gin.'.join(wrong)}: these are of the run in "
      f"{run.directory}; leave them out"
    )
  return (*given, *(f"{option}={value!r}" for option, _, value in found))


def _differing(
  ours: Any, theirs: Any, names: Sequence[str]
) -> Iterator[tuple[str, Any, Any]]:
  """Fields that differ: what sets each, our value, and theirs."""
  for name in names:
    own, value = getattr(ours, name), getattr(theirs, name)
    if own != value:
      yield gin_config.option(type(ours), name), own, value
