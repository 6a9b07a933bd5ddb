"""The rows of a reranking report: who ranks the lists of a block, and how."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float

from instructrec.pipelines import blocks, chat_rows, weighted_rows
from instructrec.retrieval import retriever, tournament
from instructrec.serving import model_parts
from instructrec.settings import evaluation
from instructrec.training import scoring, trained_run

MODEL, UNTRAINED = "trained model", "untrained model"
_MODEL_IS = "log-likelihood of the candidate's title given the instruction"
Scores = Float[np.ndarray, "requests candidates"]
Row = tuple[str, list[Scores], str]
"""Its name, its scores by order of the candidates, and what they are."""


def retrieved_order(name: str | None) -> str:
  """What the row of a retriever's own order is called."""
  return f"{name}'s order"


@dataclasses.dataclass(frozen=True, eq=False)
class RerankingRows:
  """Ranks blocks in every way that is asked for.

  Attributes:
    settings: of the evaluation.
    run: the trained run.
    weighted: the trained model, with the weights of its parts.
    untrained: the parameters that training began with; None for no such row.
    others: baselines and retrievers, by name.
    lists_retriever: who made the lists that are ranked; None for nobody.
    chat: asks a chat model; None for none.
  """

  settings: evaluation.EvaluationSettings
  run: trained_run.Run
  weighted: weighted_rows.WeightedRows
  untrained: model_parts.ModelParts | None
  others: Mapping[str, retriever.Retriever]
  lists_retriever: str | None
  chat: chat_rows.ChatRows | None

  def of_block(self, block: blocks.Block) -> Iterator[Row]:
    """The rows of a block.

    Args:
      block: requests with candidates.

    Yields:
      One row after the other, in the order of the report.
    """
    models = self._models(block)
    if "one_pass" in self.settings.protocols:
      for name, (scores, text) in models.items():
        yield name, [scores], text
      for name, scores, text in self.weighted.beside(block):
        yield name, [scores], text
    if "tournament" in self.settings.protocols:
      for name, (scores, _) in models.items():
        yield self._tournament(name, block, scores)
    if self.untrained is not None:
      begun = self.untrained.trained_part(block)
      yield UNTRAINED, [begun], self._untrained_is
    for name, other in self.others.items():
      yield name, [other.score(block.requests)], other.description
    if block.retriever_scores is not None:
      yield (
        retrieved_order(self.lists_retriever),
        [block.retriever_scores],
        "the scores that the retriever gave its own lists",
      )
    if self.chat is not None:
      yield from self.chat.rows(block)

  @property
  def _untrained_is(self) -> str:
    start = self.run.start or trained_run.Start()
    if start.checkpoint is not None:
      return f"the parameters that training began with: {start.checkpoint}"
    if start.embeddings == "random":
      return "the same network with the parameters it began with"
    return "the same network with random parameters, embeddings too"

  def _models(self, block: blocks.Block) -> dict[str, tuple[Scores, str]]:
    """The trained model's scores with what they are, by name of the row."""
    found = {}
    normalizations = self.settings.score_normalizations
    if self.weighted.is_weighted:
      found[MODEL] = self.weighted.model(block)
      if not normalizations:
        return found
    label = "likelihood" if found else MODEL
    likelihoods = scoring.score_lists(
      self.run.model,
      self.weighted.parts.params,
      block.tokens,
      block.examples,
      inputs_length=self.run.data.inputs_length,
      targets_length=self.run.data.targets_length,
      normalizations=tuple(dict.fromkeys(normalizations)),
      batch_size=self.settings.batch_size,
      mesh_config=self.run.mesh,
      items=self.weighted.parts.items,
      label=MODEL,
    )
    for name, scores in likelihoods.items():
      row = label if len(likelihoods) == 1 else f"{label} ({name})"
      found[row] = (scores, _MODEL_IS)
    return found

  def _tournament(self, name: str, block: blocks.Block, scores: Scores) -> Row:
    inner = tournament.Pointwise(name, block.requests, scores)
    every = [
      tournament.Tournament(inner, seed=seed) for seed in self.settings.orders
    ]
    places = [games.score(block.requests) for games in every]
    first = every[0]
    return (
      first.name,
      places,
      f"groups of {first.group_size} by seed, their winners ranked again; what "
      "went out is tied behind; lists ranked for a request: "
      f"{first.num_lists / len(block.requests):g}",
    )
