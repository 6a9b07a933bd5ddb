"""The `instructrec` command. Each subcommand lives in the file of its name.

Nothing heavy is imported here: `instructrec --help` answers at once, and a
subcommand imports what it needs when it runs.
"""

import sys

import typer

from instructrec.cli import (
  evaluate,
  generate,
  prepare,
  quickstart,
  rank,
  train,
)

app = typer.Typer(
  name="instructrec",
  help="Recommendation as instruction following: logs -> instructions -> "
  "fine-tuning -> reranking report.",
  no_args_is_help=True,
  add_completion=False,
  pretty_exceptions_enable=False,
  rich_markup_mode="rich",
)
_GIN = {"allow_extra_args": True, "ignore_unknown_options": True}

app.command()(prepare.prepare)
app.command()(generate.generate)
app.command(context_settings=_GIN)(train.train)
app.command()(evaluate.evaluate)
app.command()(rank.rank)
app.command()(quickstart.quickstart)


def main() -> None:
  """Runs the command; a user's mistake is a message, not a traceback."""
  try:
    app()
  except (ValueError, OSError) as error:
    if "--debug" in sys.argv:
      raise
    print(f"instructrec: error: {error}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
  main()
