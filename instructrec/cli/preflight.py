"""`instructrec preflight`: will it fit, and how fast can it be?"""

import pathlib
from typing import Annotated

import typer

from instructrec.cli.train import split_gin_args


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
  import json as json_lib

  import jax

  from instructrec import cache
  from instructrec.preflight import check, chips, launch, launch_files, report

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
  if all(t.chip is not None for t in topologies):
    # Nothing runs: an accelerator here is left to others.
    jax.config.update("jax_platforms", "cpu")
    # Figures are kept, not programs that nothing here could run.
    jax.config.update("jax_enable_compilation_cache", False)
    chips.check_libtpu()
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
  results = []
  for place in topologies:
    for name in step:
      result = check.run(
        found, name, place, options, lambda line: typer.echo(line, err=True)
      )
      results.append(result)
      typer.echo(report.text(result))
      if price_per_chip_hour is not None:
        typer.echo(report.cost(result, price_per_chip_hour))
      typer.echo()
      if json is not None:
        # Written after each: compiling the next may take minutes.
        partial = json.with_name(json.name + ".tmp")
        partial.write_text(
          json_lib.dumps([report.as_json(r) for r in results], indent=1) + "\n"
        )
        partial.replace(json)
  if len(results) > 1:
    typer.echo(report.table(results))
  if not all(result.fits for result in results):
    raise typer.Exit(1)
