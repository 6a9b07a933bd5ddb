"""What validation said while a run was trained, and which step is the best.

Each checkpoint of a run holds the evaluations up to its step, of the one metric
that chooses. All else follows from them: which checkpoint is the best, also as
of an earlier step, and for how long there was no better one. So a run that is
resumed from any checkpoint knows what an unbroken one knows.
"""

import dataclasses
import itertools
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from etils import epath

from instructrec import checkpoint_steps, checksums

KEY = "evaluations"
"""Of the record of a checkpoint, that the embedded runner writes."""
RECORD = "data/metadata"
_LOG = logging.getLogger(__name__)
_REMEDY = "copy the checkpoint again with all its files"


@dataclasses.dataclass(frozen=True)
class Evaluations:
  """The values of a metric, by step.

  Attributes:
    metric: its name. Of losses the lowest is the best, of all else the highest.
    values: (step, value), in the order of the steps.
  """

  metric: str
  values: tuple[tuple[int, float], ...] = ()

  def added(self, step: int, value: float) -> Self:
    """With one more evaluation."""
    return dataclasses.replace(self, values=(*self.values, (step, value)))

  def _gain(self, value: float, over: float) -> float:
    """How much better a value is; NaN where one is none."""
    return over - value if self.metric.endswith("loss") else value - over

  def _improvements(self, min_delta: float = 0.0) -> list[tuple[int, float]]:
    """The evaluations that were better than all before, by more than a bit."""
    found: list[tuple[int, float]] = []
    for step, value in self.values:
      if not math.isfinite(value):
        continue
      if not found or self._gain(value, found[-1][1]) > min_delta:
        found.append((step, value))
    return found

  @property
  def best(self) -> tuple[int, float] | None:
    """Step and value of the best evaluation, the first of equals."""
    found = self._improvements()
    return found[-1] if found else None

  def best_by(self, steps: Sequence[int]) -> set[int]:
    """The steps that were the best ones as of some steps."""
    found = [step for step, _ in self._improvements()]
    known = ([best for best in found if best <= step] for step in steps)
    return {bests[-1] for bests in known if bests}

  def num_without_gain(self, min_delta: float = 0.0) -> int:
    """Evaluations since the last gain.

    Args:
      min_delta: what a value must be better by than that of the last gain; so
        small gains add up.

    Returns:
      Their number.
    """
    gains = self._improvements(min_delta)
    if not gains:
      return len(self.values)
    return sum(step > gains[-1][0] for step, _ in self.values)

  def ranked(self, steps: Sequence[int]) -> list[int]:
    """Steps by what is known of them.

    Args:
      steps: of the checkpoints that are there.

    Returns:
      Those with a value, the best first and the earlier of equals; then the
      others, the newest first.
    """
    values = {s: v for s, v in self.values if math.isfinite(v)}
    known = sorted(step for step in steps if step in values)
    known.sort(key=lambda step: -self._gain(values[step], 0.0))
    return known + sorted(set(steps) - set(known), reverse=True)

  def reason(self, step: int) -> str:
    """Why a step was taken that `ranked` put first, in words."""
    value = dict(self.values).get(step)
    if value is None:
      return f"the newest, as none with a {self.metric} of validation is there"
    words = f"the best {self.metric} of validation, {value:.4g}"
    if self.best is not None and self.best[0] != step:
      words += f", of those that are left: checkpoint_{self.best[0]} is not"
    return words

  def to_json(self) -> dict[str, Any]:
    """For the record of a checkpoint."""
    return {"metric": self.metric, "values": [list(v) for v in self.values]}

  @classmethod
  def from_json(cls, found: Any, where: str) -> Self:
    """What `to_json` gave.

    Args:
      found: the value.
      where: it was found, for the message.

    Returns:
      The evaluations.

    Raises:
      DamagedError: for anything else.
    """
    if isinstance(found, Mapping) and isinstance(found.get("metric"), str):
      pairs = found.get("values")
      if isinstance(pairs, list) and all(map(_is_evaluation, pairs)):
        values = tuple((step, float(value)) for step, value in pairs)
        steps = [step for step, _ in values]
        if all(a < b for a, b in itertools.pairwise(steps)):
          return cls(found["metric"], values)
    raise checksums.DamagedError(
      f"{where} has {KEY!r} that are none: expected a metric and values, pairs "
      f"of step and number; {_REMEDY}"
    )


def _is_evaluation(pair: Any) -> bool:
  return (
    isinstance(pair, list)
    and len(pair) == 2
    and type(pair[0]) is int
    and type(pair[1]) in (int, float)
  )


def read(folder: str | os.PathLike[str]) -> Evaluations | None:
  """The evaluations up to a checkpoint.

  Args:
    folder: `checkpoint_<step>`, on disk or under gs://.

  Returns:
    The evaluations; None where the checkpoint knows of none, as T5X's and
    imported ones.

  Raises:
    DamagedError: where its record was changed.
  """
  root = epath.Path(folder)
  path = root / RECORD
  if not checksums.is_known(root, RECORD, _REMEDY):
    return None
  checksums.verify(root, _REMEDY, [RECORD])
  try:
    record = json.loads(path.read_text())
  except ValueError as error:
    raise checksums.DamagedError(
      f"{path} cannot be read: {error}; {_REMEDY}"
    ) from error
  found = record.get(KEY) if isinstance(record, dict) else None
  return None if found is None else Evaluations.from_json(found, str(path))


@dataclasses.dataclass(frozen=True)
class Order:
  """In which order the checkpoints of a folder are tried.

  Attributes:
    steps: the first whose files are whole is taken.
    wanted: what was asked for.
    evaluations: by which the best one is known; None where it is not.
  """

  steps: list[int]
  wanted: checkpoint_steps.Step
  evaluations: Evaluations | None = None

  @classmethod
  def of(
    cls,
    folders: Mapping[int, os.PathLike[str]],
    wanted: checkpoint_steps.Step,
  ) -> Self:
    """The order that is asked for.

    Args:
      folders: of the checkpoints, by step.
      wanted: "best", "latest" or a step of them.

    Returns:
      The order. "best" is "latest" where nothing says which that is.
    """
    if isinstance(wanted, int):
      return cls([wanted], wanted)
    latest = sorted(folders, reverse=True)
    found = None
    if wanted == checkpoint_steps.BEST:
      found = _of_newest([folders[step] for step in latest])
    if found is None:
      return cls(latest, wanted)
    return cls(found.ranked(latest), wanted, found)

  def chosen(self, step: int) -> checkpoint_steps.Chosen:
    """The step that was taken, and why."""
    if isinstance(self.wanted, int):
      reason = checkpoint_steps.ASKED_FOR
    elif self.evaluations is None:
      reason = checkpoint_steps.NEWEST
    else:
      reason = self.evaluations.reason(step)
    return checkpoint_steps.Chosen(step, reason)


def _of_newest(folders: Sequence[os.PathLike[str]]) -> Evaluations | None:
  """What the first of some checkpoints knows whose record is whole."""
  for folder in folders:
    try:
      return read(folder)
    except checksums.DamagedError as error:
      _LOG.warning("%s. The best one is that of an earlier record", error)
  return None
