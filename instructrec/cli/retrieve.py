"""`instructrec retrieve`: fit and evaluate the matching module's methods."""

import dataclasses
import pathlib
from typing import Annotated

import typer

from instructrec import checkpoint_steps, output_folder
from instructrec.cli import command_line, options
from instructrec.settings import retrieval


@options.from_settings
def fit(
  settings: retrieval.FitSettings,
  setting: Annotated[
    list[str] | None,
    typer.Option(help="Of every trial, as NAME=VALUE; may be repeated."),
  ] = None,
) -> None:
  """Fit a retriever on the training log; tune it on validation requests."""
  from instructrec import allocator
  from instructrec.retrieval import fitting

  given = dict(map(_assignment, setting or ()))
  allocator.keep_freed_memory()
  fitting.fit(dataclasses.replace(settings, settings=given), typer.echo)


def _assignment(text: str) -> tuple[str, str]:
  name, equals, value = text.partition("=")
  if not equals:
    raise typer.BadParameter(
      f"--setting={text}: expected NAME=VALUE, e.g. emb_dim=64"
    )
  return name, value


@options.from_settings
def evaluate(settings: retrieval.RetrieverEvaluationSettings) -> None:
  """Rank frozen candidates, published ones and the whole catalogue."""
  run_evaluate(settings)


def run_evaluate(
  settings: retrieval.RetrieverEvaluationSettings,
) -> pathlib.Path:
  """Evaluates; the function behind the command.

  Args:
    settings: which retrievers and runs, on which requests.

  Returns:
    The path of report.md.
  """
  from instructrec.data import candidate_files, dataset
  from instructrec.retrieval import comparison
  from instructrec.serving import run_retriever

  # Before anything is loaded.
  output_folder.check_folder(settings.output)
  for path in settings.candidates:
    candidate_files.check(path)
  prepared = dataset.load(settings.data)
  return comparison.compare(
    settings,
    prepared,
    run_retriever.open_all(
      settings.model_dirs,
      prepared,
      tfds_data_dir=settings.tfds_data_dir,
      step=checkpoint_steps.parse(settings.step),
      modules=settings.modules,
      tell=typer.echo,
    ),
    command=command_line.given(),
    tell=typer.echo,
  )
