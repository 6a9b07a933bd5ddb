"""`instructrec retrieve candidates`: the lists that a reranker gets."""

import typer

from instructrec.cli import options
from instructrec.settings import retrieval


@options.from_settings
def candidates(settings: retrieval.CandidateSettings) -> None:
  """Write candidate lists for `evaluate --candidates`."""
  from typing import cast

  from instructrec import output_folder
  from instructrec.data import dataset
  from instructrec.retrieval import candidate_lists, methods
  from instructrec.retrieval import retriever as retriever_lib

  output_folder.check(settings.output, overwrite=settings.overwrite)
  prepared = dataset.load(settings.data)
  found, manifest = None, None
  if settings.retriever is not None:
    opened = methods.load_all([settings.retriever], prepared.fingerprint)
    ((name, found),) = opened.items()
    record = retriever_lib.read_manifest(settings.retriever)
    manifest = {"name": name, **record}
  lists = candidate_lists.build(
    prepared,
    settings.split,
    cast(candidate_lists.Protocol, settings.protocol),
    found=found,
    retriever_manifest=manifest,
    num_candidates=settings.num_candidates,
    num_requests=settings.num_requests,
    window=settings.window,
    seed=settings.seed,
  )
  lists.save(settings.output, overwrite=settings.overwrite)
  typer.echo(
    f"{lists.frame.height:,} lists of {settings.num_candidates} "
    f"({settings.protocol}, {settings.split}) written to {settings.output}"
  )
  if widened := lists.manifest.get("num_widened"):
    typer.echo(
      f"note: {widened:,} lists had too few unseen items within "
      f"{settings.window} ranks of popularity, and took from a wider window"
    )
  if lists.retriever is not None:
    typer.echo(
      f"{lists.retriever} retrieves the target among its "
      f"{settings.num_candidates} best for {lists.recall:.1%} of the requests"
    )
