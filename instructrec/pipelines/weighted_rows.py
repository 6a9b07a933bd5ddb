"""The rows of a report whose scores are sums of parts with learnt weights.

Weights are fitted on validation requests of the same tasks, apart for requests
with and without a wish. Beside the model stand the same request without its
wish and with somebody else's, the wish as a filter alone, and, where there are
retrievers, all of them with and without the model, fused alike: those that are
given, and the one whose scores come with the lists.
"""

import dataclasses
import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from instructrec import checksums
from instructrec.evaluation import published, published_page
from instructrec.pipelines import blocks
from instructrec.retrieval import (
  retriever,
  run_weights,
  score_ablation,
  score_parts,
  score_weights,
)
from instructrec.retrieval.run_weights import WITHOUT_WISH
from instructrec.retrieval.score_parts import ScoreWeightsError
from instructrec.serving import model_parts
from instructrec.serving.model_parts import Scores
from instructrec.serving.wish_prompts import Wish

FILTER = "wish as a filter"
# Requests that an ablation looks at; it fits weights anew for each row.
_ABLATED = 4096
# Parts that are known of every item at once.
_OF_CATALOG = {
  model_parts.MATCH,
  model_parts.POPULARITY,
  model_parts.WANTED,
  model_parts.UNWANTED,
  model_parts.PLAIN,
  model_parts.UNREAD,
}
_ALONE = (model_parts.WANTED, model_parts.UNWANTED)
Row = tuple[str, Scores, str]
_LOG = logging.getLogger(__name__)


def fused_name(names: Iterable[str], model: str | None) -> str:
  """What the sum of retrievers, with a model or popularity, is called."""
  return " + ".join(
    [
      *([model] if model else []),
      *names,
      *([] if model else [model_parts.POPULARITY]),
    ]
  )


class _Seen:
  """The first requests of a task, which its ablation is made of."""

  def __init__(self) -> None:
    self.parts: dict[str, list[Scores]] = {}
    self._labels: list[np.ndarray] = []
    self._where: list[np.ndarray] = []
    self._users: list[str] = []

  def add(self, found: dict[str, Scores], block: blocks.Block) -> None:
    """Remembers a block, unless there are enough."""
    if len(self._users) >= _ABLATED:
      return
    self._users += [one.user_id for one in block.requests]
    for name, part in found.items():
      self.parts.setdefault(name, []).append(part)
    self._labels.append(block.labels)
    self._where.append(block.where)

  def table(
    self, title: str, fit: score_weights.ScoreWeightsFit, seed: int
  ) -> published.Table | None:
    """Their ablation; None where no list has its target."""
    labels = np.concatenate(self._labels)
    ranked = labels >= 0
    if not ranked.any():
      return None
    rows = score_ablation.ablation(
      {
        name: score_parts.stack(part, -np.inf)
        for name, part in self.parts.items()
      },
      labels,
      score_parts.stack(self._where, False),
      fits=fit,
      seed=seed,
      clusters=self._users,
    )
    users = set(itertools.compress(self._users, ranked))
    return score_ablation.table(title, rows, int(ranked.sum()), len(users))


@dataclasses.dataclass(eq=False)
class WeightedRows:
  """Fits weights, then makes the rows of each block.

  Attributes:
    parts: of the model.
    model_name: what its row is called.
    retrievers: fitted ones, by name, to fuse with it.
    lists_retriever: name of the one whose scores the lists carry, validation
      and others alike; None where they carry none.
    seed: of validation requests and the bootstrap.
    weights: of the model's own parts, once fitted.
  """

  parts: model_parts.ModelParts
  model_name: str
  retrievers: Mapping[str, retriever.Retriever]
  lists_retriever: str | None = None
  seed: int = 0

  def __post_init__(self) -> None:
    """Begins with untuned weights."""
    self.weights = run_weights.RunWeights({}, self.parts.untuned)
    self._fits: dict[str, score_weights.ScoreWeightsFit] = {}
    self._fused: dict[str, tuple[score_weights.ScoreWeights, ...]] = {}
    # Of the block that was asked for last.
    self._last: tuple[blocks.Block, dict[str, Scores]] | None = None
    self._retrieved: tuple[blocks.Block, dict[str, Scores]] | None = None
    self._seen: dict[str, _Seen] = {}

  def fit(self, validation: Mapping[str, Iterator[blocks.Block]]) -> None:
    """Fits weights on validation requests.

    Args:
      validation: blocks by task.
    """
    for task_blocks in validation.values():
      for block in task_blocks:
        self._add(block, self.parts.of_block(block, Wish.OWN))
        if self.parts.has_wishes(block) and self.parts.swaps_wishes:
          if self.parts.has_histories(block):
            none = self.parts.of_block(block, Wish.NONE)
            self._add(block, none, WITHOUT_WISH)
          self._add_others(block)
    own, fitted = tuple(self._retriever_names), {}
    for kind, fit in self._fits.items():
      model = [name for name in fit.names if name not in own]
      fitted[kind] = fit.fit(model)
      if self.parts.matcher is not None and not set(model) <= _OF_CATALOG:
        fitted[run_weights.catalog_kind(kind)] = fit.fit(
          [name for name in model if name in _OF_CATALOG]
        )
      if own:
        without = [*own, *self._without_model(fit.names)]
        self._fused[kind] = (fit.fit(), fit.fit(without))
    self.weights = run_weights.RunWeights(fitted, self.parts.untuned)

  def _without_model(self, names: tuple[str, ...]) -> list[str]:
    """What a fusion without the model is given all the same."""
    kept = (model_parts.POPULARITY, *_ALONE)
    return [name for name in names if name in kept]

  @property
  def _retriever_names(self) -> dict[str, str]:
    """By part. One that is given scores its own lists as it did before."""
    names = dict.fromkeys(self.retrievers)
    if self.lists_retriever is not None:
      names.setdefault(self.lists_retriever)
    return {f"retriever:{name}": name for name in names}

  def _with_retrievers(
    self, block: blocks.Block, found: dict[str, Scores]
  ) -> dict[str, Scores]:
    """The parts with what retrievers say, which no wish changes."""
    if self._retrieved is None or self._retrieved[0] is not block:
      scores = {
        part: self._retriever_scores(block, name)
        for part, name in self._retriever_names.items()
      }
      self._retrieved = (block, scores)
    return found | self._retrieved[1]

  def _retriever_scores(self, block: blocks.Block, name: str) -> Scores:
    if name in self.retrievers:
      return self.retrievers[name].score(block.requests)
    assert block.retriever_scores is not None
    return block.retriever_scores

  def _add_others(self, block: blocks.Block) -> None:
    """The requests once more, with wishes that are not their own.

    Validation wishes all tell the truth: fitted on them alone, the weights
    would have every wish obeyed, of whomever it is. What is refused says
    nothing here: to be wrong about it costs little, to keep showing it much.
    """
    found = self.parts.of_block(block, Wish.OTHER)
    neutral = np.where(block.where, 0.0, -np.inf)
    self._add(block, found | {model_parts.UNWANTED: neutral})
    if model_parts.UNREAD in self.parts.wish_parts:
      # What cannot be read of true wishes is worth more than idle talk.
      self._add(block, self.parts.of_block(block, Wish.NOTHING))

  def _add(
    self,
    block: blocks.Block,
    found: dict[str, Scores],
    kind: str | None = None,
  ) -> None:
    kind = kind or self._kind(block)
    fit = self._fits.setdefault(
      kind, score_weights.ScoreWeightsFit(seed=self.seed)
    )
    parts = self._with_retrievers(block, found)
    # All blocks of a kind have the same parts: those of wishes too.
    if kind != WITHOUT_WISH:
      for name in self.parts.wish_parts:
        parts.setdefault(name, np.where(block.where, 0.0, -np.inf))
    fit.add(parts, block.labels, block.where)

  @property
  def is_weighted(self) -> bool:
    """Whether the score is more than one likelihood."""
    return bool(self.weights.by_kind) or self.parts.matcher is not None

  def load(self, directory: str | os.PathLike[str], split: str) -> str | None:
    """Takes the weights that an earlier evaluation left with the run.

    Args:
      directory: the run's folder.
      split: whose requests are ranked; weights that were fitted on it would
        know them, and are left where they are.

    Returns:
      Why none were taken, where there are some.
    """
    found = run_weights.RunWeights.load(directory, self.parts.untuned)
    try:
      for weights in found.by_kind.values():
        weights.check_split(split)
    except ScoreWeightsError as error:
      return f"the parts of the score count as in training: {error}"
    self.weights = found
    return None

  def save(self, directory: str | os.PathLike[str], step: int | None) -> None:
    """Leaves the weights with the run, for `rank` and others.

    Kinds of requests that were not among these keep what was fitted for them
    with the same parameters.

    Args:
      directory: the run's folder.
      step: of the checkpoint that they were fitted with.
    """
    fitted = self.weights.by_kind
    try:
      before = run_weights.RunWeights.load(directory, self.parts.untuned)
      if before.checkpoint_step == step:
        anew = {*fitted, *map(run_weights.catalog_kind, fitted)}
        kept = {k: v for k, v in before.by_kind.items() if k not in anew}
        fitted = {**kept, **fitted}
    except (checksums.DamagedError, ScoreWeightsError) as error:
      _LOG.warning("the weights of before are replaced: %s", error)
    self.weights = dataclasses.replace(
      self.weights, by_kind=fitted, checkpoint_step=step
    )
    self.weights.save(directory)

  def model(self, block: blocks.Block) -> tuple[Scores, str]:
    """The model's scores of a block, and a sentence on what they are."""
    kind, found = self._kind(block), self._own(block)
    return (
      self.weights.combine(kind, found, block.where),
      self.weights.describe(kind),
    )

  def beside(self, block: blocks.Block) -> Iterator[Row]:
    """What stands beside the model; its ablation remembers the block.

    Args:
      block: requests of a task.

    Yields:
      Name, scores and a sentence on what they are.
    """
    if not self.is_weighted:
      return
    kind, found = self._kind(block), self._own(block)
    every = self._with_retrievers(block, found)
    self._seen.setdefault(kind, _Seen()).add(every, block)
    if kind != WITHOUT_WISH:
      yield from self._other_wishes(block)
      wanted, unwanted = (found[name] for name in _ALONE)
      yield (
        FILTER,
        np.where(block.where, wanted - unwanted, -np.inf),
        "what the wish asks for, read by rule, less what it refuses",
      )
    if kind in self._fused:
      yield from self._fused_rows(block, kind, found)

  def _kind(self, block: blocks.Block) -> str:
    return run_weights.kind_of(
      history=self.parts.has_histories(block),
      wish=self.parts.has_wishes(block),
    )

  def _own(self, block: blocks.Block) -> dict[str, Scores]:
    """The parts of the block that was asked for last are kept."""
    if self._last is None or self._last[0] is not block:
      self._last = (block, self.parts.of_block(block, Wish.OWN))
    return self._last[1]

  def _other_wishes(self, block: blocks.Block) -> Iterator[Row]:
    if not self.parts.swaps_wishes:
      return
    own = self._kind(block)
    for wish, kind in ((Wish.NONE, WITHOUT_WISH), (Wish.OTHER, own)):
      found = self.parts.of_block(block, wish)
      yield (
        f"{self.model_name}, {wish}",
        self.weights.combine(kind, found, block.where),
        f"the same requests with {wish}: {self.weights.describe(kind)}",
      )

  def _fused_rows(
    self, block: blocks.Block, kind: str, found: dict[str, Scores]
  ) -> Iterator[Row]:
    parts = self._with_retrievers(block, found)
    names = (self.model_name, None)
    for weights, model in zip(self._fused[kind], names, strict=True):
      yield (
        fused_name(self._retriever_names.values(), model),
        weights.combine(parts, block.where),
        _of_one_kind(kind, weights).describe(kind),
      )

  def ablation(self, group: str) -> tuple[list[str], list[published.Table]]:
    """What a report says of the parts of a task; forgets its blocks.

    The parts are those of the fusion where there are retrievers.

    Args:
      group: the task's name.

    Returns:
      Lines of Markdown, and their tables as data; none where nothing was
      fitted, there is one part, or no list has its target.
    """
    lines: list[str] = []
    tables: list[published.Table] = []
    for kind, seen in self._seen.items():
      if kind not in self._fits or len(seen.parts) < 2:
        continue
      title = f"{group}: what each part of the score adds"
      table = seen.table(title, self._fits[kind], self.seed)
      if table is None:
        continue
      fused = self._fused.get(kind)
      whole = self.weights if fused is None else _of_one_kind(kind, fused[0])
      lines += [
        f"### {title}",
        "",
        f"Weights {whole.describe(kind)}; each row's are fitted anew.",
        "",
        published_page.table(table),
        "",
      ]
      tables.append(table)
    self._seen.clear()
    return lines, tables


def _of_one_kind(
  kind: str, weights: score_weights.ScoreWeights
) -> run_weights.RunWeights:
  return run_weights.RunWeights({kind: weights}, {})
