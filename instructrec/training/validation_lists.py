"""Ranks a fixed sample of validation lists while a model is trained.

The model ranks as its objective scores, without weights that are fitted: by the
match of state and title with popularity as in training, where that is trained,
and by the likelihood of titles elsewhere. The sample depends on the seed alone.
The metrics choose a checkpoint; figures to publish are `evaluate`'s.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import metrics
from instructrec.models.objectives import objective
from instructrec.training import (
  batches,
  data_config,
  item_arrays,
  matching,
  ragged,
  scoring,
  token_dataset,
)
from instructrec.training import mesh as mesh_lib


@dataclasses.dataclass(frozen=True, eq=False)
class ValidationLists:
  """Lists whose target is known.

  Attributes:
    data: requests with candidate lists, all of them.
    labels: index of the target of each list.
    config: lengths of instructions and candidates.
    items: of a run that reads items.
  """

  data: token_dataset.TokenDataset
  labels: Int[np.ndarray, " requests"]
  config: data_config.DataConfig
  items: item_arrays.ItemArrays | None = None

  @classmethod
  def of(
    cls,
    samples: Sequence[token_dataset.TokenDataset],
    config: data_config.DataConfig,
    items: item_arrays.ItemArrays | None = None,
  ) -> "ValidationLists":
    """The lists of several tasks.

    Args:
      samples: those of each task.
      config: of the run.
      items: of a run that reads items.

    Returns:
      The lists, in the order of the tasks.
    """
    data = _joined(samples)
    labels = data.columns["label"].to_numpy().astype(np.int64)
    return cls(data, labels, config, items)

  def __len__(self) -> int:
    return len(self.data)

  @property
  def where(self) -> Bool[np.ndarray, "requests candidates"]:
    """Which slots of `scores` hold candidates."""
    counts = self.data.num_candidates
    return np.arange(counts.max()) < counts[:, None]

  def check(self, model: Any) -> None:
    """Fails where the model could not rank them; before it is trained.

    Args:
      model: a `protocol.RankingModel`.

    Raises:
      ValueError: where a title is longer than what the model reads.
    """
    longest = int(self.data.targets.lengths.max())
    limit = self.config.targets_length
    if not self._matches(model) and longest > limit:
      raise ValueError(
        f"the validation lists have a title of {longest} tokens, and the "
        f"model reads {limit}; set --gin.TARGETS_LENGTH={longest}, or rank "
        "none while training: --gin.EVAL_LISTS=0 and --gin.BEST_METRIC="
        "\"'loss'\""
      )

  def _matches(self, model: Any) -> bool:
    return objective.MATCH in model.score_parts and self.items is not None

  def scores(
    self, model: Any, params: Any, layout: mesh_lib.MeshConfig | None = None
  ) -> Float[np.ndarray, "requests candidates"]:
    """What the model ranks the candidates by, in nats.

    With several processes each calls this and gets all scores.

    Args:
      model: a `protocol.RankingModel`.
      params: its parameters.
      layout: how they lie over the devices of all processes; None for one.

    Returns:
      float64; minus infinity past the end of a list.
    """
    if layout is not None:
      # What lies split in training alone saves memory in the backward pass.
      layout = dataclasses.replace(layout, shard_sequence=False)
    examples, items = np.arange(len(self)), self.items
    if items is None or not self._matches(model):
      (found,) = scoring.score_lists(
        model,
        params,
        self.data,
        examples,
        inputs_length=self.config.inputs_length,
        targets_length=self.config.targets_length,
        mesh_config=layout,
        items=items,
        one_shape=True,
        label=None,
      ).values()
      return found
    matcher = matching.Matcher(model, params, items, layout)
    states = matcher.states(
      batches.instructions(self.data, items),
      examples,
      items.history(self.data, examples),
      inputs_length=self.config.inputs_length,
      label=None,
    )
    width = int(self.data.num_candidates.max())
    numbers = self.data.pad_candidate_items(examples, width)
    return matcher.logits(states, numbers)

  def metrics(
    self,
    model: Any,
    params: Any,
    cutoffs: Sequence[int],
    layout: mesh_lib.MeshConfig | None = None,
  ) -> dict[str, float]:
    """HR@K and NDCG@K, means over all lists.

    Args:
      model: see `scores`.
      params: likewise.
      cutoffs: each K.
      layout: see `scores`.

    Returns:
      Values by name.
    """
    ranks = metrics.tied_ranks(
      self.scores(model, params, layout), self.labels, where=self.where
    )
    found = metrics.from_ranks(*ranks, names(cutoffs))
    return {name: float(values.mean()) for name, values in found.items()}


def names(cutoffs: Sequence[int]) -> list[str]:
  """The names of what `metrics` gives.

  Args:
    cutoffs: each K.

  Returns:
    Such as "HR@10".
  """
  return [f"{name}@{k}" for name in ("HR", "NDCG") for k in cutoffs]


def _joined(
  parts: Sequence[token_dataset.TokenDataset],
) -> token_dataset.TokenDataset:
  """Lists of several data sets as one, with what scoring reads of them."""

  def rows(name: str) -> ragged.Ragged | None:
    found = [getattr(part, name) for part in parts]
    if any(one is None for one in found):
      return None
    return ragged.Ragged.joined(found)

  def array(name: str) -> np.ndarray | None:
    found = [getattr(part, name) for part in parts]
    known = all(one is not None for one in found)
    return np.concatenate(found) if known else None

  counts = np.concatenate([part.num_candidates for part in parts])
  columns: Mapping[str, Any] = {
    name: pl.concat([part.columns[name] for part in parts])
    for name in ("request_id", "label")
  }
  return token_dataset.TokenDataset(
    name="the validation lists",
    inputs=ragged.Ragged.joined([part.inputs for part in parts]),
    targets=ragged.Ragged.joined([part.targets for part in parts]),
    lists=np.concatenate([[0], counts]).cumsum(),
    columns=pl.DataFrame(columns),
    meta={},
    prompts=rows("prompts"),
    history=rows("history"),
    target_items=array("target_items"),
    candidate_items=array("candidate_items"),
  )
