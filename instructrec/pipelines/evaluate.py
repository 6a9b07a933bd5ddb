"""A trained run in, a reranking report out."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence

from instructrec import output_folder
from instructrec.data import candidate_files, dataset
from instructrec.evaluation import (
  headlines,
  loss_log,
  metrics,
  published,
  published_report,
  report,
  results,
)
from instructrec.pipelines import (
  control_evaluation,
  control_requests,
  reranking,
  reranking_report,
)
from instructrec.retrieval import candidate_lists, methods
from instructrec.serving import instruction_folder
from instructrec.settings import evaluation
from instructrec.training import distributed, run_opening, trained_run

_SHOWN = ("HR@1", "HR@3", "HR@5", "NDCG@10")


def evaluate(
  settings: evaluation.EvaluationSettings,
  *,
  command: str = "instructrec.pipelines.evaluate.evaluate",
  tell: Callable[[str], None] = print,
) -> pathlib.Path:
  """Evaluates a run and writes the report.

  With several processes each scores its share, and the lead writes.

  Args:
    settings: which run, requests and lists.
    command: how it was started, for the report.
    tell: shows a line.

  Returns:
    The path of report.md.

  Raises:
    FileNotFoundError: where the run, its data or a checkpoint are missing.
    ValueError: where they do not fit each other, devices do not divide, the
      processes mean different evaluations, or each of them would ask a chat
      server.
  """
  started = time.perf_counter()
  _check(settings)
  evaluated = _open(settings, tell)
  run = evaluated.run
  training_log = loss_log.read(run.log) if run.log else []
  found = evaluated()
  context = reranking_report.context(
    evaluated, found, command=command, training_log=training_log
  )
  seconds = {"evaluation": time.perf_counter() - started}
  # A run that is not finished has no time of its own yet.
  if run.train_seconds is not None:
    seconds = {"training": run.train_seconds, **seconds}
  output = settings.output or run.directory / "report"
  if not distributed.is_lead():
    return output / "report.md"
  context = dataclasses.replace(context, wall_seconds=seconds)
  path = report.write(output, found, context)
  _tell(found, metrics.parse(settings.metrics) or _SHOWN, tell)
  tell(f"\nreport: {path}")
  if settings.publish is not None:
    figures = published_report.from_folder(output, settings.publish.stem)
    figures.save(settings.publish)
    tell(f"figures: {settings.publish}")
  return path


def _open(
  settings: evaluation.EvaluationSettings, tell: Callable[[str], None]
) -> reranking.Reranking:
  """Opens everything but the parameters; all processes must open the same."""
  run = run_opening.open_run(settings)
  run = run.on_all_devices(settings.model_parallel)
  if settings.mixture is not None:
    data = dataclasses.replace(run.data, eval_mixture=settings.mixture)
    run = dataclasses.replace(run, data=data)
  if settings.initial_checkpoint is not None:
    start = dataclasses.replace(
      run.start or trained_run.Start(), checkpoint=settings.initial_checkpoint
    )
    run = dataclasses.replace(run, start=start)
  instructions = _instructions(settings, run)
  if settings.teacher is not None:
    control_requests.tasks(run, instructions, settings.split)
    control_evaluation.check_teacher(settings.teacher, instructions)
  prepared = instructions.prepared
  opened = reranking.Reranking(
    settings=settings,
    run=run,
    instructions=instructions,
    lists=_lists(settings, settings.candidates, prepared, settings.split),
    validation_lists=_lists(
      settings, settings.validation_candidates, prepared, "validation"
    ),
    retrievers=methods.load_all(settings.retrievers, prepared.fingerprint),
    tell=tell,
  )
  if settings.chat.model is not None:
    distributed.check_alone("a chat server would be asked by each")
  distributed.check_agreement(
    {
      "the split": [
        settings.split,
        settings.step,
        settings.checkpoint,
        instructions.manifest["fingerprint"],
      ],
      "the choice of requests": [
        run.data.eval_mixture,
        *settings.task_types,
        settings.num_requests,
        settings.seed,
      ],
      "the scoring": [
        *opened.normalizations,
        settings.batch_size,
        settings.model_parallel,
      ],
      "the candidate lists": [
        None if found is None else found.manifest
        for found in (opened.lists, opened.validation_lists)
      ],
    }
  )
  return opened


def _check(settings: evaluation.EvaluationSettings) -> None:
  """Refuses what is no metric, place or list, before anything is loaded."""
  metrics.parse(settings.metrics)
  if settings.output is not None:
    output_folder.check_folder(settings.output)
  if settings.publish is not None:
    published.check_name(settings.publish)
  for path in (settings.candidates, settings.validation_candidates):
    if path is not None and path.suffix != ".parquet":
      candidate_files.check(path)


def _instructions(
  settings: evaluation.EvaluationSettings, run: trained_run.Run
) -> instruction_folder.InstructionFolder:
  """Those that are named, which may be others, or those of the run."""
  if settings.tfds_data_dir is None:
    return instruction_folder.InstructionFolder.of_run(run, data=settings.data)
  return instruction_folder.InstructionFolder.open(
    settings.tfds_data_dir, data=settings.data
  )


def _lists(
  settings: evaluation.EvaluationSettings,
  path: pathlib.Path | None,
  prepared: dataset.PreparedData,
  split: str,
) -> candidate_lists.CandidateLists | None:
  """The lists of a file, ours or a published one."""
  if path is None:
    return None
  if path.suffix == ".parquet":
    return candidate_lists.CandidateLists.load(path, prepared)
  return candidate_lists.published(
    path,
    prepared,
    split,
    num_candidates=settings.num_candidates,
    seed=settings.seed,
  )


def _tell(
  found: Sequence[results.EvaluationResult],
  shown: Sequence[str],
  tell: Callable[[str], None],
) -> None:
  """Says the figures of each group."""
  for result in found:
    width = max(16, *map(len, result.methods))
    tell(f"\n{result.group} ({result.num_requests:,} requests)")
    for name, row in result.methods.items():
      # A whole catalogue is looked at by other cut-offs than lists are.
      own = [metric for metric in shown if metric in row] or list(row)
      cells = "  ".join(f"{m} {row[m].mean:.3f}" for m in own)
      tell(f"  {name:{width}s} {cells}")
    tell(f"  {headlines.headline(result)}")
