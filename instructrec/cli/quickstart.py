"""`instructrec quickstart`: the whole method on synthetic data."""

import pathlib
from typing import Annotated

import typer

_BASELINES = ("bm25", "itemknn", "sasrec")


def quickstart(
  output: Annotated[
    pathlib.Path, typer.Option(help="Folder for data, model and report.")
  ] = pathlib.Path("runs/quickstart"),
  num_users: Annotated[
    int, typer.Option(help="Synthetic users.", min=1)
  ] = 2000,
  # Fewer give no start for vectors of the tiny network's width.
  num_items: Annotated[
    int, typer.Option(help="Synthetic items.", min=65)
  ] = 400,
  train_steps: Annotated[
    int | None, typer.Option(help="Updates; the gin file's if left out.", min=1)
  ] = None,
  num_requests: Annotated[
    int, typer.Option(help="Test requests a task type.", min=1)
  ] = 1000,
  seed: Annotated[int, typer.Option(help="Of everything.", min=0)] = 0,
) -> None:
  """Logs -> instructions -> fine-tuning -> report, on a synthetic shop.

  About six minutes on two idle cores, and 200 MB of disk.
  """
  typer.echo(
    "With its defaults this takes about six minutes on two idle cores, most of "
    f"them in step 3, and 200 MB of disk in {output}."
  )
  typer.echo("\n1/6 prepare: a synthetic shop with users, items and reviews")
  _prepare(output, num_users, num_items, seed)
  typer.echo("\n2/6 generate: instructions for three kinds of task")
  _generate(output, seed)
  typer.echo("\n3/6 train: a tiny T5 from scratch")
  _train(output, train_steps, seed)
  typer.echo("\n4/6 retrieve fit: baselines that learn from the log alone")
  baselines = _fit_baselines(output, seed)
  typer.echo("\n5/6 evaluate: rerank the target among ten candidates")
  report = _evaluate(output, baselines, num_requests, seed)
  typer.echo("\n6/6 rank: one customer's history and a sentence")
  _rank(output)
  typer.echo(
    f"\nOpen {report.with_suffix('.html')} in a browser: tables, pictures and "
    "examples, and in the first lines what a baseline does better.\n"
    "Then ask the model yourself:\n"
    f'  instructrec rank --model_dir={output / "model"} --wish="a puzzle"\n'
    "and give it your own data: README.md, from `prepare` on, and "
    "docs/data.md."
  )


def _prepare(
  output: pathlib.Path, num_users: int, num_items: int, seed: int
) -> None:
  from instructrec.cli import prepare
  from instructrec.settings import preparation

  shop = preparation.SourceSettings(
    source=preparation.Source.synthetic,
    num_users=num_users,
    num_items=num_items,
  )
  prepare.run(
    preparation.PrepareSettings(
      raw=shop, output=output / "prepared", seed=seed, overwrite=True
    )
  )


def _generate(output: pathlib.Path, seed: int) -> None:
  from instructrec.cli import generate
  from instructrec.settings import generation

  generate.run(
    generation.GenerationSettings(
      data=output / "prepared",
      output=output / "instructions",
      seed=seed,
      overwrite=True,
    )
  )


def _train(output: pathlib.Path, train_steps: int | None, seed: int) -> None:
  from instructrec.cli import train
  from instructrec.settings import training

  bindings = [f"SEED = {seed}"]
  if train_steps is not None:
    bindings += [
      f"TRAIN_STEPS = {train_steps}",
      f"WARMUP_STEPS = {train_steps // 10}",
    ]
  train.run(
    training.TrainingSettings(
      gin_files=("gin/quickstart.gin",),
      bindings=tuple(bindings),
      tfds_data_dir=output / "instructions",
      model_dir=output / "model",
    )
  )


def _fit_baselines(output: pathlib.Path, seed: int) -> tuple[pathlib.Path, ...]:
  """Fits them on the prepared data; returns their folders."""
  from instructrec.retrieval import fitting
  from instructrec.settings import retrieval

  folders = tuple(output / "baselines" / name for name in _BASELINES)
  for folder in folders:
    fitting.fit(
      retrieval.FitSettings(
        data=output / "prepared",
        method=folder.name,
        output=folder,
        seed=seed,
        overwrite=True,
      ),
      typer.echo,
    )
  return folders


def _evaluate(
  output: pathlib.Path,
  baselines: tuple[pathlib.Path, ...],
  num_requests: int,
  seed: int,
) -> pathlib.Path:
  """Writes the report; returns its file."""
  from instructrec.cli import evaluate
  from instructrec.settings import evaluation

  return evaluate.run(
    evaluation.EvaluationSettings(
      model_dir=output / "model",
      output=output / "report",
      retrievers=baselines,
      task_types=("sequential_p1_i0", "product_search", "personalized_search"),
      num_requests=num_requests,
      seed=seed,
    )
  )


def _rank(output: pathlib.Path) -> None:
  from instructrec.cli import rank

  rank.run_example(output / "model")
