"""`instructrec prepare`: raw logs in, splits and candidate sets out."""

import enum
import pathlib
from collections.abc import Collection
from typing import Annotated, Any

import typer


class Source(enum.StrEnum):
  """Kinds of raw data."""

  synthetic = "synthetic"
  table = "table"
  recbole = "recbole"
  movielens = "movielens"
  amazon = "amazon"


class SplitName(enum.StrEnum):
  """How requests are split."""

  leave_one_out = "leave_one_out"
  global_time = "global_time"


class Negatives(enum.StrEnum):
  """How negatives are drawn."""

  uniform = "uniform"
  popularity = "popularity"


class Repeats(enum.StrEnum):
  """What to do with an item that a user takes again."""

  drop = "drop"
  keep = "keep"


class Table(enum.StrEnum):
  """The tables of a source."""

  interactions = "interactions"
  items = "items"
  reviews = "reviews"


class OnBadRow(enum.StrEnum):
  """What to do with rows that cannot be read."""

  error = "error"
  skip = "skip"


_Path = pathlib.Path
_LARGE = 10_000_000
"""Bytes of a file that takes long enough to be named while it is read."""
_LONG = 100_000
"""Interactions that take long enough for steps to be named."""


def prepare(
  source: Annotated[Source, typer.Option(help="Kind of raw data.")],
  output: Annotated[_Path, typer.Option(help="Folder to make.")],
  input: Annotated[
    _Path | None,
    typer.Option(
      help="recbole, movielens: the folder. amazon: reviews. table: "
      "interactions, with the columns user_id and item_id, and timestamp (Unix "
      "time or ISO date) or position, rating, text, summary where there are "
      "any. Files may be gzipped or pipes; - is the standard input."
    ),
  ] = None,
  items: Annotated[
    _Path | None,
    typer.Option(
      help="amazon: metadata. table: items, with the columns item_id and "
      "title, and categories, brand, price, description where there are any."
    ),
  ] = None,
  reviews: Annotated[
    _Path | None,
    typer.Option(
      help="table: review texts, with the columns user_id, item_id and text, "
      "and rating, summary where there are any."
    ),
  ] = None,
  column: Annotated[
    list[str] | None,
    typer.Option(
      help="table: NAME=COLUMN, what a column is called where it differs: "
      "user_id=customer in all tables, items.item_id=sku in one, text= for "
      "none; may be repeated. docs/data.md has all names."
    ),
  ] = None,
  no_header: Annotated[
    list[Table] | None,
    typer.Option(
      help="table: this table does not name its columns; they are called 1, 2, "
      "3 and so on; may be repeated."
    ),
  ] = None,
  num_users: Annotated[
    int, typer.Option(help="synthetic: how many users.", min=1)
  ] = 2000,
  num_items: Annotated[
    int, typer.Option(help="synthetic: how many items.", min=1)
  ] = 400,
  min_rating: Annotated[
    float | None,
    typer.Option(
      help="Leave out interactions that are rated lower, or not rated."
    ),
  ] = None,
  repeats: Annotated[
    Repeats,
    typer.Option(
      help="What to do with an item that a user takes again: drop it, or keep "
      "it in histories and as a target."
    ),
  ] = Repeats.drop,
  min_interactions: Annotated[
    int,
    typer.Option(help="k of the k-core of users and items; 1 for none.", min=1),
  ] = 5,
  keep_rare_items: Annotated[
    bool,
    typer.Option(
      "--keep_rare_items",
      help="Keep items in the catalogue, and so among negatives, that the "
      "k-core took out of the log; one may be the negative of a user who took "
      "it.",
    ),
  ] = False,
  articles_first: Annotated[
    bool,
    typer.Option(
      "--articles_first", help='Call "Boot, Das (1981)" "Das Boot (1981)".'
    ),
  ] = False,
  vocabulary: Annotated[
    _Path | None,
    typer.Option(
      help="SentencePiece model, e.g. T5's: titles that it cannot tell apart "
      "get brand, year or number behind them."
    ),
  ] = None,
  split: Annotated[
    SplitName, typer.Option(help="How requests are split.")
  ] = SplitName.leave_one_out,
  max_history: Annotated[
    int,
    typer.Option(help="Longest history, in items; the newest are kept.", min=1),
  ] = 20,
  max_train_targets: Annotated[
    int | None,
    typer.Option(
      help="Newest training targets of each user; all if left out.", min=1
    ),
  ] = None,
  max_validation_targets: Annotated[
    int | None,
    typer.Option(
      help="global_time: first interactions of each user in the validation "
      "window that become requests; the last alone if left out.",
      min=1,
    ),
  ] = None,
  max_test_targets: Annotated[
    int | None,
    typer.Option(
      help="The same of the test window, for logs with few users.", min=1
    ),
  ] = None,
  num_negatives: Annotated[
    int, typer.Option(help="Candidates beside the target.", min=1)
  ] = 9,
  negatives: Annotated[
    Negatives, typer.Option(help="How they are drawn.")
  ] = Negatives.uniform,
  seed: Annotated[
    int, typer.Option(help="Of candidates and synthetic data.", min=0)
  ] = 0,
  on_bad_row: Annotated[
    OnBadRow, typer.Option(help="Stop at a bad row, or count and report it.")
  ] = OnBadRow.error,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output.")
  ] = False,
) -> None:
  """Read raw logs; filter, split by time, draw candidates, freeze all."""
  run(
    source=source.value,
    output=output,
    input_path=input,
    items=items,
    reviews=reviews,
    columns=dict(_assignment(text) for text in column or ()),
    no_header=[table.value for table in no_header or ()],
    num_users=num_users,
    num_items=num_items,
    min_rating=min_rating,
    repeats=repeats.value,
    min_interactions=min_interactions,
    keep_rare_items=keep_rare_items,
    articles_first=articles_first,
    vocabulary=vocabulary,
    split=split.value,
    max_history=max_history,
    max_train_targets=max_train_targets,
    max_validation_targets=max_validation_targets,
    max_test_targets=max_test_targets,
    num_negatives=num_negatives,
    negatives=negatives.value,
    seed=seed,
    on_bad_row=on_bad_row.value,
    overwrite=overwrite,
  )


def _assignment(text: str) -> tuple[str, str]:
  name, equals, value = text.partition("=")
  if not equals:
    raise typer.BadParameter(
      f"--column={text}: expected NAME=COLUMN, e.g. user_id=customer"
    )
  return name, value


def _load(
  source: str,
  input_path: _Path | None,
  items: _Path | None,
  reviews: _Path | None,
  columns: dict[str, str],
  no_header: Collection[str],
  policy: Any,
) -> Any:
  """Reads a raw source; returns log, catalogue and bad rows."""
  from instructrec.data import amazon, movielens, raw_file, recbole, table

  if input_path is None or (source in ("table", "amazon") and items is None):
    needed = (
      "--input and --items" if source in ("table", "amazon") else "--input"
    )
    raise ValueError(f"source {source} needs {needed}")
  if source != "table" and (columns or no_header):
    raise ValueError(
      f"--column and --no_header are of --source=table; source {source} knows "
      "its columns"
    )
  given = [path for path in (input_path, items, reviews) if path is not None]
  raw_file.missing(given)
  for path in given:
    files = path.iterdir() if path.is_dir() else (path,)
    size = sum(file.stat().st_size for file in files if file.is_file())
    if size >= _LARGE:
      typer.echo(f"reading {path} ({size / 1e6:,.0f} MB)", err=True)
  if source == "movielens":
    return movielens.load(input_path, policy=policy)
  if source == "recbole":
    return recbole.load(input_path, policy=policy)
  assert items is not None
  if source == "amazon":
    return amazon.load(input_path, items, policy=policy)
  return table.load(
    input_path,
    items,
    reviews,
    columns=columns,
    no_header=no_header,
    policy=policy,
  )


def _looks(vocabulary: _Path | None) -> Any:
  """What titles look like to a vocabulary; None without one."""
  if vocabulary is None:
    return None
  from instructrec.models import tokenizer

  return tokenizer.Tokenizer(vocabulary).looks


def run(
  *,
  source: str,
  output: _Path,
  input_path: _Path | None = None,
  items: _Path | None = None,
  reviews: _Path | None = None,
  columns: dict[str, str] | None = None,
  no_header: Collection[str] = (),
  num_users: int = 2000,
  num_items: int = 400,
  vocabulary: _Path | None = None,
  seed: int = 0,
  on_bad_row: str = "error",
  overwrite: bool = False,
  **options: Any,
) -> None:
  """Prepares; the function behind the command.

  Args are its options; those that are not named are `preparation.Settings`.
  """
  import dataclasses

  from instructrec import output_folder
  from instructrec.data import bad_rows, dataset, preparation, synthetic

  settings = preparation.Settings(seed=seed, **options)
  output_folder.check(output, overwrite=overwrite, marker=dataset.MARKER)
  if source == "synthetic":
    log, catalog = synthetic.generate(num_users, num_items, seed=seed)
    bad = bad_rows.BadRows()
  else:
    log, catalog, bad = _load(
      source,
      input_path,
      items,
      reviews,
      columns or {},
      no_header,
      on_bad_row,
    )
  typer.echo(f"read {preparation.describe(log, catalog)}; {bad.report()}")
  for note in bad.notes:
    typer.echo(f"note: {note}")
  log = preparation.filtered(log, settings, typer.echo)
  num_read = len(catalog)
  catalog = preparation.catalogue(catalog, log, settings, _looks(vocabulary))

  def step(text: str) -> None:
    if len(log) >= _LONG:
      typer.echo(text, err=True)

  made = preparation.requests(log, catalog, settings, step)
  step(f"writing {output}")
  prepared = dataset.save(
    output,
    log=log,
    items=catalog,
    split=made,
    overwrite=overwrite,
    record={
      "source": {
        "kind": source,
        "input": None if input_path is None else str(input_path),
        "notes": bad.notes,
      },
      "min_rating": settings.min_rating,
      "repeats": settings.repeats,
      "min_interactions": settings.min_interactions,
      "catalog": {
        "keep_rare_items": settings.keep_rare_items,
        "articles_first": settings.articles_first,
        "vocabulary": None if vocabulary is None else str(vocabulary),
        "rare_items_left_out": num_read - len(catalog),
        "cleaning": dataclasses.asdict(catalog.cleaning),
      },
      "candidates": {
        "num_negatives": settings.num_negatives,
        "strategy": settings.negatives,
      },
      "seed": seed,
      "bad_rows": bad.report(),
    },
  )
  counts = prepared.manifest["counts"]
  typer.echo(
    f"kept {counts['interactions']:,} interactions of {counts['users']:,} "
    f"users, {counts['reviews']:,} with a review\n"
    f"requests: {counts['requests']}, each with {settings.num_negatives} "
    f"{settings.negatives} negatives"
  )
  if len(catalog) < num_read:
    typer.echo(
      f"{num_read - len(catalog):,} items outside the core left the catalogue "
      f"of {num_read:,} (--keep_rare_items keeps them)"
    )
  if catalog.num_title_collisions:
    typer.echo(
      f"{catalog.num_title_collisions:,} titles that look like another item's "
      "got brand, year or a number behind them"
    )
  for warning in (*catalog.cleaning.remarks(), *made.warnings):
    typer.echo(f"note: {warning}")
  typer.echo(f"written to {output}; fingerprint {prepared.fingerprint[:23]}")
