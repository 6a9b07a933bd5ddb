"""How wide the rows of a run are: chosen from its data where gin does not say.

All features of all tasks are looked at together, before anything is trained:
what was chosen is said, and all that does not fit is one message.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from instructrec.training import data_config, token_dataset

_STEP = 8
_MOST_INPUTS = 512
"""Longer instructions are cut: that of the InstructRec paper."""
_MOST_TITLE = 64
_TITLES_WHOLE = 0.99
"""Share of the titles that are read whole; the few longest cost all others."""
_PACKED = 4
"""Examples of mean length that a packed row has room for."""

_Splits = Mapping[str, Mapping[str, token_dataset.TokenDataset]]


@dataclasses.dataclass(frozen=True, eq=False)
class Feature:
  """The lengths of one feature in the data, and the width of its rows.

  Attributes:
    field: of `DataConfig`.
    option: what sets it, such as "INPUTS_LENGTH".
    of: what has the lengths, such as "instructions".
    lengths: by where they are from; in tokens, those of histories in titles.
    given: the width that gin sets; 0 where the data are to say.
    share: of the lengths that a chosen width holds whole.
    most: that a chosen width has, without packing.
    packed: whether rows hold several examples.
    must_fit: whether a longer one is an error.
  """

  field: str
  option: str
  of: str
  lengths: Mapping[str, Int[np.ndarray, " rows"]]
  given: int
  share: float = 1.0
  most: int | None = None
  packed: bool = False
  must_fit: bool = False

  @functools.cached_property
  def _all(self) -> Int[np.ndarray, " rows"]:
    return np.concatenate(list(self.lengths.values()))

  @property
  def needed(self) -> int:
    """The width that the data ask for, a multiple of 8."""
    width = int(np.quantile(self._all, self.share, method="higher"))
    width = min(width, self.most or width)
    if self.packed:
      width = max(width, round(_PACKED * float(self._all.mean())))
    return max(-(-width // _STEP), 1) * _STEP

  @property
  def width(self) -> int:
    """The width that is taken."""
    return self.given or self.needed

  def __str__(self) -> str:
    """What was taken, and what fits into it."""
    return (
      f"{self.option} = {self.width} ({'given' if self.given else 'chosen'}): "
      f"holds {np.mean(self._all <= self.width):.1%} of {len(self._all):,} "
      f"{self.of}, the longest has {self._all.max():,}"
    )

  def misfits(self) -> list[str]:
    """What is longer than the width, a line for each place."""
    return [
      f"  {self.option} is {self.width}: {np.mean(found > self.width):.2%} of "
      f"the {len(found):,} {self.of} of {place} are longer, up to "
      f"{found.max():,}"
      for place, found in self.lengths.items()
      if found.max() > self.width
    ]


def features(
  config: data_config.DataConfig,
  splits: _Splits,
  titles: Int[np.ndarray, " items"],
  *,
  learns_targets: bool = True,
  option: Callable[[str], str] = str.upper,
) -> list[Feature]:
  """Measures what a run reads.

  Args:
    config: of the run; lengths that are 0 are to be chosen.
    splits: the examples that are read, by split and task.
    titles: tokens of each title of the catalogue, without EOS.
    learns_targets: whether responses are learnt token by token, so that a cut
      one would be learnt as such.
    option: what sets a field of `DataConfig`.

  Returns:
    Its features.

  Raises:
    ValueError: where examples do not tell the items that are to be read.
  """
  inputs, targets, histories = {}, {}, {}
  for split, datasets in splits.items():
    for task, dataset in datasets.items():
      if config.reads_items:
        dataset.check_items()
      place = f"{task} ({split})"
      apart = dataset.prompts if config.history_length else None
      inputs[place] = (dataset.inputs if apart is None else apart).lengths
      targets[place] = dataset.targets.lengths
      if dataset.history is not None:
        histories[place] = dataset.history.lengths
  # Lists to rank hold any title, with its EOS.
  targets["the catalogue"] = titles + 1

  def feature(field: str, of: str, lengths: Mapping, **rules) -> Feature:
    given = getattr(config, field)
    return Feature(field, option(field), of, lengths, given, **rules)

  found = [
    feature(
      "inputs_length",
      "prompts" if config.history_length else "instructions",
      inputs,
      most=_MOST_INPUTS,
      packed=config.pack,
    ),
    feature(
      "targets_length",
      "responses and titles",
      targets,
      packed=config.pack,
      must_fit=learns_targets,
    ),
  ]
  if config.reads_items:
    of_titles = {"the catalogue": titles}
    rules = {"share": _TITLES_WHOLE, "most": _MOST_TITLE}
    found.append(feature("title_length", "titles", of_titles, **rules))
  if config.history_length:
    found.append(feature("history_length", "histories", histories))
  return found


def choose(
  config: data_config.DataConfig, measured: list[Feature]
) -> data_config.DataConfig:
  """The run's settings with every length a number.

  Args:
    config: of the run.
    measured: its `features`.

  Returns:
    The settings; what gin gave is as it was.

  Raises:
    ValueError: naming each feature and task that would be cut and must not be,
      and what to set.
  """
  wrong = [f for f in measured if f.must_fit and f.misfits()]
  if wrong:
    remedies = " ".join(f"--gin.{f.option}={f.needed}" for f in wrong)
    raise ValueError(
      "the data do not fit the lengths, and what is cut would be learnt as "
      "such:\n"
      + "\n".join(line for f in wrong for line in f.misfits())
      + f"\nset {remedies}, or 0 to have a length chosen from the data, or "
      "--gin.LEAVE_OUT_LONGER=True to do without such examples"
    )
  chosen: dict[str, Any] = {f.field: f.width for f in measured}
  return dataclasses.replace(config, **chosen)
