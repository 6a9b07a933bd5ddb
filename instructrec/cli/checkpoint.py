"""`instructrec checkpoint`: Hugging Face and T5X checkpoints in and out."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from instructrec import checkpoint_steps
from instructrec.cli.modules import TrustedModules

_SOURCE_HELP = (
  "Hugging Face folder, T5X or InstructRec checkpoint, or a folder of "
  "checkpoints (model_dir); T5X's and ours may be under gs://."
)
_Source = Annotated[str, typer.Option(help=_SOURCE_HELP)]
_SourceStep = Annotated[
  str,
  typer.Option(
    help="Which of a folder of checkpoints: best (by the run's validation; the "
    "newest where it chose none), latest, or a step."
  ),
]
_Dtype = Annotated[
  str | None,
  typer.Option(
    help="float32, bfloat16 or float16; the source's own if left out."
  ),
]
_Layers = Annotated[
  str,
  typer.Option(
    help="unstacked, as public checkpoints are, or stacked along axis 0, for "
    "networks with scanned layers."
  ),
]
_GinFile = Annotated[
  list[str] | None,
  typer.Option(
    help="Gin file of the network, such as gin/models/llama_7b.gin, where "
    "neither the checkpoint nor a run says what it is of; may be repeated."
  ),
]
_Output = Annotated[
  str, typer.Option(help="Folder that checkpoint_<step> goes into.")
]
_OutputStep = Annotated[
  int | None, typer.Option(help="Of the output; the source's if left out.")
]
_Report = Annotated[
  pathlib.Path | None,
  typer.Option(help="JSON file for the full list of names."),
]


def import_(
  source: _Source,
  output: _Output,
  source_step: _SourceStep = checkpoint_steps.BEST,
  step: _OutputStep = None,
  dtype: _Dtype = None,
  layers: _Layers = "unstacked",
  gin_file: _GinFile = None,
  report: _Report = None,
) -> None:
  """Turn a checkpoint into one of InstructRec, for INITIAL_CHECKPOINT_PATH."""
  _convert(
    _open(source, source_step),
    output,
    report,
    form="instructrec",
    step=step,
    dtype=dtype,
    layers=layers,
    config=_gin_config(gin_file),
  )


def export(
  source: _Source,
  output: Annotated[
    str,
    typer.Option(
      help="Folder to make (huggingface), or that checkpoint_<step> goes into."
    ),
  ],
  format: Annotated[
    str,
    typer.Option(
      help="huggingface, t5x, t5x_legacy (msgpack and zarr); peft for the "
      "adapters of a run."
    ),
  ],
  source_step: _SourceStep = checkpoint_steps.BEST,
  step: Annotated[
    int,
    typer.Option(
      help="Of the output for T5X; its Adafactor counts its decay from there."
    ),
  ] = 0,
  dtype: _Dtype = None,
  layers: _Layers = "unstacked",
  optimizer: Annotated[
    str,
    typer.Option(
      help="adafactor: add the fresh state that T5X's fine-tuning settings "
      "restore; none: parameters alone."
    ),
  ] = "adafactor",
  gin_file: _GinFile = None,
  report: _Report = None,
  module: TrustedModules = None,
) -> None:
  """Turn a checkpoint into one for Hugging Face or T5X."""
  if format == "peft":
    from instructrec.training import adapter_files

    network, known = adapter_files.open_adapted(
      source,
      checkpoint_steps.parse(source_step),
      config=_gin_config(gin_file),
      modules=module or (),
    )
    adapter_files.write_peft(network, known, output)
    typer.echo(f"{source} -> {output} (peft)")
    return
  config = _gin_config(gin_file) or _run_config(source, module or ())
  _convert(
    _open(source, source_step),
    output,
    report,
    form=format,
    step=step,
    dtype=dtype,
    layers=layers,
    optimizer=optimizer,
    config=config,
  )


def merge(
  source: Annotated[
    str,
    typer.Option(
      help="A run with adapters (model_dir), a folder of PEFT, or a checkpoint "
      "of T5X that has adapters beside its network."
    ),
  ],
  output: _Output,
  base: Annotated[
    str | None,
    typer.Option(
      help="The checkpoint that the adapters were trained on; where the source "
      "says it was, if left out."
    ),
  ] = None,
  source_step: _SourceStep = checkpoint_steps.BEST,
  step: _OutputStep = None,
  dtype: _Dtype = None,
  layers: _Layers = "unstacked",
  gin_file: _GinFile = None,
  report: _Report = None,
  module: TrustedModules = None,
) -> None:
  """Put adapters into their network: a checkpoint as any other."""
  from instructrec.training import adapter_files

  network, config = adapter_files.open_adapted(
    source,
    checkpoint_steps.parse(source_step),
    base=base,
    config=_gin_config(gin_file),
    modules=module or (),
  )
  _convert(
    network.merged(),
    output,
    report,
    form="instructrec",
    step=step,
    dtype=dtype,
    layers=layers,
    config=config,
  )


def inspect(
  source: _Source,
  source_step: _SourceStep = checkpoint_steps.BEST,
  gin_file: _GinFile = None,
  module: TrustedModules = None,
) -> None:
  """Say what a checkpoint holds, and whether that is a whole network."""
  import numpy as np

  from instructrec.models.checkpoint import convert, opening

  found = _open(source, source_step)
  sizes = [int(np.prod(t.shape)) for t in found.params.values()]
  gibibytes = sum(t.nbytes for t in found.params.values()) / 2**30
  typer.echo(
    f"{found.path}: {found.form}, step {found.step}, layers "
    f"{'stacked' if found.stacked else 'unstacked'}\n"
    f"{sum(sizes):,} parameters in {len(sizes)} arrays, {gibibytes:.3f} GiB"
  )
  rows = convert.group(
    (name, t.shape, t.dtype.name) for name, t in found.params.items()
  )
  for (name, shape, dtype), count in rows.items():
    typer.echo(f"  {count:4d} x {name}  {list(shape)} {dtype}")
  left = convert.group((reason,) for reason in found.left.values())
  for (reason,), count in left.items():
    typer.echo(f"  {count:4d} no parameter: {reason}")
  known = _gin_config(gin_file) or _run_config(source, module or ())
  config = opening.check(found, known)
  typer.echo(f"complete: {config}")


def diff(
  first: _Source,
  second: _Source,
  first_step: _SourceStep = checkpoint_steps.BEST,
  second_step: _SourceStep = checkpoint_steps.BEST,
  atol: Annotated[
    float,
    typer.Option(help="Largest difference that counts as none; 0 means bits."),
  ] = 0.0,
  rtol: Annotated[
    float,
    typer.Option(
      help="The same as a share of the larger number; 0.004 is what bfloat16 "
      "is off by."
    ),
  ] = 0.0,
) -> None:
  """Compare the parameters of two checkpoints; fails where they differ."""
  from instructrec.models.checkpoint import diff as diff_lib

  opened = _open(first, first_step)
  found = diff_lib.diff(
    opened, _open(second, second_step), atol=atol, rtol=rtol
  )
  for difference in found:
    typer.echo(f"{difference.name}: {difference.kind}: {difference.detail}")
  if found:
    typer.echo(f"parameters that differ: {len(found)}")
    raise typer.Exit(1)
  allowed = " + ".join(
    f"{value:g}{unit}"
    for value, unit in ((atol, ""), (rtol, " of the number"))
    if value
  )
  typer.echo(
    f"no difference in {len(opened.params)} parameters"
    + (f" beyond {allowed}" if allowed else ", to the last bit")
  )


def _open(source: str, step: str) -> Any:
  """Opens a checkpoint, and says which of several."""
  from instructrec.models.checkpoint import opening

  found = opening.open_checkpoint(source, checkpoint_steps.parse(step))
  if found.reason:
    typer.echo(f"{source}: {checkpoint_steps.Chosen(found.step, found.reason)}")
  return found


def _convert(
  source: Any, output: str, report: pathlib.Path | None, **settings: Any
) -> None:
  import json

  from instructrec.models.checkpoint import convert

  chosen = convert.Settings(**settings)
  if report is not None:
    report.parent.mkdir(parents=True, exist_ok=True)
  result = convert.convert(source, output, chosen)
  typer.echo(result.text())
  if report is not None:
    report.write_text(json.dumps(result.as_json(), indent=2) + "\n")


def _gin_config(files: Sequence[str] | None) -> Any:
  """The network that gin files make; None where there are none."""
  if not files:
    return None
  from instructrec.models import ranking_model
  from instructrec.training import gin_config

  gin_config.parse(files)
  return gin_config.build(ranking_model.NetworkRankingModel).module.config


def _run_config(source: str, modules: Sequence[str]) -> Any:
  """The network's settings where the source is a run; None elsewhere.

  Parameters do not tell the dropout rate, nor which activation is gated.
  """
  from instructrec.training import run_dir

  run = run_dir.holding(source, modules=modules)
  return None if run is None else run.model.network_config


COMMANDS: dict[str, Callable[..., None]] = {
  "import": import_,
  "export": export,
  "merge": merge,
  "inspect": inspect,
  "diff": diff,
}
