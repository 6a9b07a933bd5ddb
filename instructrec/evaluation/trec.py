r"""Candidate lists as TREC files: what is right (qrels), how a method ranks.

    qrels: request 0 item 1           run: request Q0 item rank score tag

trec_eval and what is built on it (pytrec_eval, ir_measures, ranx) read them.
They break ties by the item's id, and trec_eval holds scores as 32-bit floats;
our metrics take the expected value of a tie (`evaluation.metrics`).
"""

import gzip
import os
import pathlib
import re
from collections.abc import Sequence
from typing import IO, cast

import numpy as np
import polars as pl
from jaxtyping import Float

from instructrec.evaluation import facts, file_names


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


def _write(path: pathlib.Path, frame: pl.DataFrame) -> None:
  temporary = path.with_name(f"{path.name}.incomplete")
  # Without a time of its own, the same lists give the same bytes.
  with (
    temporary.open("wb") as raw,
    gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file,
  ):
    frame.write_csv(
      cast(IO[bytes], file),
      include_header=False,
      separator=" ",
      quote_style="never",
    )
  temporary.replace(path)


def write(
  directory: str | os.PathLike[str],
  request_ids: Sequence[str],
  lists: facts.Facts,
  scores: dict[str, Float[np.ndarray, "requests candidates"]],
) -> None:
  """Writes `qrels.gz` and, for each method, `<method>.run.gz`.

  Args:
    directory: the folder; made where it is missing.
    request_ids: id of each request.
    lists: what each request ranks.
    scores: by method; what lies past the end of a list is left out. A score
      that is not a number is written as minus infinity.

  Raises:
    ValueError: where there are no lists, or an id is empty.
  """
  if lists.candidates is None:
    raise ValueError("there are no candidate lists, expected item ids")
  folder = pathlib.Path(directory)
  folder.mkdir(parents=True, exist_ok=True)
  queries = _words(request_ids)
  qrels = {
    "request": queries,
    "iteration": np.zeros(len(queries), np.int64),
    "item": _words(lists.targets),
    "relevance": np.ones(len(queries), np.int64),
  }
  _write(folder / "qrels.gz", pl.DataFrame(qrels))
  lengths = np.array([len(ids) for ids in lists.candidates])
  items = np.array(_words([i for ids in lists.candidates for i in ids]), object)
  starts = np.cumsum(lengths) - lengths
  slots = np.arange(lengths.max())
  where = slots < lengths[:, None]
  for (method, values), tag in zip(
    scores.items(), file_names.unique(list(scores)), strict=True
  ):
    if values.shape != where.shape:
      raise ValueError(
        f"{method}: scores have shape {values.shape}, expected {where.shape}"
      )
    filled = np.where(np.isnan(values) | ~where, -np.inf, values)
    # Of equal scores the first of the list; empty slots stay at the end.
    order = np.argsort(-filled, axis=1, kind="stable")
    columns = {
      "request": np.repeat(np.array(queries, object), lengths),
      "Q0": ["Q0"] * len(items),
      "item": items[(starts[:, None] + order)[where]],
      "rank": (slots + np.ones_like(order))[where],
      "score": np.take_along_axis(filled, order, 1)[where].astype(np.float64),
      "tag": [tag] * len(items),
    }
    _write(folder / f"{tag}.run.gz", pl.DataFrame(columns))
