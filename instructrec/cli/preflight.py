"""`instructrec preflight`: will it fit, and how fast can it be?"""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from instructrec.cli.train import split_gin_args

if TYPE_CHECKING:
  from instructrec.preflight import check, chips, launch


def preflight(
  context: typer.Context,
  gin_file: Annotated[
    list[str],
    typer.Option(
      help="Gin file of a training run, of `instructrec train` or of T5X; may "
      "be repeated."
    ),
  ],
  topology: Annotated[
    list[str] | None,
    typer.Option(
      help="What to compile for: v5e:4x8, v5e-32, v4-8 ..., or local (this "
      "machine's devices); may be repeated. If left out, nothing is compiled "
      "and the gin files alone are checked."
    ),
  ] = None,
  runner: Annotated[
    str | None,
    typer.Option(
      help="Who will run them, embedded (`instructrec train`) or t5x; files "
      "for the other are an error."
    ),
  ] = None,
  step: Annotated[
    list[str],
    typer.Option(help="train, score (candidate lists); may be repeated."),
  ] = ["train"],  # noqa: B006
  search: Annotated[
    bool,
    typer.Option(
      "--search",
      help="Where it does not fit, look for mesh, microbatches and "
      "recomputation with which it does.",
    ),
  ] = False,
  tries: Annotated[
    int, typer.Option(help="Settings that --search compiles at most.", min=1)
  ] = 8,
  json: Annotated[
    pathlib.Path | None, typer.Option(help="File for all figures.")
  ] = None,
  hbm_gib: Annotated[
    float | None,
    typer.Option(help="Memory of a device; the chip's if left out."),
  ] = None,
  price_per_chip_hour: Annotated[
    float | None,
    typer.Option(
      help="Says what the run costs at least, in its currency.", min=0.0
    ),
  ] = None,
  score_batch_size: Annotated[
    int | None,
    typer.Option(help="Candidate lists scored at once.", min=1),
  ] = None,
  num_candidates: Annotated[
    int | None, typer.Option(help="Candidates of a list.", min=1)
  ] = None,
  num_items: Annotated[
    int | None,
    typer.Option(
      help="Items of the catalogue, where lists are rewarded; 10,000 if left "
      "out.",
      min=2,
    ),
  ] = None,
  title_length: Annotated[
    int | None,
    typer.Option(
      help="Tokens of its longest title, its end included; 16 if left out.",
      min=4,
    ),
  ] = None,
  cache_dir: Annotated[
    pathlib.Path | None,
    typer.Option(
      help="Where figures are kept; ~/.cache/instructrec/preflight."
    ),
  ] = None,
) -> None:
  """Compile a run's step for TPU slices, without having them.

  First the gin files and bindings are checked: what is misspelt, read by
  nothing or without a value is an error. Prints memory by kind, FLOPs,
  collectives and the roofline of each device; the exit status is 1 where the
  run, as it is, does not fit. Any binding can be set as
  [b]--gin.NAME=value[/b].
  """
  from instructrec import cache
  from instructrec.preflight import check, chips, launch, launch_files

  for name in step:
    if name not in launch.STEPS:
      raise typer.BadParameter(
        f"--step={name}; expected one of {', '.join(launch.STEPS)}"
      )
  if runner not in (None, *launch_files.RUNNERS):
    raise typer.BadParameter(
      f"--runner={runner}; expected one of {', '.join(launch_files.RUNNERS)}"
    )
  bindings = split_gin_args(context.args)
  for note in launch_files.check(gin_file, bindings, runner):
    typer.echo(f"note: {note}", err=True)
  if not topology:
    typer.echo(
      f"{', '.join(gin_file)}: every macro and binding is one that is read"
    )
    return
  topologies = [chips.parse(name) for name in topology]
  if json is not None:
    # Now, and not once the first step is compiled.
    json.parent.mkdir(parents=True, exist_ok=True)
  _keep_off_devices(topologies)
  found = launch_files.read(
    gin_file,
    bindings,
    score_batch_size=score_batch_size,
    num_candidates=num_candidates,
    num_items=num_items,
    title_length=title_length,
  )
  options = check.Options(
    hbm_gib=hbm_gib,
    search=search,
    tries=tries,
    cache=cache_dir or cache.folder("preflight"),
  )
  _report(found, topologies, step, options, json, price_per_chip_hour)


def _keep_off_devices(topologies: "Sequence[chips.Topology]") -> None:
  """Leaves the accelerators here to others, where none is compiled for."""
  import jax

  from instructrec.preflight import chips

  if all(t.chip is not None for t in topologies):
    jax.config.update("jax_platforms", "cpu")
    # Figures are kept, not programs that nothing here could run.
    jax.config.update("jax_enable_compilation_cache", False)
    chips.check_libtpu()


def _report(
  found: "launch.Launch",
  topologies: "Sequence[chips.Topology]",
  steps: Sequence[str],
  options: "check.Options",
  file: pathlib.Path | None,
  price_per_chip_hour: float | None,
) -> None:
  """Compiles each step for each topology, and says what that takes.

  Raises:
    Exit: with status 1, where one does not fit.
  """
  import json

  from instructrec import records
  from instructrec.preflight import check, report

  results = []
  for place in topologies:
    for name in steps:
      result = check.run(
        found, name, place, options, lambda line: typer.echo(line, err=True)
      )
      results.append(result)
      typer.echo(report.text(result))
      if price_per_chip_hour is not None:
        typer.echo(report.cost(result, price_per_chip_hour))
      typer.echo()
      if file is not None:
        # After each: compiling the next may take minutes.
        figures = [report.as_json(result) for result in results]
        records.replace(file, json.dumps(figures, indent=1) + "\n")
  if len(results) > 1:
    typer.echo(report.table(results))
  if not all(result.fits for result in results):
    raise typer.Exit(1)
