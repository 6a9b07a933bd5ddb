"""Raw data of any kind: which reader takes them, and how long that takes."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

import polars as pl

from instructrec.data import (
  amazon,
  bad_rows,
  catalog,
  download,
  frames,
  interaction,
  movielens,
  raw_file,
  recbole,
  synthetic,
  table,
)
from instructrec.settings.preparation import Source, SourceSettings

Tell = Callable[[str], None]
_LARGE = 10_000_000
"""Bytes of a file that takes long enough to be named while it is read."""


@dataclasses.dataclass(frozen=True)
class RawData:
  """What was read.

  Attributes:
    kind: of the data.
    log: the interactions.
    catalog: the items.
    bad: the rows that were left out, and notes.
    checksums: of files that were fetched, by name.
  """

  kind: Source
  log: interaction.InteractionLog
  catalog: catalog.Catalog
  bad: bad_rows.BadRows
  checksums: dict[str, str]


def load(
  settings: SourceSettings, *, seed: int, tell: Tell, step: Tell
) -> RawData:
  """Reads raw data.

  Args:
    settings: which.
    seed: of synthetic data.
    tell: takes a line for what should be known.
    step: takes a line for what takes long, as it begins.

  Returns:
    The data.

  Raises:
    FileNotFoundError: where files are missing.
    ValueError: where they cannot be read.
    OSError: where a set cannot be fetched.
  """
  checksums: dict[str, str] = {}
  if settings.download is not None:
    fetched = _fetch(settings.download, tell)
    checksums = fetched.checksums
    settings = dataclasses.replace(
      settings,
      download=None,
      source=Source(fetched.source),
      input=fetched.input,
      items=fetched.items,
    )
  assert settings.source is not None
  if settings.source == Source.synthetic:
    log, items = synthetic.generate(
      settings.num_users, settings.num_items, seed=seed
    )
    return RawData(settings.source, log, items, bad_rows.BadRows(), checksums)
  return RawData(settings.source, *_read(settings, step), checksums)


def _read(
  settings: SourceSettings, step: Tell
) -> tuple[interaction.InteractionLog, catalog.Catalog, bad_rows.BadRows]:
  """Reads files, large ones by name."""
  source = settings.source
  policy: bad_rows.Policy = settings.on_bad_row.value
  tables: dict[str, pathlib.Path | pl.DataFrame | None] = {
    "interactions": settings.input,
    "items": settings.items,
    "reviews": settings.reviews,
  }
  paths = [path for path in tables.values() if isinstance(path, pathlib.Path)]
  raw_file.missing(paths)
  for path in map(pathlib.Path.expanduser, paths):
    files = path.iterdir() if path.is_dir() else (path,)
    size = sum(file.stat().st_size for file in files if file.is_file())
    if size >= _LARGE:
      step(f"reading {path} ({size / 1e6:,.0f} MB)")
  if source == Source.table:
    return _tables(settings, tables, policy)
  assert settings.input is not None
  if source == Source.movielens:
    return movielens.load(settings.input, policy=policy)
  if source == Source.recbole:
    return recbole.load(settings.input, policy=policy)
  assert settings.items is not None
  return amazon.load(settings.input, settings.items, policy=policy)


def _tables(
  settings: SourceSettings,
  given: Mapping[str, pathlib.Path | pl.DataFrame | None],
  policy: bad_rows.Policy,
) -> tuple[interaction.InteractionLog, catalog.Catalog, bad_rows.BadRows]:
  """Reads plain tables: files, and those that are in memory."""
  held = {name: frames.of(t, name) for name, t in settings.frames.items()}
  tables = {**given, **held}
  interactions, items = tables["interactions"], tables["items"]
  assert interactions is not None
  assert items is not None
  return table.load(
    interactions,
    items,
    tables["reviews"],
    columns=settings.columns,
    no_header=settings.no_header,
    policy=policy,
  )


def _fetch(name: str, tell: Tell) -> download.Fetched:
  """Fetches a set, and says where it is and what vouches for it."""
  fetched = download.fetch(name)
  place = fetched.input if fetched.items is None else fetched.input.parent
  tell(f"{name} is in {place}")
  for file in download.remotes(name):
    if file.checksum is None:
      found = fetched.checksums[file.name]
      tell(f"note: {file.name} has {found}; its publisher names none")
  return fetched
