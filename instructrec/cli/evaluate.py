"""`instructrec evaluate`: a trained run in, a reranking report out."""

import dataclasses
import pathlib

import typer

from instructrec.cli import command_line, options, processes
from instructrec.cli.train import split_gin_args
from instructrec.settings import evaluation


@options.from_settings
def evaluate(
  context: typer.Context,
  settings: evaluation.EvaluationSettings,
  joined: processes.Processes,
) -> None:
  """Rerank candidate lists; write tables, pictures and intervals.

  All devices score, those of other processes too. Any binding over
  [b]--gin_file[/b] can be set as [b]--gin.NAME=value[/b].
  """
  joined.join()
  bindings = tuple(split_gin_args(context.args))
  run(dataclasses.replace(settings, bindings=bindings), joined.device_count)


def run(
  settings: evaluation.EvaluationSettings, device_count: int | None = None
) -> pathlib.Path:
  """Evaluates; the function behind the command and the quickstart.

  Args:
    settings: which run, requests and lists.
    device_count: devices that all processes must have together, or None.

  Returns:
    The path of report.md.
  """
  from instructrec import allocator
  from instructrec.pipelines import evaluate as pipeline
  from instructrec.training import distributed

  allocator.keep_freed_memory()
  distributed.check_devices(device_count)
  return pipeline.evaluate(
    settings, command=command_line.given(), tell=typer.echo
  )
