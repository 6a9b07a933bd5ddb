"""`instructrec rank`: a history and a sentence in, ranked titles out."""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from instructrec.cli.modules import TrustedModules

if TYPE_CHECKING:
  from instructrec.serving import opened_run


def rank(
  model_dir: Annotated[
    pathlib.Path, typer.Option(help="Folder that `train` wrote.")
  ],
  history: Annotated[
    list[str] | None,
    typer.Option(help="Title of an item bought, oldest first; repeat it."),
  ] = None,
  text: Annotated[
    str | None, typer.Option(help="What the customer says, in free words.")
  ] = None,
  candidate: Annotated[
    list[str] | None,
    typer.Option(
      help="Title to rank; repeat it. If left out, the best of the whole "
      "catalogue are found without scoring every title."
    ),
  ] = None,
  top: Annotated[
    int, typer.Option(help="How many places to print.", min=1)
  ] = 10,
  checkpoint: Annotated[
    str | None,
    typer.Option(
      help="Hugging Face, T5X or other checkpoint to rank with instead of the "
      "run's newest."
    ),
  ] = None,
  module: TrustedModules = None,
) -> None:
  """Rank candidates for a history and a sentence of free text."""
  opened = _open(model_dir, checkpoint, module or ())
  find = opened.catalog.find_title
  _print(
    opened,
    [find(title) for title in history or ()],
    text,
    None if not candidate else [find(title) for title in candidate],
    top,
  )


def _open(
  model_dir: pathlib.Path,
  checkpoint: str | None = None,
  modules: Sequence[str] = (),
) -> "opened_run.OpenedRun":
  from instructrec import allocator
  from instructrec.serving import opened_run

  allocator.keep_freed_memory()
  return opened_run.OpenedRun.open(
    model_dir, checkpoint=checkpoint, modules=modules
  )


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
    model=opened.run.train.model,
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
  opened = _open(model_dir)
  first = opened.catalog.item_ids[:2]
  word = opened.catalog.title(first[0]).split()[1].lower()
  _print(opened, first, f"Something to do with {word} would be nice.", None, 5)
