"""`instructrec prepare`: raw logs in, splits and candidate sets out."""

import dataclasses
from typing import Annotated

import typer

from instructrec.cli import options
from instructrec.settings import preparation


@options.from_settings
def prepare(
  settings: preparation.PrepareSettings,
  column: Annotated[
    list[str] | None,
    typer.Option(
      help="table: NAME=COLUMN, what a column is called where it differs: "
      "user_id=customer in all tables, items.item_id=sku in one, text= for "
      "none; may be repeated. docs/data.md has all names."
    ),
  ] = None,
) -> None:
  """Read raw logs; filter, split by time, draw candidates, freeze all."""
  columns: dict[str, str] = {}
  for name, value in map(_assignment, column or ()):
    if name in columns:
      raise typer.BadParameter(f"--column names {name} twice")
    columns[name] = value
  raw = dataclasses.replace(settings.raw, columns=columns)
  run(dataclasses.replace(settings, raw=raw))


def _assignment(text: str) -> tuple[str, str]:
  name, equals, value = text.partition("=")
  if not equals:
    raise typer.BadParameter(
      f"--column={text}: expected NAME=COLUMN, e.g. user_id=customer"
    )
  return name, value


def run(settings: preparation.PrepareSettings) -> None:
  """Prepares; the function behind the command and the quickstart.

  Args:
    settings: which data, and how.
  """
  from instructrec import api

  api.prepare_by(settings, tell=typer.echo, step=_step)


def _step(text: str) -> None:
  typer.echo(text, err=True)
