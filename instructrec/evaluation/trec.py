r"""Candidate lists as TREC files: what is right (qrels), how a method ranks.

    qrels: request 0 item 1           run: request Q0 item rank score tag

trec_eval and what is built on it (pytrec_eval, ir_measures, ranx) read them.
They break ties by the item's id, and trec_eval holds scores as 32-bit floats;
our metrics take the expected value of a tie (`evaluation.metrics`).
"""

import contextlib
import gzip
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, cast

import numpy as np
import polars as pl

from instructrec.evaluation import file_names, scored_lists


def _words(texts: Sequence[str]) -> list[str]:
  """Ids without blanks; those that have any are percent-encoded.

  No two ids become the same: a percent sign is encoded, too.
  """
  if "" in texts:
    raise ValueError(
      f"id {list(texts).index('')} of {len(texts)} is empty, expected a text"
    )
  return [re.sub(r"[\s%]", _percent, text) for text in texts]


def _percent(found: re.Match[str]) -> str:
  return "".join(f"%{byte:02X}" for byte in found[0].encode())


@contextlib.contextmanager
def _complete(path: pathlib.Path) -> Iterator[IO[bytes]]:
  """A compressed file that is there when it is complete."""
  temporary = path.with_name(f"{path.name}.incomplete")
  # Without a time of its own, the same lists give the same bytes.
  with (
    temporary.open("wb") as raw,
    gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file,
  ):
    yield cast(IO[bytes], file)
  temporary.replace(path)


def _append(file: IO[bytes], columns: Mapping[str, Any]) -> None:
  pl.DataFrame(columns).write_csv(
    file, include_header=False, separator=" ", quote_style="never"
  )


def write(
  directory: str | os.PathLike[str],
  lists: Iterable[scored_lists.ScoredLists],
) -> None:
  """Writes `qrels.gz` and, for each method, `<method>.run.gz`.

  Memory holds one part of the lists at a time.

  Args:
    directory: the folder; made where it is missing.
    lists: all of the same methods. A score that is not a number is written as
      minus infinity.

  Raises:
    ValueError: where an id is empty, or scores are not of the lists' shape.
  """
  folder = pathlib.Path(directory)
  folder.mkdir(parents=True, exist_ok=True)
  with contextlib.ExitStack() as stack:
    qrels = stack.enter_context(_complete(folder / "qrels.gz"))
    runs: dict[str, tuple[str, IO[bytes]]] = {}
    for part in lists:
      if not runs:
        tags = file_names.unique(list(part.scores))
        for method, tag in zip(part.scores, tags, strict=True):
          run = stack.enter_context(_complete(folder / f"{tag}.run.gz"))
          runs[method] = tag, run
      _append_part(qrels, runs, part)


def _append_part(
  qrels: IO[bytes],
  runs: Mapping[str, tuple[str, IO[bytes]]],
  part: scored_lists.ScoredLists,
) -> None:
  queries = _words(part.request_ids)
  _append(
    qrels,
    {
      "request": queries,
      "iteration": np.zeros(len(queries), np.int64),
      "item": _words(part.targets),
      "relevance": np.ones(len(queries), np.int64),
    },
  )
  lengths = np.array([len(ids) for ids in part.candidates])
  items = np.array(_words([i for ids in part.candidates for i in ids]), object)
  starts = np.cumsum(lengths) - lengths
  slots = np.arange(lengths.max())
  where = slots < lengths[:, None]
  for method, values in part.scores.items():
    if values.shape != where.shape:
      raise ValueError(
        f"{method}: scores have shape {values.shape}, expected {where.shape}"
      )
    tag, run = runs[method]
    filled = np.where(np.isnan(values) | ~where, -np.inf, values)
    # Of equal scores the first of the list; empty slots stay at the end.
    order = np.argsort(-filled, axis=1, kind="stable")
    _append(
      run,
      {
        "request": np.repeat(np.array(queries, object), lengths),
        "Q0": ["Q0"] * len(items),
        "item": items[(starts[:, None] + order)[where]],
        "rank": (slots + np.ones_like(order))[where],
        "score": np.take_along_axis(filled, order, 1)[where].astype(np.float64),
        "tag": [tag] * len(items),
      },
    )
