"""The `instructrec` command. Each subcommand lives in the file of its name.

Nothing heavy is imported here: `instructrec --help` answers at once, and a
subcommand imports what it needs when it runs.
"""

import functools
import io
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Annotated, Any

import rich.markup
import typer
import typer.core

import instructrec
from instructrec import cache
from instructrec.cli import (
  align,
  candidates,
  checkpoint,
  compare,
  devices,
  evaluate,
  generate,
  preflight,
  prepare,
  quickstart,
  rank,
  recommend,
  results,
  retrieve,
  serve,
  show,
  terminal,
  train,
)

app = typer.Typer(
  name="instructrec",
  help="Recommendation as instruction following: logs -> instructions -> "
  "fine-tuning -> reranking report.",
  no_args_is_help=True,
  pretty_exceptions_enable=False,
  rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
  if wanted:
    typer.echo(f"instructrec {instructrec.__version__}")
    raise typer.Exit


@app.callback()
def _options(
  context: typer.Context,
  version: Annotated[
    bool,
    typer.Option(
      "--version",
      callback=_print_version,
      is_eager=True,
      help="Print the version and exit.",
    ),
  ] = False,
  debug: Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error."),
  ] = False,
) -> None:
  """Options before the subcommand; `main` looks at what is kept here."""
  context.ensure_object(dict)["debug"] = debug


class _Command(typer.core.TyperCommand):
  """Options with underscores, as T5X and absl have them; dashes do as well."""

  def __init__(self, *args: Any, **kwargs: Any) -> None:
    super().__init__(*args, **kwargs)
    for parameter in self.params:
      parameter.opts = [
        f"--{name[2:].replace('-', '_')}" if name.startswith("--") else name
        for name in parameter.opts
      ]
      # Rich takes [brackets] for markup, and shows none of them.
      if isinstance(parameter, typer.core.TyperOption) and parameter.help:
        parameter.help = rich.markup.escape(parameter.help)

  def invoke(self, ctx: Any) -> Any:
    """Runs the command; titles and other text of others cannot steer."""
    with terminal.printable_output():
      return super().invoke(ctx)


def _at_home(command: Callable[..., None]) -> Callable[..., None]:
  """A command whose paths may begin with ~, which shells leave in `--x=~/y`.

  So may texts: a path that can also be an address in a bucket is one.
  """

  def at_home(path: pathlib.Path) -> pathlib.Path:
    try:
      return path.expanduser()
    except RuntimeError as error:
      raise ValueError(
        f"{path}: {error}; write the whole path of the folder"
      ) from error

  def expanded(value: Any) -> Any:
    if isinstance(value, pathlib.Path):
      return at_home(value)
    if isinstance(value, str) and value.startswith("~/"):
      return str(at_home(pathlib.Path(value)))
    if isinstance(value, list | tuple):
      return type(value)(map(expanded, value))
    return value

  @functools.wraps(command)
  def run(*args: Any, **options: Any) -> None:
    command(*args, **{name: expanded(value) for name, value in options.items()})

  return run


_NAMES = {"token_normalize_func": lambda name: name.replace("-", "_")}
_GIN = {"allow_extra_args": True, "ignore_unknown_options": True}


def _add(
  group: typer.Typer,
  command: Callable[..., None],
  name: str | None = None,
  *,
  panel: str | None = None,
  takes_gin: bool = False,
) -> None:
  """Adds a command to a group."""
  group.command(
    name,
    cls=_Command,
    context_settings={**_NAMES, **(_GIN if takes_gin else {})},
    rich_help_panel=panel,
  )(_at_home(command))


_MODEL, _FIGURES = "From logs to a model", "Figures"
_USE, _TOOLS = "Use", "Clusters and checkpoints"
# In the order in which they are wanted, which is that of `--help`.
_add(app, quickstart.quickstart, panel=_MODEL)
_add(app, prepare.prepare, panel=_MODEL)
_add(app, generate.generate, panel=_MODEL)
_add(app, show.show, panel=_MODEL)
_add(app, train.train, panel=_MODEL, takes_gin=True)
_add(app, align.align, panel=_MODEL, takes_gin=True)
_add(app, evaluate.evaluate, panel=_FIGURES, takes_gin=True)
_add(app, compare.compare, panel=_FIGURES)
_add(app, rank.rank, panel=_USE, takes_gin=True)
_add(app, recommend.recommend, panel=_USE)
_add(app, serve.serve, panel=_USE, takes_gin=True)
_add(app, preflight.preflight, panel=_TOOLS, takes_gin=True)
_add(app, devices.devices, panel=_TOOLS)

_retrieve = typer.Typer(
  help="Matching module and baselines: fit retrievers, evaluate them, write "
  "candidate lists.",
  no_args_is_help=True,
)
for _function in (retrieve.fit, retrieve.evaluate, candidates.candidates):
  _add(_retrieve, _function)
app.add_typer(_retrieve, name="retrieve", rich_help_panel=_FIGURES)
_results = typer.Typer(
  help="Published figures: JSON files of reports, and the page of them.",
  no_args_is_help=True,
)
_add(_results, results.publish)
_add(_results, results.write)
app.add_typer(_results, name="results", rich_help_panel=_FIGURES)
_checkpoints = typer.Typer(
  help="Hugging Face and T5X checkpoints, in and out.", no_args_is_help=True
)
for _name, _subcommand in checkpoint.COMMANDS.items():
  _add(_checkpoints, _subcommand, _name)
app.add_typer(_checkpoints, name="checkpoint", rich_help_panel=_TOOLS)


def main() -> None:
  """Runs the command; a user's mistake is a message, not a traceback."""
  cache.keep_compiled_programs(os.environ)
  if isinstance(sys.stdout, io.TextIOWrapper):
    # Letters that the locale lacks end no command: as on the standard error.
    sys.stdout.reconfigure(errors="backslashreplace")
  options: dict[str, Any] = {}
  try:
    app(obj=options)
  except Exception as error:
    if isinstance(error, ValueError | OSError) and not options.get("debug"):
      terminal.show_error(error)
    else:
      terminal.show_traceback(error)
    sys.exit(1)


if __name__ == "__main__":
  main()
