"""Commands as a shell calls them, in this process."""

from typer.testing import CliRunner

from instructrec.cli import main


def result_of(*args):
  """What a command came to; raises what it does not turn into a status."""
  result = CliRunner().invoke(main.app, [str(a) for a in args])
  if result.exception and not isinstance(result.exception, SystemExit):
    raise result.exception
  return result


def call(*args):
  """What a command that succeeds prints."""
  result = result_of(*args)
  assert result.exit_code == 0, result.output
  return result.output
