"""`instructrec rank`: a history and a sentence in, ranked titles out."""

import pathlib
from typing import Annotated, Any

import typer


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
  ranker = _open(model_dir, checkpoint)
  find = ranker.catalog.find_title
  _print(
    ranker,
    [find(title) for title in history or ()],
    text,
    None if not candidate else [find(title) for title in candidate],
    top,
  )


def _open(model_dir: pathlib.Path, checkpoint: str | None = None) -> Any:
  import json

  from instructrec import allocator
  from instructrec.data import dataset
  from instructrec.instructions import domains, templates
  from instructrec.serving import ranker
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
  return ranker.InstructionRanker(
    model=opened.train.model,
    params=params,
    tokenizer=opened.tokenizer,
    catalog=dataset.load(manifest["prepared_dir"]).catalog,
    inputs_length=opened.data.inputs_length,
    targets_length=opened.data.targets_length,
    template_set=templates.load().reworded(
      domains.Domain(manifest.get("domain", "products"))
    ),
  )


def _print(
  ranker: Any,
  history: list[str],
  text: str | None,
  candidates: list[str] | None,
  top: int,
) -> None:
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


def run_example(model_dir: pathlib.Path) -> None:
  """Ranks the catalogue for two of its items and a wish made of one's title.

  Args:
    model_dir: the folder that `train` wrote.
  """
  ranker = _open(model_dir)
  first = ranker.catalog.item_ids[:2]
  word = ranker.catalog.title(first[0]).split()[1].lower()
  _print(ranker, first, f"Something to do with {word} would be nice.", None, 5)
