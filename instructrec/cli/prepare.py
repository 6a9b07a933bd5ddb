"""`instructrec prepare`: raw logs in, splits and candidate sets out."""

import enum
import pathlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
  from instructrec.data.catalog import Catalog


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


class OnBadRow(enum.StrEnum):
  """What to do with rows that cannot be read."""

  error = "error"
  skip = "skip"


_Path = pathlib.Path


def prepare(
  source: Annotated[Source, typer.Option(help="Kind of raw data.")],
  output: Annotated[_Path, typer.Option(help="Folder to make.")],
  input: Annotated[
    _Path | None,
    typer.Option(
      help="recbole, movielens: the folder. table: interactions. amazon: "
      "reviews."
    ),
  ] = None,
  items: Annotated[
    _Path | None,
    typer.Option(help="table: items. amazon: metadata."),
  ] = None,
  reviews: Annotated[
    _Path | None, typer.Option(help="table: review texts, by user and item.")
  ] = None,
  column: Annotated[
    list[str] | None,
    typer.Option(
      help="table: a column's name where it differs, e.g. "
      "--column=user_id=customer; may be repeated."
    ),
  ] = None,
  num_users: Annotated[
    int, typer.Option(help="synthetic: how many users.", min=1)
  ] = 2000,
  num_items: Annotated[
    int, typer.Option(help="synthetic: how many items.", min=1)
  ] = 400,
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
    num_users=num_users,
    num_items=num_items,
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
  policy: Any,
) -> Any:
  """Reads a raw source; returns log, catalogue and bad rows."""
  from instructrec.data import amazon, movielens, recbole, table

  if input_path is None or (source in ("table", "amazon") and items is None):
    needed = (
      "--input and --items" if source in ("table", "amazon") else "--input"
    )
    raise ValueError(f"source {source} needs {needed}")
  if source == "movielens":
    return movielens.load(input_path, policy=policy)
  if source == "recbole":
    return recbole.load(input_path, policy=policy)
  assert items is not None
  if source == "amazon":
    return amazon.load(input_path, items, policy=policy)
  try:
    return table.load(
      input_path, items, reviews, columns=columns, policy=policy
    )
  except TypeError as error:
    raise ValueError(f"--column: {error}") from error


def _split(
  log: Any, name: str, max_targets: dict[str, int | None], **options: Any
) -> Any:
  """Splits a log; `max_targets` are those of held-out splits."""
  from instructrec.data import splits

  if name == "global_time":
    more: dict[str, Any] = {
      f"max_{key}_targets": count for key, count in max_targets.items()
    }
    return splits.global_time(log, **options, **more)
  if given := [key for key, count in max_targets.items() if count is not None]:
    raise ValueError(
      f"--max_{given[0]}_targets needs --split=global_time: leave_one_out has "
      "one request of each user"
    )
  return splits.leave_one_out(log, **options)


def _catalog(
  items: "Catalog",
  *,
  kept: Collection[str] | None,
  articles_first: bool,
  vocabulary: _Path | None,
) -> "Catalog":
  """The catalogue that is prepared, of what was read."""
  from instructrec.data import item_text

  looks = None
  if vocabulary is not None:
    from instructrec.models import tokenizer

    looks = tokenizer.Tokenizer(vocabulary).looks
  return items.remade(
    kept=kept,
    retitled=item_text.article_first if articles_first else None,
    looks=looks,
  )


def run(
  *,
  source: str,
  output: _Path,
  input_path: _Path | None = None,
  items: _Path | None = None,
  reviews: _Path | None = None,
  columns: dict[str, str] | None = None,
  num_users: int = 2000,
  num_items: int = 400,
  min_interactions: int = 5,
  keep_rare_items: bool = False,
  articles_first: bool = False,
  vocabulary: _Path | None = None,
  split: str = "leave_one_out",
  max_history: int = 20,
  max_train_targets: int | None = None,
  max_validation_targets: int | None = None,
  max_test_targets: int | None = None,
  num_negatives: int = 9,
  negatives: str = "uniform",
  seed: int = 0,
  on_bad_row: str = "error",
  overwrite: bool = False,
) -> None:
  """Prepares; the function behind the command. Arguments are its options."""
  import dataclasses

  from instructrec import output_folder
  from instructrec.data import (
    bad_rows,
    candidates,
    dataset,
    filtering,
    leaks,
    synthetic,
  )

  output_folder.check(output, overwrite=overwrite, marker=dataset.MARKER)
  if source == "synthetic":
    log, catalog = synthetic.generate(num_users, num_items, seed=seed)
    bad = bad_rows.BadRows()
  else:
    log, catalog, bad = _load(
      source, input_path, items, reviews, columns or {}, on_bad_row
    )
  typer.echo(
    f"read {len(log):,} interactions of {log.num_users:,} users with "
    f"{len(catalog):,} items; {bad.report()}"
  )
  log = filtering.deduplicate(log)
  if min_interactions > 1:
    log = filtering.k_core(
      log, min_user=min_interactions, min_item=min_interactions
    )
  num_read = len(catalog)
  catalog = _catalog(
    catalog,
    kept=None if keep_rare_items or min_interactions == 1 else log.item_counts,
    articles_first=articles_first,
    vocabulary=vocabulary,
  )
  made = _split(
    log,
    split,
    {"validation": max_validation_targets, "test": max_test_targets},
    max_history=max_history,
    max_train_targets=max_train_targets,
  )
  drawn = cast(candidates.Strategy, negatives)
  warnings = [
    *leaks.check_split(made, log),
    *candidates.unseen_warnings(catalog, log, drawn),
  ]
  requests = candidates.sample_candidates(
    made.requests,
    catalog,
    log,
    num_negatives=num_negatives,
    strategy=drawn,
    seed=seed,
  )
  made = dataclasses.replace(
    made, requests=requests, warnings=(*made.warnings, *warnings)
  )
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
      },
      "min_interactions": min_interactions,
      "catalog": {
        "keep_rare_items": keep_rare_items,
        "articles_first": articles_first,
        "vocabulary": None if vocabulary is None else str(vocabulary),
        "rare_items_left_out": num_read - len(catalog),
        "cleaning": dataclasses.asdict(catalog.cleaning),
      },
      "candidates": {"num_negatives": num_negatives, "strategy": negatives},
      "seed": seed,
      "bad_rows": bad.report(),
    },
  )
  counts = prepared.manifest["counts"]
  typer.echo(
    f"kept {counts['interactions']:,} interactions of {counts['users']:,} "
    f"users ({min_interactions}-core), {counts['reviews']:,} with a review\n"
    f"requests: {counts['requests']}, each with {num_negatives} {negatives} "
    "negatives"
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
