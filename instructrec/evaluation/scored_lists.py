"""Candidate lists with the scores of every method, some requests at a time.

Scores of all candidates are many times what metrics keep of a request. Whoever
gathers them over many requests keeps them in a `Spool` and not in memory.
"""

import dataclasses
import io
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredLists:
  """The lists of some requests.

  Attributes:
    request_ids: of each.
    targets: id of the right item.
    candidates: ids in the order in which they were presented.
    scores: by method; what lies past the end of a list means nothing.
  """

  request_ids: Sequence[str]
  targets: Sequence[str]
  candidates: Sequence[Sequence[str]]
  scores: Mapping[str, Float[np.ndarray, "requests candidates"]]

  def take(self, rows: Bool[np.ndarray, " requests"]) -> "ScoredLists":
    """The lists of some of them, in the same order.

    Args:
      rows: which, at least one.

    Returns:
      Theirs; scores are as wide as their longest list.
    """
    chosen = np.flatnonzero(rows).tolist()
    candidates = [self.candidates[i] for i in chosen]
    width = max(map(len, candidates))
    return ScoredLists(
      request_ids=[self.request_ids[i] for i in chosen],
      targets=[self.targets[i] for i in chosen],
      candidates=candidates,
      scores={n: values[rows, :width] for n, values in self.scores.items()},
    )


class Spool:
  """Lists in a file without a name, which is gone with the object.

  It lies where `tempfile` puts files: set `TMPDIR` for another folder.
  """

  def __init__(self) -> None:
    self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below.
    weakref.finalize(self, self._file.close)
    self._ends = [0]
    self._methods: list[str] = []

  def append(self, part: ScoredLists) -> None:
    """Adds lists.

    Args:
      part: the lists.

    Raises:
      ValueError: where they are of other methods than those before.
    """
    self._methods = self._methods or list(part.scores)
    if set(part.scores) != set(self._methods):
      raise ValueError(
        f"lists are scored by {list(part.scores)}, expected {self._methods} as "
        "those before"
      )
    columns: dict[str, Any] = {
      "request_id": list(part.request_ids),
      "target": list(part.targets),
      "candidates": [list(ids) for ids in part.candidates],
    }
    # Numbers stand for the methods, which may be called anything.
    for i, name in enumerate(self._methods):
      columns[str(i)] = np.asarray(part.scores[name], np.float64)
    self._file.seek(self._ends[-1])
    pl.DataFrame(columns).write_ipc(self._file)
    self._ends.append(self._file.tell())

  def __iter__(self) -> Iterator[ScoredLists]:
    for start, end in zip(self._ends, self._ends[1:], strict=False):
      self._file.seek(start)
      frame = pl.read_ipc(io.BytesIO(self._file.read(end - start)))
      yield ScoredLists(
        request_ids=frame["request_id"].to_list(),
        targets=frame["target"].to_list(),
        candidates=frame["candidates"].to_list(),
        scores={
          name: frame[str(i)].to_numpy() for i, name in enumerate(self._methods)
        },
      )


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
  """Some of the lists that stand elsewhere.

  Attributes:
    parts: the lists.
    rows: which of their requests, over all parts.
  """

  parts: Iterable[ScoredLists]
  rows: Bool[np.ndarray, " requests"]

  def __iter__(self) -> Iterator[ScoredLists]:
    end = 0
    for part in self.parts:
      start, end = end, end + len(part.request_ids)
      chosen = self.rows[start:end]
      if chosen.any():
        yield part.take(chosen)
