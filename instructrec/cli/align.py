"""`instructrec align`: a run that was taught lists in, a better one out."""

import dataclasses

import typer

from instructrec.cli import command_line, options
from instructrec.cli.train import split_gin_args
from instructrec.settings import alignment

REFUSED = 3
"""Status where the result is not promoted."""


@options.from_settings
def align(
  context: typer.Context, settings: alignment.AlignmentSettings
) -> None:
  """Reward the lists that a run writes; promote what came of it, or refuse.

  Asks the run for lists of validation requests, trains adapters on it as
  [b]train[/b] would with the gin file, asks again, and writes a report of both.
  Any binding can be set as [b]--gin.NAME=value[/b]. What is refused ends with
  status 3. Stopped, the same command goes on.
  """
  from instructrec import allocator
  from instructrec.pipelines import align as pipeline

  bindings = tuple(split_gin_args(context.args))
  allocator.keep_freed_memory()
  decision = pipeline.align(
    dataclasses.replace(settings, bindings=bindings),
    command=command_line.given(),
    tell=typer.echo,
  )
  if not decision.promoted:
    raise typer.Exit(REFUSED)
