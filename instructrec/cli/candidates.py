"""`instructrec retrieve candidates`: the lists that a reranker gets."""

import pathlib
from typing import Annotated

import typer

_Path = pathlib.Path


def candidates(
  data: Annotated[_Path, typer.Option(help="Folder that `prepare` wrote.")],
  output: Annotated[_Path, typer.Option(help="Parquet file to make.")],
  retriever: Annotated[
    _Path | None,
    typer.Option(
      help="Folder that `retrieve fit` wrote; not where items are drawn."
    ),
  ] = None,
  protocol: Annotated[
    str,
    typer.Option(
      help="retrieved: the best items. hard: the target and the best others. "
      "random: the target and unseen items. popularity_matched: the target and "
      "unseen items that are about as popular."
    ),
  ] = "retrieved",
  num_candidates: Annotated[
    int, typer.Option(help="Length of a list.", min=2)
  ] = 100,
  split: Annotated[str, typer.Option(help="validation or test.")] = "test",
  num_requests: Annotated[
    int | None, typer.Option(help="Drawn by seed; all if left out.", min=1)
  ] = None,
  window: Annotated[
    int,
    typer.Option(
      help="popularity_matched: ranks of popularity on either side of the "
      "target.",
      min=1,
    ),
  ] = 60,
  seed: Annotated[
    int, typer.Option(help="Of subset, draws and order.", min=0)
  ] = 0,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output.")
  ] = False,
) -> None:
  """Write candidate lists for `evaluate --candidates`."""
  run(
    data,
    output,
    retriever=retriever,
    protocol=protocol,
    num_candidates=num_candidates,
    split=split,
    num_requests=num_requests,
    window=window,
    seed=seed,
    overwrite=overwrite,
  )


def run(
  data: _Path,
  output: _Path,
  *,
  retriever: _Path | None = None,
  protocol: str = "retrieved",
  num_candidates: int = 100,
  split: str = "test",
  num_requests: int | None = None,
  window: int = 60,
  seed: int = 0,
  overwrite: bool = False,
) -> None:
  """Writes lists; arguments are the options of the command."""
  from typing import cast

  from instructrec.data import dataset
  from instructrec.retrieval import candidate_lists, methods
  from instructrec.retrieval import retriever as retriever_lib

  if output.exists() and not overwrite:
    raise FileExistsError(
      f"{output} exists; choose another --output, or pass --overwrite"
    )
  prepared = dataset.load(data)
  found, manifest = None, None
  if retriever is not None:
    ((name, found),) = methods.load_all(
      [retriever], prepared.fingerprint
    ).items()
    manifest = {"name": name, **retriever_lib.read_manifest(retriever)}
  lists = candidate_lists.build(
    prepared,
    split,
    cast(candidate_lists.Protocol, protocol),
    found=found,
    retriever_manifest=manifest,
    num_candidates=num_candidates,
    num_requests=num_requests,
    window=window,
    seed=seed,
  )
  lists.save(output, overwrite=overwrite)
  typer.echo(
    f"{lists.frame.height:,} lists of {num_candidates} ({protocol}, {split}) "
    f"written to {output}"
  )
  if widened := lists.manifest.get("num_widened"):
    typer.echo(
      f"note: {widened:,} lists had too few unseen items within {window} ranks "
      "of popularity, and took from a wider window"
    )
  if lists.retriever is not None:
    typer.echo(
      f"{lists.retriever} retrieves the target among its {num_candidates} "
      f"best for {lists.recall:.1%} of the requests"
    )
