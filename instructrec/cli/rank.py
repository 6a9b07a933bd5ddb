"""`instructrec rank`: a history and a sentence in, ranked titles out."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from instructrec.cli import options
from instructrec.cli.train import split_gin_args
from instructrec.settings import ranking
from instructrec.settings import run as run_settings

if TYPE_CHECKING:
  from instructrec.serving import (
    rankings,
    reasons,
    request_lines,
    run_ranker,
  )

_HOW = (
  "Say what you wish for, and Enter. +TITLE puts an item into the history, "
  "-TITLE takes it out; an empty line ranks for the history alone, Ctrl-D ends."
)


@options.from_settings
def rank(context: typer.Context, settings: ranking.RankingSettings) -> None:
  """Rank candidates for a history and a sentence of free text.

  With [b]--input[/b], for many requests in one process; on a terminal and
  without a request, for one after another as you type them.

  Any binding over [b]--gin_file[/b] can be set as [b]--gin.NAME=value[/b].
  """
  bindings = tuple(split_gin_args(context.args))
  settings = dataclasses.replace(settings, bindings=bindings)
  ranker = open_ranker(settings, silent=settings.json)
  if settings.input is not None:
    _answer_lines(ranker, settings, settings.input)
  elif not settings.asks and _is_terminal():
    typer.echo(_HOW)
    converse(ranker, settings, _typed)
  else:
    _tell(ranker, settings, settings.history, settings.wish)


def open_ranker(
  settings: run_settings.RunSettings, *, silent: bool
) -> "run_ranker.Ranker":
  """Opens a run to rank.

  Args:
    settings: which.
    silent: whether nothing is said of it, as where lines of JSON stay alone.

  Returns:
    The run.
  """
  from instructrec import allocator
  from instructrec.serving import opened_run, run_ranker

  allocator.keep_freed_memory()
  opened = opened_run.OpenedRun.open(settings)
  if not silent:
    typer.echo(f"ranks by {opened.checkpoint}")
  return run_ranker.Ranker(opened)


def _tell(
  ranker: "run_ranker.Ranker",
  settings: ranking.RankingSettings,
  history: tuple[str, ...],
  wish: str | None,
) -> None:
  """Ranks by the settings and prints the places."""
  found = ranker.rank(
    history,
    wish,
    k=settings.top,
    candidates=settings.candidates or None,
    on_unknown=settings.on_unknown,
  )
  _print(found, settings)


def _print(
  found: "rankings.Ranking",
  settings: ranking.RankingSettings,
  named: dict[str, Any] | None = None,
) -> None:
  """Prints a ranking.

  Args:
    found: the ranking.
    settings: whether as JSON.
    named: which request it answers; None where there is one.
  """
  if settings.json:
    from instructrec.serving import request_lines

    # Escapes alone: what shows a terminal's text must leave it as it is.
    typer.echo(json.dumps({**(named or {}), **request_lines.answer(found)}))
    return
  for name, value in (named or {}).items():
    typer.echo(f"{name} {value}:")
  print_ranking(found)


def print_ranking(
  found: "rankings.Ranking",
  explained: "Sequence[reasons.Reasons] | None" = None,
  prices: "Mapping[str, float] | None" = None,
) -> None:
  """Prints a ranking for people.

  Args:
    found: the ranking.
    explained: why its places are there; None where it was not asked for.
    prices: of items by id, to be shown; None for none.
  """
  if found.instruction:
    typer.echo(f"instruction: {found.instruction}")
  if found.understood:
    typer.echo(f"understood: {found.understood}")
  for note in found.notes:
    typer.echo(f"note: {note}")
  typer.echo(f"score: {found.score}")
  typer.echo(f"{found.num_candidates} candidates:")
  for number, place in enumerate(found, start=1):
    line = f"{number:3d}. {place.score:9.3f}  {place.title}  [{place.item_id}]"
    if prices is not None and place.item_id in prices:
      line += f"  {prices[place.item_id]:.2f}"
    said = {n: f"{v:+.2f}" for n, v in place.parts.items() if round(v, 2)}
    if len(place.parts) > 1:
      line += "  (" + ", ".join(f"{n} {v}" for n, v in said.items()) + ")"
    typer.echo(line)
    if explained is not None and (why := explained[number - 1].text):
      typer.echo(f"       {why}")


def _answer_lines(
  ranker: "run_ranker.Ranker",
  settings: ranking.RankingSettings,
  path: pathlib.Path,
) -> None:
  """Answers each line as it comes; one that is wrong stops no other.

  Raises:
    ValueError: at the end, where there was a wrong one, naming the first.
  """
  from instructrec.serving import request_lines

  total, wrong = 0, list[str]()
  for number, line in request_lines.read(path):
    total += 1
    named: dict[str, Any] = {"line": number}
    try:
      request = request_lines.parse(line)
      if request.id is not None:
        named["id"] = request.id
      _print(_ranked(ranker, settings, request), settings, named)
    except ValueError as error:
      wrong.append(f"{path}, line {number}: {error}")
      if settings.json:
        typer.echo(json.dumps({**named, "error": str(error)}))
      else:
        typer.echo(f"error: {wrong[-1]}")
  if wrong:
    raise ValueError(
      f"{len(wrong)} of {total} requests have no ranking; the first: {wrong[0]}"
    )


def _ranked(
  ranker: "run_ranker.Ranker",
  settings: ranking.RankingSettings,
  request: "request_lines.Request",
) -> "rankings.Ranking":
  asked = request.of(ranker, k=settings.top, on_unknown=settings.on_unknown)
  (found,) = ranker.rank_all([asked])
  return found


def _is_terminal() -> bool:
  return sys.stdin.isatty()


def _typed() -> str | None:
  """The next line that is typed; None at the end."""
  try:
    return input("> ")
  except EOFError:
    return None


def converse(
  ranker: "run_ranker.Ranker",
  settings: ranking.RankingSettings,
  ask: Callable[[], str | None],
) -> None:
  """Ranks for what is typed, line by line.

  Args:
    ranker: the run.
    settings: how many places, and what unknown titles are.
    ask: gives the next line; None at the end.
  """
  history = list[str]()  # Of ids.
  while (line := ask()) is not None:
    text = line.strip()
    sign, name = text[:1], text[1:].strip()
    try:
      if sign not in ("+", "-"):
        marked = tuple(f"id:{item}" for item in history)
        _tell(ranker, settings, marked, text or None)
        continue
      notes = list[str]()
      for item in ranker.items([name], settings.on_unknown, notes):
        if sign == "+":
          history.append(item)
        elif item in history:
          history.remove(item)
        else:
          raise ValueError(f"{name!r} is not in the history")
      for note in notes:
        typer.echo(f"note: {note}")
      titles = map(ranker.opened.catalog.title, history)
      typer.echo(f"history: {', '.join(titles) or 'none'}")
    except ValueError as error:
      typer.echo(f"error: {error}")


def run_example(model_dir: pathlib.Path) -> None:
  """Ranks the catalogue for two of its items and a wish made of one's title.

  Args:
    model_dir: the folder that `train` wrote.
  """
  settings = ranking.RankingSettings(model_dir=model_dir, top=5)
  ranker = open_ranker(settings, silent=False)
  items = ranker.opened.catalog
  first = tuple(items.item_ids[:2])
  word = items.title(first[0]).split()[1].lower()
  wish = f"Something to do with {word} would be nice."
  _tell(ranker, settings, first, wish)
