"""Prepared data on disk: interactions, items, requests with candidates.

A folder of Parquet files, a `manifest.json` that says how it was made, and the
`SHA256SUMS` of all of them. It is written to a temporary folder and renamed,
so that nothing half written is ever found.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from typing import Any

import polars as pl

from instructrec import checksums, output_folder, records
from instructrec.data import catalog, interaction, ratings, requests, splits

FORMAT_VERSION = 3
_ROW_GROUP = 4096
"""Rows that are read at once."""
_TABLES = ("interactions", "items", "requests", "training")
_MANIFEST = "manifest.json"
MARKER = "requests.parquet"
"""A file that no other kind of output has; see `output_folder.check`."""


@dataclasses.dataclass(frozen=True)
class PreparedData:
  """What `instructrec prepare` makes.

  Attributes:
    log: all interactions.
    catalog: the items.
    split: requests with `candidates` and `label`.
    manifest: how it was made: source, parameters, seeds, counts, warnings.
  """

  log: interaction.InteractionLog
  catalog: catalog.Catalog
  split: splits.Split
  manifest: dict[str, Any]

  @property
  def fingerprint(self) -> str:
    """SHA-256 over the four tables, as "sha256:<hex>"."""
    return self.manifest["fingerprint"]

  @functools.cached_property
  def requests(self) -> requests.Requests:
    """The requests, in ranges."""
    return requests.Requests(self.split.requests.lazy())

  @property
  def training(self) -> pl.LazyFrame:
    """The interactions of the training log."""
    return self.split.training_log.frame.lazy()

  @functools.cached_property
  def ratings(self) -> ratings.Ratings:
    """What users gave to items."""
    return ratings.Ratings(self.log.frame.lazy())


@dataclasses.dataclass(frozen=True)
class ScannedData:
  """What `instructrec prepare` makes, its requests left on disk.

  Attributes:
    catalog: the items.
    requests: read from the file range by range.
    training: the interactions of the training log.
    ratings: read from the file user by user.
    manifest: see `PreparedData`.
  """

  catalog: catalog.Catalog
  requests: requests.Requests
  training: pl.LazyFrame
  ratings: ratings.Ratings
  manifest: dict[str, Any]

  @property
  def fingerprint(self) -> str:
    """See `PreparedData.fingerprint`."""
    return self.manifest["fingerprint"]


def _counts(
  log: interaction.InteractionLog,
  items: catalog.Catalog,
  found: pl.DataFrame,
) -> dict[str, Any]:
  by_split = found.group_by("split", maintain_order=True).len()
  return {
    "users": log.num_users,
    "items": len(items),
    "interactions": len(log),
    "reviews": len(log) - log.frame["review"].null_count(),
    "title_collisions": items.num_title_collisions,
    "requests": dict(by_split.iter_rows()),
  }


def save(
  directory: str | os.PathLike[str],
  *,
  log: interaction.InteractionLog,
  items: catalog.Catalog,
  split: splits.Split,
  record: dict[str, Any],
  overwrite: bool = False,
) -> PreparedData:
  """Writes prepared data, complete or not at all.

  Args:
    directory: the folder to make.
    log: all interactions.
    items: the catalogue.
    split: requests with candidates.
    record: source, parameters and seeds, JSON values.
    overwrite: whether an existing folder is replaced.

  Returns:
    The data with its manifest.

  Raises:
    FileExistsError: where the folder exists and is not to be replaced, or
      holds something else.
    OSError: also where the disk is full; what was written is removed.
  """
  tables = {
    "interactions": log.frame,
    "items": items.frame,
    "requests": split.requests,
    "training": split.training_log.frame,
  }
  contents = {
    name: interaction.frame_fingerprint(frame) for name, frame in tables.items()
  }
  manifest = {
    "format_version": FORMAT_VERSION,
    **record,
    "split": {"name": split.name, **split.parameters},
    "warnings": list(split.warnings),
    "counts": _counts(log, items, split.requests),
    "contents": contents,
    "fingerprint": "sha256:"
    + hashlib.sha256(json.dumps(contents).encode()).hexdigest(),
  }
  with output_folder.making(
    directory, overwrite=overwrite, marker=MARKER
  ) as folder:
    for name, frame in tables.items():
      frame.write_parquet(folder / f"{name}.parquet", row_group_size=_ROW_GROUP)
    text = json.dumps(manifest, indent=2)
    (folder / _MANIFEST).write_text(f"{text}\n")
  return PreparedData(log, items, split, manifest)


def load(
  directory: str | os.PathLike[str], *, fingerprint: str | None = None
) -> PreparedData:
  """Opens prepared data and checks every file against its hash.

  Args:
    directory: what `save` wrote.
    fingerprint: of the data that are wanted; None takes whatever is there.

  Returns:
    The data.

  Raises:
    FileNotFoundError: where the folder holds no prepared data.
    DamagedError: where a file was changed.
    ValueError: where the data or the format are others.
  """
  folder = pathlib.Path(directory)
  manifest = _checked_manifest(folder)
  if fingerprint not in (None, manifest["fingerprint"]):
    raise ValueError(
      f"{folder} holds the data {manifest['fingerprint']}, expected "
      f"{fingerprint}: they were prepared anew since; prepare them as before, "
      "or go on from these (generate, train)"
    )
  with records.reading(folder, _remedy(folder)):
    frames = {
      n: pl.read_parquet(folder / f"{n}.parquet", glob=False) for n in _TABLES
    }
  parameters = dict(manifest["split"])
  split = splits.Split(
    name=parameters.pop("name"),
    requests=frames["requests"],
    training_log=interaction.InteractionLog(frames["training"]),
    parameters=parameters,
    warnings=tuple(manifest["warnings"]),
  )
  return PreparedData(
    interaction.InteractionLog(frames["interactions"]),
    catalog.Catalog(frames["items"]),
    split,
    manifest,
  )


def scan(directory: str | os.PathLike[str]) -> ScannedData:
  """Opens prepared data without its requests; as `load` otherwise.

  Args:
    directory: what `save` wrote.

  Returns:
    The data; memory grows with the items, not with the users.

  Raises:
    FileNotFoundError: where the folder holds no prepared data.
    DamagedError: where a file was changed.
    ValueError: where the format is another one.
  """
  folder = pathlib.Path(directory)
  manifest = _checked_manifest(folder)
  with records.reading(folder / "items.parquet", _remedy(folder)):
    items = pl.read_parquet(folder / "items.parquet", glob=False)
  return ScannedData(
    catalog.Catalog(items),
    requests.Requests(pl.scan_parquet(folder / "requests.parquet", glob=False)),
    pl.scan_parquet(folder / "training.parquet", glob=False),
    ratings.Ratings(
      pl.scan_parquet(folder / "interactions.parquet", glob=False)
    ),
    manifest,
  )


def _remedy(folder: pathlib.Path) -> str:
  return (
    f"make it again with `instructrec prepare ... --output={folder} "
    "--overwrite`, or copy the folder again"
  )


def _checked_manifest(folder: pathlib.Path) -> dict[str, Any]:
  remedy = _remedy(folder)
  if not checksums.is_known(folder, MARKER, remedy):
    raise FileNotFoundError(
      f"{folder} holds no prepared data ({MARKER} is missing); "
      f"`instructrec prepare --output {folder}` makes it"
    )
  tables = [f"{name}.parquet" for name in _TABLES]
  checksums.verify(folder, remedy, [_MANIFEST, *tables])
  return records.read(
    folder / _MANIFEST,
    expected={"format_version": FORMAT_VERSION},
    remedy=remedy,
  )
