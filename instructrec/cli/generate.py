"""`instructrec generate`: prepared data in, instructions out."""

import typer

from instructrec.cli import options
from instructrec.settings import generation


@options.from_settings
def generate(settings: generation.GenerationSettings) -> None:
  """Turn requests into instructions: a TFDS data set for SeqIO."""
  run(settings)


def run(settings: generation.GenerationSettings) -> None:
  """Generates; the function behind the command and the quickstart.

  Args:
    settings: which prepared data, and how.
  """
  from instructrec.pipelines import instructions

  instructions.generate(settings, tell=typer.echo)
