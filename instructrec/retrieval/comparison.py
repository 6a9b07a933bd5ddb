"""Retrievers in, a report on the same lists out: `retrieve evaluate`."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from instructrec.data import candidate_files, dataset, request
from instructrec.evaluation import (
  compare as compare_lib,
)
from instructrec.evaluation import (
  environment,
  examples,
  markdown,
  metrics,
  report,
  results,
  selection,
)
from instructrec.retrieval import evaluate, methods, retriever
from instructrec.settings import retrieval

# The cut-offs of LLMRank's tables beside ours.
_PUBLISHED = selection.Selection(metrics.default_names(ndcg_at=(1, 5, 10, 20)))


def compare(
  settings: retrieval.RetrieverEvaluationSettings,
  prepared: dataset.PreparedData,
  runs: Mapping[str, retriever.Retriever],
  *,
  command: str = "instructrec.retrieval.comparison.compare",
  tell: Callable[[str], None] = print,
) -> pathlib.Path:
  """Ranks frozen candidates, published ones and the whole catalogue.

  Args:
    settings: which retrievers, on which requests.
    prepared: the data that `settings` names.
    runs: trained runs as retrievers, by name.
    command: how it was started, for the report.
    tell: shows a line.

  Returns:
    The path of report.md.

  Raises:
    FileNotFoundError: where a retriever or a file is missing.
    ValueError: where they do not fit the data.
  """
  started = time.perf_counter()
  metrics.parse(settings.metrics)
  found = _results(
    settings,
    prepared,
    {**methods.load_all(settings.retrievers, prepared.fingerprint), **runs},
  )
  context = _context(settings, prepared, command)
  context = dataclasses.replace(
    context,
    examples={r.group: _examples(r, prepared) for r in found},
    wall_seconds={"evaluation": time.perf_counter() - started},
  )
  path = report.write(settings.output, found, context)
  for result in found:
    tell(f"\n{result.group} ({result.num_requests:,} requests)")
    tell(markdown.metric_table(result))
  tell(f"\nreport: {path}")
  return path


def _results(
  settings: retrieval.RetrieverEvaluationSettings,
  prepared: dataset.PreparedData,
  opened: Mapping[str, retriever.Retriever],
) -> list[results.EvaluationResult]:
  """A result for each kind of lists."""
  published = _published(settings, prepared)
  rows = prepared.requests.sample(
    settings.split, settings.num_requests, settings.seed
  )
  requests = request.from_frame(rows)
  if published:
    users = {r.user_id for r in next(iter(published.values()))}
    requests = [r for r in requests if r.user_id in users]
  log, seed = prepared.split.training_log, settings.seed
  asked = settings.metrics
  return [
    evaluate.evaluate(
      compare_lib.FROZEN,
      opened,
      requests,
      training_log=log,
      selection=selection.Selection.of(asked),
      seed=seed,
    ),
    *(
      evaluate.evaluate(
        name,
        opened,
        lists,
        training_log=log,
        selection=selection.Selection.of(asked, _PUBLISHED),
        seed=seed,
      )
      for name, lists in published.items()
    ),
    evaluate.evaluate_catalog(
      "full catalogue",
      opened,
      requests,
      training_log=log,
      remove_seen=not settings.keep_seen,
      selection=selection.Selection.of(asked, evaluate.CATALOGUE),
      seed=seed,
    ),
  ]


def _published(
  settings: retrieval.RetrieverEvaluationSettings,
  prepared: dataset.PreparedData,
) -> dict[str, list[request.RankingRequest]]:
  """Requests by the name of the candidate file, of the same users in all."""
  files = settings.candidates
  if not files:
    return {}
  longest = prepared.manifest["split"]["max_history"]
  if longest < candidate_files.MAX_HISTORY:
    raise ValueError(
      f"the requests have histories of at most {longest} items, the protocol "
      f"of candidate files up to {candidate_files.MAX_HISTORY}; prepare the "
      f"data with --max_history={candidate_files.MAX_HISTORY}"
    )
  frame = prepared.requests.read(settings.split)
  found: dict[str, list[request.RankingRequest]] = {}
  for path in files:
    name = path.name.split(".tsv")[0]
    if name in found:
      raise ValueError(
        f"two candidate files are called {name!r}; rename one, the report "
        "names lists after their files"
      )
    found[name] = candidate_files.requests(
      candidate_files.read(path, prepared.catalog),
      frame,
      num_candidates=settings.num_candidates,
      seed=settings.seed,
    )
  users = {frozenset(r.user_id for r in rows) for rows in found.values()}
  if len(users) > 1:
    raise ValueError(
      f"the candidate files {[str(f) for f in files]} are of different users; "
      "evaluate them one by one"
    )
  return found


def _context(
  settings: retrieval.RetrieverEvaluationSettings,
  prepared: dataset.PreparedData,
  command: str,
) -> report.Context:
  """What a reader needs to trust and repeat the figures."""
  kept = "ranked, too" if settings.keep_seen else "left out"
  return report.Context(
    title=f"Retrievers, {settings.split} split",
    commands=[command],
    protocol={
      "frozen candidates": prepared.manifest["candidates"],
      "published candidates": list(map(str, settings.candidates)) or "none",
      "full catalogue": f"items of the history {kept}",
      "ties": "expected value under random tie-breaking",
      "intervals": "95% percentile bootstrap over requests, or over users "
      "where some have several",
      "split": prepared.manifest["split"],
    },
    data={
      "source": prepared.manifest["source"],
      **prepared.manifest["counts"],
      "prepared fingerprint": prepared.fingerprint,
    },
    seeds={
      "candidates": prepared.manifest["seed"],
      "evaluation": settings.seed,
    },
    environment=environment.describe(),
    config=_how_fitted(settings.retrievers),
    warnings=prepared.manifest["warnings"],
    training_log=(),
  )


def _examples(
  result: results.EvaluationResult, prepared: dataset.PreparedData
) -> list[examples.Example]:
  """The first requests, as the best method ranks them."""
  first = pl.Series(list(result.request_ids[: examples.NUM_EXAMPLES]))
  title = prepared.catalog.title
  known = request.from_frame(prepared.requests.find(first))
  told = {
    one.request_id: examples.Request(history=[title(i) for i in one.history])
    for one in known
  }
  return examples.of(result, told, title)


def _how_fitted(folders: Sequence[pathlib.Path]) -> str:
  """A line on each retriever's method, trials and settings."""
  lines = []
  for folder in folders:
    manifest: dict[str, Any] = retriever.read_manifest(folder)
    record = manifest["record"]
    lines.append(
      f"{folder.resolve().name}: {manifest['method']}, "
      f"{len(record['trials'])} trials, {record['num_validation']} validation "
      f"requests; {manifest['settings']}"
    )
  return "\n".join(lines)
