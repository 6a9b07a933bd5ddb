"""`instructrec evaluate`: a trained run in, a reranking report out."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer


def evaluate(
  model_dir: Annotated[
    pathlib.Path, typer.Option(help="Folder that `train` wrote.")
  ],
  output: Annotated[
    pathlib.Path | None,
    typer.Option(help="Folder of the report; <model_dir>/report if left out."),
  ] = None,
  split: Annotated[str, typer.Option(help="validation or test.")] = "test",
  step: Annotated[
    int | None, typer.Option(help="Checkpoint; the newest if left out.")
  ] = None,
  checkpoint: Annotated[
    str | None,
    typer.Option(
      help="Hugging Face, T5X or other checkpoint to evaluate on the run's "
      "data instead of the run's own."
    ),
  ] = None,
  tfds_data_dir: Annotated[
    pathlib.Path | None,
    typer.Option(
      help="Instructions of other data or wordings, made with the run's "
      "vocabulary; those of the run if left out."
    ),
  ] = None,
  task_type: Annotated[
    list[str] | None,
    typer.Option(
      help="Such as sequential or sequential_p1_i0; repeat it; all if left out."
    ),
  ] = None,
  num_requests: Annotated[
    int | None,
    typer.Option(help="Requests a task type, drawn by seed; all if left out."),
  ] = None,
  batch_size: Annotated[
    int, typer.Option(help="Requests scored at once.")
  ] = 32,
  seed: Annotated[
    int, typer.Option(help="Of subset, random baseline and bootstrap.")
  ] = 0,
) -> None:
  """Rerank candidate lists; write tables, pictures and intervals."""
  run(
    model_dir,
    output,
    split=split,
    step=step,
    checkpoint=checkpoint,
    tfds_data_dir=tfds_data_dir,
    task_types=task_type or (),
    num_requests=num_requests,
    batch_size=batch_size,
    seed=seed,
  )


def run(
  model_dir: pathlib.Path,
  output: pathlib.Path | None = None,
  *,
  split: str = "test",
  step: int | None = None,
  checkpoint: str | None = None,
  tfds_data_dir: pathlib.Path | None = None,
  task_types: Sequence[str] = (),
  num_requests: int | None = None,
  batch_size: int = 32,
  seed: int = 0,
) -> pathlib.Path:
  """Evaluates; the function behind the command and the quickstart.

  Args:
    model_dir: the folder that `train` wrote.
    output: the folder of the report; None for <model_dir>/report.
    split: "validation" or "test".
    step: which checkpoint; None for the newest.
    checkpoint: where the parameters are, if not in the run.
    tfds_data_dir: instructions that the run was not trained on; None for
      those of the run.
    task_types: which task types; empty for all.
    num_requests: requests a task type; None for all.
    batch_size: requests scored at once.
    seed: of the subset, the random baseline and the bootstrap.

  Returns:
    The path of report.md.
  """
  import json
  import shlex
  import sys
  import time

  from instructrec.data import dataset
  from instructrec.evaluation import environment, report
  from instructrec.pipelines import evaluate as pipeline
  from instructrec.training import run_dir

  started = time.perf_counter()
  opened = run_dir.load(model_dir)
  if tfds_data_dir is None:
    tfds_data_dir = pathlib.Path(opened.record["tfds_data_dir"])
  manifest = json.loads((tfds_data_dir / "manifest.json").read_text())
  prepared = dataset.load(manifest["prepared_dir"])
  found = pipeline.Evaluation(
    run=opened,
    prepared=prepared,
    tfds_data_dir=tfds_data_dir,
    split=split,
    step=step,
    checkpoint=checkpoint,
    task_types=task_types,
    num_requests=num_requests,
    batch_size=batch_size,
    seed=seed,
  )()
  log = opened.directory / "metrics.jsonl"
  context = report.Context(
    title=f"Reranking report: {opened.directory.name}, {split} split",
    commands=[shlex.join(["instructrec", *sys.argv[1:]])],
    protocol={
      "task": "rank the target among its candidates by log-likelihood",
      "candidates": prepared.manifest["candidates"],
      "score": f"{opened.train.model.score_normalization} over tokens, nats",
      "ties": "expected value under random tie-breaking",
      "intervals": "95% percentile bootstrap over requests",
      "intentions": f"protocol {manifest['protocol']}: "
      f"{ {r.group: manifest['origins'].get(r.group) for r in found} }",
      "split": prepared.manifest["split"],
    },
    data={
      "source": prepared.manifest["source"],
      **prepared.manifest["counts"],
      "prepared fingerprint": prepared.fingerprint,
      "instructions fingerprint": manifest["fingerprint"],
      "vocabulary": manifest["vocabulary"]["fingerprint"],
    },
    seeds={
      "candidates": prepared.manifest["seed"],
      "instructions": manifest["seed"],
      "training": opened.train.seed,
      "evaluation": seed,
    },
    environment=environment.describe(),
    config=(opened.directory / run_dir.CONFIG).read_text(),
    warnings=[
      *prepared.manifest["warnings"],
      "Ranks among sampled candidates do not order methods as ranks among the "
      "whole catalogue do; compare them only with figures of the same "
      "candidate sets.",
      *_foreign(opened.record, tfds_data_dir),
    ],
    training_log=report.read_training_log(log),
    wall_seconds={
      # A run that is not finished has no time of its own yet.
      **(
        {"training": opened.record["train_seconds"]}
        if "train_seconds" in opened.record
        else {}
      ),
      "evaluation": time.perf_counter() - started,
    },
  )
  path = report.write(output or opened.directory / "report", found, context)
  for result in found:
    typer.echo(f"\n{result.group} ({result.num_requests:,} requests)")
    for name, row in result.methods.items():
      cells = "  ".join(
        f"{m} {row[m].mean:.3f}" for m in ("HR@1", "HR@3", "HR@5", "NDCG@10")
      )
      typer.echo(f"  {name:16s} {cells}")
    typer.echo(f"  {report.headline(result)}")
  typer.echo(f"\nreport: {path}")
  return path


def _foreign(
  record: Mapping[str, Any], tfds_data_dir: pathlib.Path
) -> list[str]:
  """What a reader must know where the run was trained on other instructions."""
  trained_on = pathlib.Path(record["tfds_data_dir"])
  if trained_on.resolve() == tfds_data_dir.resolve():
    return []
  return [
    f"The model was trained on other instructions ({trained_on}) than these "
    f"({tfds_data_dir}). Where both come from one log, the split must be the "
    "same, or test targets were trained on."
  ]
