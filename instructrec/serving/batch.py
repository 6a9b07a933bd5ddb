"""Recommendations for a file of requests, which may be stopped and goes on.

Requests are taken by units of so many lines. A unit's answers are written
beside the output, with the hash of the lines that they answer, so that the next
start makes only those that are missing, or whose lines are others by now.
Processes take turns at units, and the first one joins them all into the output.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import jax

import instructrec
from instructrec import limits, output_folder, progress
from instructrec.data import raw_file
from instructrec.serving import (
  answer_units,
  rankings,
  request_lines,
  run_ranker,
)
from instructrec.settings import preparation, ranking
from instructrec.training import distributed

UNIT = 1024
"""Lines of a unit."""
_MOST_SCORES = 2**22
"""Scores of items that are held at once, of each part."""
_MOST_REQUESTS = 256


class BadRequestError(ValueError):
  """A line is no request that has an answer."""


@dataclasses.dataclass(frozen=True)
class Line:
  """A line of a file of requests.

  Attributes:
    number: from 1.
    text: as it stands there.
  """

  number: int
  text: bytes


def recommend(
  ranker: run_ranker.Ranker,
  settings: ranking.RecommendationSettings,
  tell: Callable[[str], None],
) -> answer_units.Summary:
  """Answers the requests of a file.

  Args:
    ranker: the run.
    settings: with `input` and `output`.
    tell: takes a line for what should be known.

  Returns:
    What it came to.

  Raises:
    BadRequestError: for the first line that is wrong, where wrong ones stop.
    FileExistsError: where the output exists and is not to be replaced.
    FileNotFoundError: where there is no input.
    InUseError: where another process makes the output.
  """
  output, path = settings.output, settings.input
  assert output is not None
  assert path is not None
  lock = output_folder.locked(output, "recommend", tell)
  # The lead's lock; the others work for it.
  with lock if distributed.is_lead() else contextlib.nullcontext():
    distributed.by_lead(
      "recommend/check",
      lambda: output_folder.check(output, overwrite=settings.overwrite),
    )
    file, units = raw_file.open_raw(path), answer_units.AnswerUnits(output)
    key = _key(ranker, settings)
    distributed.by_lead("recommend/begin", lambda: units.begin(key))
    count = _Batch(ranker, settings, units, file.name).run(file)
    distributed.meet("recommend/made")
    found = units.summary(count)
    distributed.meet("recommend/counted")
    if distributed.is_lead():
      units.join(count, output, overwrite=settings.overwrite)
    return found


def _key(
  ranker: run_ranker.Ranker, settings: ranking.RecommendationSettings
) -> str:
  """What answers are made from, their requests aside."""
  opened = ranker.opened
  facts = {
    "version": instructrec.__version__,
    "run": str(opened.run.directory.resolve()),
    "checkpoint": [opened.checkpoint, opened.run.config],
    "catalog": opened.catalog.fingerprint(),
    "settings": [
      *(settings.k, settings.reasons, settings.on_unknown, UNIT),
    ],
  }
  if opened.ranks_catalogs:
    weights = opened.catalog_ranker.weights
    kinds = sorted(weights.by_kind)
    facts["weights"] = [
      [kind, *weights.of_kind(kind).items()] for kind in kinds
    ]
  return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _units(file: raw_file.RawFile) -> Iterator[list[Line]]:
  """The lines that are not empty, by units."""
  lines = (
    Line(number, text)
    for number, text in enumerate(file.lines(), 1)
    if text.strip()
  )
  while unit := list(itertools.islice(lines, UNIT)):
    yield unit


def _digest(unit: list[Line]) -> str:
  digest = hashlib.sha256()
  for line in unit:
    digest.update(f"{line.number}:{len(line.text)}:".encode() + line.text)
  return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class _Batch:
  """A file of requests that is answered.

  Attributes:
    ranker: the run.
    settings: of the command.
    units: where answers are kept.
    name: what the user calls the file.
  """

  ranker: run_ranker.Ranker
  settings: ranking.RecommendationSettings
  units: answer_units.AnswerUnits
  name: str

  def run(self, file: raw_file.RawFile) -> int:
    """Answers what this process has to; returns the number of units."""
    total = sum(1 for line in file.lines() if line.strip())
    count, index = jax.process_count(), jax.process_index()
    number = -1
    with progress.Progress(
      total, "recommend", unit="requests", enabled=distributed.is_lead()
    ) as shown:
      for number, unit in enumerate(_units(file)):
        if number % count == index:
          lines = _digest(unit)
          if not self.units.has(number, lines, allow_wrong=self._skips):
            self.units.keep(number, self._answers(unit), lines)
        shown.advance(len(unit))
    return number + 1

  def _answers(self, unit: list[Line]) -> Iterator[dict[str, Any]]:
    size = max(1, _MOST_SCORES // len(self.ranker.opened.catalog))
    size = min(size, _MOST_REQUESTS)
    for start in range(0, len(unit), size):
      yield from self._answered(unit[start : start + size])

  def _answered(self, lines: list[Line]) -> Iterator[dict[str, Any]]:
    """The answers to some lines, scored together, in their order."""
    named: list[dict[str, Any]] = []
    requests: dict[int, rankings.Request] = {}
    for line in lines:
      named.append({"line": line.number})
      try:
        limits.LINE_BYTES.check(len(line.text), "the line")
        request = request_lines.parse(line.text)
        if request.id is not None:
          named[-1]["id"] = request.id
        requests[len(named) - 1] = request.of(
          self.ranker, k=self.settings.k, on_unknown=self.settings.on_unknown
        )
      except ValueError as error:
        self._wrong(line, error)
        named[-1]["error"] = str(error)
    found = dict(
      zip(requests, self.ranker.rank_all([*requests.values()]), strict=True)
    )
    for place, one in enumerate(named):
      if place not in found:
        yield one
        continue
      explained = None
      if self.settings.reasons:
        explained = self.ranker.explain(requests[place], found[place])
      yield one | request_lines.answer(found[place], explained)

  @property
  def _skips(self) -> bool:
    return self.settings.on_bad_row == preparation.OnBadRow.skip

  def _wrong(self, line: Line, error: ValueError) -> None:
    if not self._skips:
      raise BadRequestError(
        f"{self.name}, line {line.number}: {error}; correct the file and start "
        "again, which goes on from here, or pass --on_bad_row=skip to write "
        "what is wrong in the place of an answer"
      ) from error
