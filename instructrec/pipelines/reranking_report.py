"""What a reader of a reranking report needs to trust and repeat its figures."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from instructrec.evaluation import environment, report, results
from instructrec.pipelines import reranking
from instructrec.training import run_dir


def context(
  evaluated: reranking.Reranking,
  found: Sequence[results.EvaluationResult],
  *,
  command: str,
  training_log: Sequence[Mapping[str, Any]],
) -> report.Context:
  """The report's context.

  Args:
    evaluated: what was called.
    found: what it returned.
    command: how it was started.
    training_log: rows of the run's log.

  Returns:
    The context; wishes are followed for it, and no time stands in it yet.
  """
  settings, run = evaluated.settings, evaluated.run
  manifest = evaluated.instructions.manifest
  prepared, lists = evaluated.instructions.prepared, evaluated.lists
  return report.Context(
    title=f"Reranking report: {run.directory.name}, {settings.split} split",
    commands=[command],
    protocol=_protocol(evaluated, found),
    data={
      "source": prepared.manifest["source"],
      **prepared.manifest["counts"],
      "prepared fingerprint": prepared.fingerprint,
      "instructions fingerprint": manifest["fingerprint"],
      "vocabulary": manifest["vocabulary"]["fingerprint"],
    },
    seeds={
      "candidates": (prepared if lists is None else lists).manifest["seed"],
      "instructions": manifest["seed"],
      "training": run.train.seed,
      "evaluation": settings.seed,
    },
    environment=environment.describe(),
    config=(run.directory / run_dir.CONFIG).read_text(),
    warnings=[
      *prepared.manifest["warnings"],
      "Ranks among sampled candidates do not order methods as ranks among the "
      "whole catalogue do; compare them only with figures of the same "
      "candidate sets.",
      *_foreign(run.record, evaluated.instructions.directory),
    ],
    training_log=training_log,
    sections=evaluated.sections,
    following=evaluated.following(),
  )


def _protocol(
  evaluated: reranking.Reranking, found: Sequence[results.EvaluationResult]
) -> dict[str, Any]:
  manifest = evaluated.instructions.manifest
  prepared, lists = evaluated.instructions.prepared, evaluated.lists
  origins = {r.group: manifest["origins"].get(r.group) for r in found}
  return {
    "task": "rank the target among its candidates by log-likelihood",
    "candidates": prepared.manifest["candidates"]
    if lists is None
    else lists.facts,
    "score": f"{' and '.join(evaluated.normalizations)} over tokens, nats",
    "passes": ", ".join(evaluated.settings.protocols),
    "ties": "expected value under random tie-breaking",
    "intervals": "95% percentile bootstrap over requests, or over users "
    "where some have several",
    "intentions": f"protocol {manifest['protocol']}: {origins}",
    "split": prepared.manifest["split"],
  }


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
