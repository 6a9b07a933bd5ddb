"""`instructrec rank`: a history and a sentence in, ranked titles out."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

import typer

from instructrec.cli import options
from instructrec.cli.train import split_gin_args
from instructrec.settings import ranking

if TYPE_CHECKING:
  from instructrec.serving import opened_run


@options.from_settings
def rank(context: typer.Context, settings: ranking.RankingSettings) -> None:
  """Rank candidates for a history and a sentence of free text.

  Any binding over [b]--gin_file[/b] can be set as [b]--gin.NAME=value[/b].
  """
  bindings = tuple(split_gin_args(context.args))
  opened = _open(dataclasses.replace(settings, bindings=bindings))
  find = opened.catalog.find_title
  _print(
    opened,
    list(map(find, settings.history)),
    settings.text,
    list(map(find, settings.candidates)) or None,
    settings.top,
  )


def _open(settings: ranking.RankingSettings) -> "opened_run.OpenedRun":
  from instructrec import allocator
  from instructrec.serving import opened_run

  allocator.keep_freed_memory()
  return opened_run.OpenedRun.open(settings)


def _print(
  opened: "opened_run.OpenedRun",
  history: list[str],
  text: str | None,
  candidates: list[str] | None,
  top: int,
) -> None:
  if opened.ranks_catalogs:
    _print_matched(opened, history, text, candidates, top)
  else:
    _print_likely(opened, history, text, candidates, top)


def _print_likely(
  opened: "opened_run.OpenedRun",
  history: list[str],
  text: str | None,
  candidates: list[str] | None,
  top: int,
) -> None:
  """The likeliest titles, of a run that has learnt likelihoods alone."""
  from instructrec.serving import ranker as ranker_lib

  ranker = ranker_lib.InstructionRanker(
    model=opened.run.model,
    params=opened.params,
    tokenizer=opened.run.tokenizer,
    catalog=opened.catalog,
    inputs_length=opened.run.data.inputs_length,
    targets_length=opened.run.data.targets_length,
    template_set=opened.template_set,
  )
  if candidates is None:
    ranked = ranker.top(history, text, top)
    count = len(ranker.catalog.item_ids) - len(set(history))
  else:
    ranked = ranker.rank(history, text, candidates)
    count = len(ranked)
  typer.echo(f"instruction: {ranker.instruction(history, text)}")
  typer.echo(f"{count} candidates, log-likelihood in nats:")
  for place, found in enumerate(ranked[:top], start=1):
    typer.echo(f"{place:3d}. {found.score:9.3f}  {found.title}")


def _print_matched(
  opened: "opened_run.OpenedRun",
  history: list[str],
  text: str | None,
  candidates: list[str] | None,
  top: int,
) -> None:
  """The best by the weighted sum, with what each part adds."""
  ranker = opened.catalog_ranker
  ranked = ranker.rank(history, text, candidates)
  if text:
    typer.echo(f"understood: {ranker.understood(text, history)}")
  typer.echo(f"score: {ranker.weights.describe(ranker.kind(history, text))}")
  typer.echo(f"{len(ranked)} candidates:")
  for place, found in enumerate(ranked[:top], start=1):
    said = {n: f"{v:+.2f}" for n, v in found.parts.items() if round(v, 2)}
    why = ", ".join(f"{name} {value}" for name, value in said.items())
    typer.echo(f"{place:3d}. {found.score:8.3f}  {found.title}  ({why})")


def run_example(model_dir: pathlib.Path) -> None:
  """Ranks the catalogue for two of its items and a wish made of one's title.

  Args:
    model_dir: the folder that `train` wrote.
  """
  opened = _open(ranking.RankingSettings(model_dir=model_dir))
  first = opened.catalog.item_ids[:2]
  word = opened.catalog.title(first[0]).split()[1].lower()
  _print(opened, first, f"Something to do with {word} would be nice.", None, 5)
