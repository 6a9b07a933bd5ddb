"""`instructrec show`: what a SeqIO task or mixture holds."""

import pathlib
from typing import Annotated

import typer

_MAX_IDS = 24


def show(
  tfds_data_dir: Annotated[
    pathlib.Path, typer.Option(help="Folder that `generate` wrote.")
  ],
  name: Annotated[
    str,
    typer.Option(
      help="Mixture or task, such as instructrec_v1_sequential_cot or "
      "instructrec_v1_rerank."
    ),
  ] = "instructrec_v1",
  split: Annotated[
    str, typer.Option(help="train, validation or test.")
  ] = "train",
  num_examples: Annotated[
    int, typer.Option(help="Examples of each task.", min=0)
  ] = 1,
  num_measured: Annotated[
    int,
    typer.Option(
      help="First examples of each task that lengths are of, and examples "
      "drawn from; 0 reads all, which takes minutes where there are many.",
      min=0,
    ),
  ] = 1000,
  module: Annotated[
    list[str] | None,
    typer.Option(help="Module that registers the tasks; may be repeated."),
  ] = None,
  seed: Annotated[int, typer.Option(help="Of the examples drawn.", min=0)] = 0,
) -> None:
  """Print effective rates, lengths and examples, as the model reads them."""
  from instructrec.pipelines import show as pipeline

  found = pipeline.show(
    name,
    tfds_data_dir,
    split=split,
    num_examples=num_examples,
    num_measured=num_measured or None,
    seed=seed,
    modules=module or ("tasks.instructrec",),
  )
  typer.echo(f"{name}, split {split}: {len(found.rates)} tasks")
  typer.echo(f"{'task':52s} {'rate':>7s} {'examples':>9s}")
  for task, rate in found.rates.items():
    typer.echo(f"{task:52s} {rate:7.2%} {found.sizes[task]:9,d}")
  part = found.measured != found.sizes
  typer.echo(
    "\nlengths in tokens (history: titles): mean, median, 95%, 99%, longest"
    + (
      f"; of the first {num_measured:,} examples, --num_measured=0 takes all"
      if part
      else ""
    )
  )
  for task, lengths in found.lengths.items():
    for entry in lengths:
      half, most, nearly, longest = entry.percentiles
      typer.echo(
        f"{task:52s} {entry.name:10s} {entry.mean:6.1f} {half:5d} {most:5d} "
        f"{nearly:5d} {longest:5d}"
      )
  for task, examples in found.examples.items():
    for example in examples:
      ids = " ".join(map(str, example.input_ids[:_MAX_IDS]))
      more = " ..." if len(example.input_ids) > _MAX_IDS else ""
      typer.echo(
        f"\n{task}, template {example.template_id}\n"
        f"  inputs  {example.inputs}\n"
        f"  ids     {ids}{more} ({len(example.input_ids)})"
      )
      if example.prompt not in (None, example.inputs):
        typer.echo(f"  prompt  {example.prompt}")
      for text in example.targets:
        typer.echo(f"  target  {text}")
