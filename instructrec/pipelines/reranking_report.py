"""What a reader of a reranking report needs to trust and repeat its figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from instructrec.evaluation import environment, report, results
from instructrec.instructions import format as instruction_format
from instructrec.pipelines import reranking, reranking_rows
from instructrec.serving import instruction_folder
from instructrec.training import trained_run

_OF_TARGET = {
  instruction_format.Origin.TARGET_ATTRIBUTES,
  instruction_format.Origin.TARGET_REVIEW,
}
_DESCRIBES = (
  "The query describes the target: it is made from the wanted item itself, its "
  "attributes or review, though never its title. Figures say how well a "
  "description is found, not how well a wish is guessed; popularity and single "
  "retrievers do not read it, and no mean over task types is meant."
)


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
      **({"training": run.start.seed} if run.start else {}),
      "evaluation": settings.seed,
    },
    environment=environment.describe(),
    config=run.config,
    warnings=[
      *prepared.manifest["warnings"],
      "Ranks among sampled candidates do not order methods as ranks among the "
      "whole catalogue do; compare them only with figures of the same "
      "candidate sets.",
      *_describing(found, manifest),
      *_foreign(run, evaluated.instructions),
    ],
    training_log=training_log,
    sections=evaluated.sections,
    figures=evaluated.figures,
    following=evaluated.following(),
    model=reranking_rows.MODEL,
    baselines=evaluated.baselines,
    meanings={r.group: _meaning(r.group, manifest) for r in found},
    examples=evaluated.examples,
  )


def _meaning(group: str, manifest: Mapping[str, Any]) -> str:
  """A group's name in words, and what its wishes were made from."""
  origins = _origins(group, manifest)
  text = instruction_format.in_words(group)
  if _OF_TARGET & origins.keys():
    text += f" {_DESCRIBES}"
  elif instruction_format.Origin.STATED in origins:
    text += (
      " The wish is made from what the wanted item has, never from its title."
    )
  return text.strip()


def _origins(group: str, manifest: Mapping[str, Any]) -> Mapping[str, int]:
  """What the wishes of a group's task were made from, and how many."""
  return manifest["origins"].get(group.split(",")[0], {})


def _describing(
  found: Sequence[results.EvaluationResult], manifest: Mapping[str, Any]
) -> list[str]:
  """What a reader must know where queries describe what is looked for."""
  groups = [
    r.group for r in found if _OF_TARGET & _origins(r.group, manifest).keys()
  ]
  return [f"{', '.join(groups)}: {_DESCRIBES}"] if groups else []


def _protocol(
  evaluated: reranking.Reranking, found: Sequence[results.EvaluationResult]
) -> dict[str, Any]:
  manifest = evaluated.instructions.manifest
  prepared, lists = evaluated.instructions.prepared, evaluated.lists
  origins = {r.group: manifest["origins"].get(r.group) for r in found}
  return {
    "parameters": evaluated.checkpoint,
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
  run: trained_run.Run, instructions: instruction_folder.InstructionFolder
) -> list[str]:
  """What a reader must know where the run was trained on other instructions."""
  trained = instructions.trained(run)
  if trained:
    return []
  if trained is None:
    return [
      "Nothing says on which instructions the model was trained. Where they "
      f"are others than these ({instructions.directory}) from the same log, "
      "the split must be the same, or test targets were trained on."
    ]
  return [
    "The model was trained on other instructions "
    f"({run.record['tfds_data_dir']}) than these ({instructions.directory}). "
    "Where both come from one log, the split must be the same, or test targets "
    "were trained on."
  ]
