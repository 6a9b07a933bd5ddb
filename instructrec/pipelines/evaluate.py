"""Reranks candidate lists with a trained run and its baselines."""

import dataclasses
import importlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from instructrec.data import dataset, request
from instructrec.evaluation import results
from instructrec.pipelines import (
  generate,
  registry,
  token_cache,
  vocabulary,
)
from instructrec.retrieval import evaluate as ranking
from instructrec.retrieval import popularity, random_ranker, ranker
from instructrec.training import run_dir, scoring, token_dataset

MODEL, UNTRAINED = "trained model", "untrained model"
_DESCRIPTIONS = {
  MODEL: "log-likelihood of the candidate's title given the instruction",
  UNTRAINED: "the same network with the parameters it began with",
  "popularity": "how often the item occurs in the training log",
  "random": "uniform numbers by seed, request and item",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
  """Which requests to rerank, and with what.

  Attributes:
    run: the trained run.
    prepared: the logs behind the instructions, for the baselines.
    tfds_data_dir: the instructions.
    split: "validation" or "test".
    step: which checkpoint; None for the newest.
    checkpoint: where the parameters are, if not in the run; of any form that
      `instructrec checkpoint` reads.
    task_types: which evaluation tasks: such as "sequential_p1_i0", or
      "sequential" for all that begin so; empty for all.
    num_requests: how many requests a task, drawn by `seed`; None for all.
    batch_size: requests scored at once.
    seed: of the subset, the random baseline and the bootstrap.
  """

  run: run_dir.Run
  prepared: dataset.PreparedData
  tfds_data_dir: pathlib.Path
  split: str = "test"
  step: int | None = None
  checkpoint: str | None = None
  task_types: Sequence[str] = ()
  num_requests: int | None = None
  batch_size: int = 32
  seed: int = 0

  def _tasks(self) -> list[str]:
    for module in self.run.data.modules:
      importlib.import_module(module)
    names = token_cache.mixture_rates(self.run.data.eval_mixture)
    groups = {self._group(name): name for name in names}
    found = {
      wanted: [
        group for group in groups if f"{group}_".startswith(f"{wanted}_")
      ]
      for wanted in self.task_types or groups
    }
    if unknown := sorted(wanted for wanted in found if not found[wanted]):
      raise ValueError(
        f"unknown task types {unknown}; {self.run.data.eval_mixture} has "
        f"{sorted(groups)}"
      )
    chosen = [group for matches in found.values() for group in matches]
    return [groups[group] for group in dict.fromkeys(chosen)]

  def _group(self, task_name: str) -> str:
    """A task's name without what all names of the mixture share."""
    name = task_name.removesuffix(registry.RERANK)
    mixture = self.run.data.eval_mixture.removesuffix(registry.RERANK)
    return name.removeprefix(f"{mixture}_")

  def _subset(self, size: int) -> Int[np.ndarray, " requests"]:
    if self.num_requests is None or self.num_requests >= size:
      return np.arange(size)
    rng = np.random.default_rng(self.seed)
    return np.sort(rng.choice(size, self.num_requests, replace=False))

  def __call__(self) -> list[results.EvaluationResult]:
    """Scores every task type.

    Returns:
      One result a task type.

    Raises:
      FileNotFoundError: where instructions or checkpoint are missing.
    """
    os.environ[vocabulary.ENVIRONMENT_VARIABLE] = str(
      self.tfds_data_dir.absolute() / generate.VOCABULARY
    )
    if self.checkpoint is None:
      trained, _ = self.run.params(self.step)
    else:
      trained = self.run.params_from(self.checkpoint, self.step)
    untrained = self.run.initial_params()
    log, items = self.prepared.split.training_log, self.prepared.catalog
    baselines: list[ranker.Ranker] = [
      popularity.Popularity().fit(log, items),
      random_ranker.Random(self.seed).fit(log, items),
    ]
    return [
      self._task(name, trained, untrained, baselines) for name in self._tasks()
    ]

  def _task(
    self,
    name: str,
    trained: Any,
    untrained: Any,
    baselines: list[ranker.Ranker],
  ) -> results.EvaluationResult:
    data = token_cache.load(name, self.split, self.tfds_data_dir)
    examples = self._subset(len(data))
    group = self._group(name)
    rows = data.columns[examples]
    requests = self._requests(rows)
    scores = {
      MODEL: self._scores(data, examples, trained, f"{group}: model"),
      UNTRAINED: self._scores(data, examples, untrained, f"{group}: untrained"),
      **{baseline.name: baseline.score(requests) for baseline in baselines},
    }
    counts = data.num_candidates[examples]
    return results.evaluate(
      group,
      scores,
      rows["label"].to_numpy(),
      request_ids=rows["request_id"].to_list(),
      where=np.arange(counts.max()) < counts[:, None],
      known=ranking.known(requests, self.prepared.split.training_log),
      seed=self.seed,
      descriptions=_DESCRIPTIONS,
    )

  def _requests(self, rows: pl.DataFrame) -> list[request.RankingRequest]:
    """What the rows rank, with the histories behind them."""
    histories = dict(
      self.prepared.requests.find(rows["request_id"])
      .select("request_id", "history")
      .iter_rows()
    )
    return [
      request.RankingRequest(
        row["request_id"],
        row["user_id"],
        tuple(histories[row["request_id"]]),
        tuple(row["candidate_ids"]),
        row["candidate_ids"][row["label"]],
      )
      for row in rows.iter_rows(named=True)
    ]

  def _scores(
    self,
    data: token_dataset.TokenDataset,
    examples: Int[np.ndarray, " requests"],
    params: Any,
    label: str,
  ) -> Float[np.ndarray, "requests candidates"]:
    return scoring.score_lists(
      self.run.train.model,
      params,
      data,
      examples,
      inputs_length=self.run.data.inputs_length,
      targets_length=self.run.data.targets_length,
      batch_size=self.batch_size,
      label=label,
    )
