"""Candidate lists of a split, made by a retriever and kept in one file.

Four protocols:

- `retrieved`: the retriever's best items, best first. The target is among them
  only where it was retrieved: this is retrieve-then-rerank, as it is served.
- `hard`: the target and the retriever's best other items, in an order drawn by
  seed. The other items are none that the user takes later.
- `random`: the target and items drawn uniformly from those that the user never
  touches, in an order drawn by seed.
- `popularity_matched`: as `random`, from those of them that are about as
  popular as the target; see `matched_candidates`.

None holds an item of the request's history. The file is Parquet, a row a
request; how it was made stands in its metadata, and so does the hash of the
file, which is checked when it is opened.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args

import polars as pl

from instructrec import checksums, output_folder, records
from instructrec.data import (
  candidate_files,
  candidates,
  dataset,
  matched_candidates,
  request,
)
from instructrec.retrieval import retriever

FORMAT_VERSION = 2
_KEY = "instructrec.candidate_lists"

Protocol = Literal["hard", "retrieved", "random", "popularity_matched"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
# Those that draw their items and take no retriever.
DRAWN = ("random", "popularity_matched")
SCHEMA: dict[str, Any] = {
  "request_id": pl.String,
  "user_id": pl.String,
  "target": pl.String,
  "candidates": pl.List(pl.String),
  "scores": pl.List(pl.Float64),
  "retrieved_rank": pl.Int64,
}


@dataclasses.dataclass(frozen=True)
class CandidateLists:
  """Lists to rank, a row a request.

  Attributes:
    frame: rows of `SCHEMA`. `scores` are the retriever's of the candidates,
      null where none made the list; `retrieved_rank` is the target's place
      among the `num_candidates` items retrieved, from 1, null where it is not
      among them.
    manifest: how they were made: `protocol`, `split`, `num_candidates`, `seed`,
      `prepared_fingerprint` and `retriever` (`name`, `method`, `settings`,
      `record`), None where there is none; of `popularity_matched` also
      `window` and `num_widened`.
  """

  frame: pl.DataFrame
  manifest: dict[str, Any]

  @property
  def retriever(self) -> str | None:
    """Name of the retriever, None where none scored the candidates."""
    found = self.manifest["retriever"]
    return None if found is None else found["name"]

  @property
  def facts(self) -> dict[str, Any]:
    """What a report says of them."""
    found = self.manifest["retriever"]
    method = {} if found is None else {"method": found.get("method")}
    return {**self.manifest, "retriever": self.retriever, **method}

  @property
  def recall(self) -> float:
    """Share of the requests whose target was retrieved.

    Raises:
      ValueError: where no retriever made the lists.
    """
    if self.retriever is None:
      raise ValueError("the lists were made without a retriever")
    return 1 - self.frame["retrieved_rank"].null_count() / self.frame.height

  def save(
    self, path: str | os.PathLike[str], *, overwrite: bool = False
  ) -> None:
    """Writes the file, complete or not at all.

    Args:
      path: the file to make.
      overwrite: whether an existing file is replaced.

    Raises:
      FileExistsError: where the file exists and is not to be replaced.
    """
    manifest = {"format_version": FORMAT_VERSION, **self.manifest}
    manifest["sha256"] = checksums.UNSEALED
    with output_folder.making_file(path, overwrite=overwrite) as file:
      self.frame.write_parquet(file, metadata={_KEY: json.dumps(manifest)})
      checksums.seal(file)

  @classmethod
  def load(
    cls,
    path: str | os.PathLike[str],
    prepared: dataset.PreparedData | dataset.ScannedData,
  ) -> Self:
    """Reads what `save` wrote.

    Args:
      path: the file.
      prepared: the data that the lists are to be of.

    Returns:
      The lists.

    Raises:
      FileNotFoundError: where there is no such file.
      DamagedError: where it was changed, or cannot be read.
      ValueError: where it holds no candidate lists, or those of other data.
    """
    path = pathlib.Path(path)
    if not path.is_file():
      raise FileNotFoundError(
        f"no candidate lists at {path}; `instructrec retrieve candidates "
        f"--output={path}` writes them"
      )
    remedy = (
      f"make it with `instructrec retrieve candidates ... --output={path} "
      "--overwrite`, or copy it again"
    )
    checksums.verify_seal(path, remedy)
    with records.reading(path, remedy):
      manifest = json.loads(pl.read_parquet_metadata(path).get(_KEY, "{}"))
      frame = pl.read_parquet(path, glob=False)
    if manifest.pop("format_version", None) != FORMAT_VERSION:
      raise ValueError(
        f"{path} holds no candidate lists of format version {FORMAT_VERSION}; "
        f"{remedy}"
      )
    del manifest["sha256"]
    if manifest["prepared_fingerprint"] != prepared.fingerprint:
      raise ValueError(
        f"{path} holds lists of the data {manifest['prepared_fingerprint']}, "
        f"these are {prepared.fingerprint}; make the lists from these data"
      )
    return cls(frame, manifest)


def build(
  prepared: dataset.PreparedData,
  split: str,
  protocol: Protocol,
  *,
  found: retriever.Retriever | None = None,
  retriever_manifest: Mapping[str, Any] | None = None,
  num_candidates: int = 100,
  num_requests: int | None = None,
  window: int = matched_candidates.WINDOW,
  seed: int = 0,
) -> CandidateLists:
  """Makes the lists of a split.

  Args:
    prepared: the data.
    split: "validation" or "test".
    protocol: see the module.
    found: the fitted retriever; None where items are drawn.
    retriever_manifest: what the lists say about it, its `name` included.
    num_candidates: length of each list.
    num_requests: how many requests, drawn by seed; None for all.
    window: of `popularity_matched`: popularity ranks on either side of the
      target.
    seed: of the subset, of random candidates and of the order.

  Returns:
    The lists, in the order of the prepared requests.

  Raises:
    ValueError: for an unknown protocol, a retriever that is missing or of no
      use, a split without requests, or more candidates than there are items.
  """
  if protocol not in PROTOCOLS:
    raise ValueError(
      f"unknown protocol {protocol!r}; expected one of {PROTOCOLS}"
    )
  if (found is None) != (protocol in DRAWN):
    raise ValueError(
      f"protocol {protocol!r} takes no retriever"
      if found is not None
      else f"protocol {protocol!r} takes the best of a retriever; name one"
    )
  if num_candidates < 2:
    raise ValueError(f"num_candidates is {num_candidates}, expected at least 2")
  rows = prepared.requests.sample(split, num_requests, seed)
  more: dict[str, Any] = {}
  if found is None:
    columns, more = _drawn(
      prepared, rows, protocol, num_candidates, window, seed
    )
  else:
    columns = _retrieved(found, rows, protocol, num_candidates, seed)
  frame = rows.select("request_id", "user_id", "target").with_columns(
    pl.Series(name, values, SCHEMA[name]) for name, values in columns.items()
  )
  manifest = {
    "protocol": protocol,
    "split": split,
    "num_candidates": num_candidates,
    "seed": seed,
    "prepared_fingerprint": prepared.fingerprint,
    "retriever": None if found is None else dict(retriever_manifest or {}),
    **more,
  }
  return CandidateLists(frame, manifest)


def _drawn(
  prepared: dataset.PreparedData,
  rows: pl.DataFrame,
  protocol: Protocol,
  num_candidates: int,
  window: int,
  seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
  """The columns of drawn lists, and what else the manifest says of them."""
  more: dict[str, Any] = {}
  options: dict[str, Any] = {
    "num_negatives": num_candidates - 1,
    "seed": seed,
  }
  if protocol == "random":
    lists = candidates.sample_candidates(
      rows, prepared.catalog, prepared.log, **options
    )
  else:
    lists, widened = matched_candidates.sample(
      rows,
      prepared.catalog,
      prepared.log,
      prepared.split.training_log,
      window=window,
      **options,
    )
    more = {"window": window, "num_widened": widened}
  columns: dict[str, Any] = {
    "candidates": lists["candidates"],
    "scores": [None] * rows.height,
    "retrieved_rank": [None] * rows.height,
  }
  return columns, more


def _retrieved(
  found: retriever.Retriever,
  rows: pl.DataFrame,
  protocol: Protocol,
  num_candidates: int,
  seed: int,
) -> dict[str, Sequence[Any]]:
  """The columns of lists that a retriever makes."""
  requests = request.from_frame(rows)
  later = [frozenset(items or ()) for items in rows["later"].to_list()]
  # Hard lists leave out what comes later, so that more has to be retrieved.
  spare = max(map(len, later)) if protocol == "hard" else 0
  best = found.retrieve(requests, num_candidates + spare)
  lists, ranks = [], []
  for r, items, taken in zip(requests, best.item_ids, later, strict=True):
    top = items[:num_candidates]
    ranks.append(top.index(r.target) + 1 if r.target in top else None)
    if protocol == "hard":
      others = [i for i in items if i != r.target and i not in taken]
      top = candidates.shuffle(
        r.request_id, (*others[: num_candidates - 1], r.target or ""), seed
      )
    lists.append(top)
  if protocol == "hard":
    scores = found.score(
      [
        dataclasses.replace(r, candidates=items)
        for r, items in zip(requests, lists, strict=True)
      ]
    )
  else:
    scores = best.scores
  return {
    "candidates": lists,
    "scores": scores.tolist(),
    "retrieved_rank": ranks,
  }


def published(
  path: str | os.PathLike[str],
  prepared: dataset.PreparedData,
  split: str,
  *,
  num_candidates: int = 20,
  seed: int = 0,
) -> CandidateLists:
  """The lists of a published file; see `candidate_files`.

  Args:
    path: the file.
    prepared: the data that it belongs to.
    split: whose requests get the lists.
    num_candidates: of a list, the target included.
    seed: of the order of candidates.

  Returns:
    Lists without a retriever's scores.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where it does not fit the data.
  """
  requests = candidate_files.requests(
    candidate_files.read(path, prepared.catalog),
    prepared.requests.read(split),
    num_candidates=num_candidates,
    seed=seed,
  )
  frame = pl.DataFrame(
    [
      (r.request_id, r.user_id, r.target, list(r.candidates), None, None)
      for r in requests
    ],
    SCHEMA,
    orient="row",
  )
  manifest = {
    "protocol": f"published: {path}",
    "split": split,
    "num_candidates": num_candidates,
    "seed": seed,
    "prepared_fingerprint": prepared.fingerprint,
    "retriever": None,
  }
  return CandidateLists(frame, manifest)
