"""`instructrec train`: gin in, a trained model folder out."""

import dataclasses

import typer

from instructrec.cli import options, processes
from instructrec.settings import training


def split_gin_args(args: list[str]) -> list[str]:
  """The bindings in `--gin.NAME=value` arguments.

  Args:
    args: arguments that are no options of the command.

  Returns:
    Bindings such as "NAME=value".

  Raises:
    typer.BadParameter: for anything else among them.
  """
  bindings = []
  for arg in args:
    if not arg.startswith("--gin.") or "=" not in arg:
      raise typer.BadParameter(
        f"unknown argument {arg!r}; gin bindings are written "
        "--gin.NAME=value, e.g. --gin.TRAIN_STEPS=500"
      )
    bindings.append(arg.removeprefix("--gin."))
  return bindings


@options.from_settings
def train(
  context: typer.Context,
  settings: training.TrainingSettings,
  joined: processes.Processes,
) -> None:
  """Train a model; any binding can be set as [b]--gin.NAME=value[/b].

  The vocabulary is the one in the data folder. A run that was stopped goes on
  from its newest checkpoint when the same command is given again. Ctrl-C saves
  one first; pressed twice, it does not.
  """
  joined.join()
  bindings = tuple(split_gin_args(context.args))
  run(dataclasses.replace(settings, bindings=bindings), joined.device_count)


def run(
  settings: training.TrainingSettings, device_count: int | None = None
) -> None:
  """Trains; the function behind the command and the quickstart.

  Args:
    settings: gin, data and the folder of the run.
    device_count: devices that all processes must have together, or None.
  """
  from instructrec import allocator
  from instructrec.pipelines import train as pipeline
  from instructrec.training import distributed

  allocator.keep_freed_memory()
  distributed.check_devices(device_count)
  pipeline.train(settings, tell=typer.echo)
