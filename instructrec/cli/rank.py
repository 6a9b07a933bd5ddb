"""`instructrec rank`: a history and a sentence in, ranked titles out."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
  from instructrec.data import catalog, dataset
  from instructrec.serving import model_parts
  from instructrec.training import run_dir


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
) -> None:
  """Rank candidates for a history and a sentence of free text."""
  opened = _open(model_dir, checkpoint)
  find = opened.catalog.find_title
  _print(
    opened,
    [find(title) for title in history or ()],
    text,
    None if not candidate else [find(title) for title in candidate],
    top,
  )


@dataclasses.dataclass(frozen=True)
class _Opened:
  """A run with its parameters and the items that it ranks."""

  run: "run_dir.Run"
  params: Any
  prepared: "dataset.PreparedData"

  @property
  def catalog(self) -> "catalog.Catalog":
    return self.prepared.catalog


def _open(model_dir: pathlib.Path, checkpoint: str | None = None) -> _Opened:
  import json

  from instructrec import allocator
  from instructrec.data import dataset
  from instructrec.training import run_dir

  allocator.keep_freed_memory()
  opened = run_dir.load(model_dir)
  manifest = json.loads(
    (pathlib.Path(opened.record["tfds_data_dir"]) / "manifest.json").read_text()
  )
  if checkpoint is None:
    params, _ = opened.params()
  else:
    params = opened.params_from(checkpoint)
  return _Opened(opened, params, dataset.load(manifest["prepared_dir"]))


def _print(
  opened: _Opened,
  history: list[str],
  text: str | None,
  candidates: list[str] | None,
  top: int,
) -> None:
  from instructrec.serving import model_parts

  parts = model_parts.ModelParts(opened.run, opened.params, opened.prepared)
  if parts.matcher is not None:
    _print_matched(parts, history, text, candidates, top)
  else:
    _print_likely(opened, history, text, candidates, top)


def _print_likely(
  opened: _Opened,
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
  parts: "model_parts.ModelParts",
  history: list[str],
  text: str | None,
  candidates: list[str] | None,
  top: int,
) -> None:
  """The best by the weighted sum, with what each part adds."""
  from instructrec.retrieval import run_weights
  from instructrec.serving import catalog_ranker

  weights = run_weights.RunWeights.load(parts.run.directory, parts.untuned)
  ranker = catalog_ranker.CatalogRanker(parts, weights)
  ranked = ranker.rank(history, text, candidates)
  if text:
    typer.echo(f"understood: {ranker.understood(text, history)}")
  kind = run_weights.WITH_WISH if text else run_weights.WITHOUT_WISH
  kind = run_weights.of_catalog(kind, weights)
  typer.echo(f"score: {weights.describe(kind)}")
  typer.echo(f"{len(ranked)} candidates:")
  for place, found in enumerate(ranked[:top], start=1):
    why = ", ".join(f"{n} {v:+.2f}" for n, v in found.parts.items())
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
