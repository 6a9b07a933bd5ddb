"""SeqIO metric functions over candidate scores: the evaluator's own metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from instructrec.evaluation import metrics


def label(output: Any, *, example: Mapping[str, Any], **unused: Any) -> dict:
  """Postprocessor of the reranking tasks: what scoring a list needs to know.

  Args:
    output: ignored (a decoded target).
    example: the example, with `label` and `candidate_ids`.
    **unused: SeqIO passes more.

  Returns:
    The index of the right candidate and the length of the list.
  """
  del output
  return {
    "label": int(example["label"]),
    "num_candidates": len(example["candidate_ids"]),
  }


def ranking(
  targets: Sequence[Mapping[str, int]],
  scores: Sequence[Sequence[float]] | np.ndarray,
) -> dict[str, float]:
  """HR@K, NDCG@K and MRR of candidate lists; a SeqIO score metric.

  Args:
    targets: results of `label`, one a request.
    scores: log-likelihoods in nats, `[requests, candidates]`; slots past the
      end of a list are ignored.

  Returns:
    The mean of each metric of `evaluation.metrics`, and how many scores were
    not a number.
  """
  array = np.asarray(scores, dtype=np.float64)
  counts = np.array([target["num_candidates"] for target in targets])
  labels = np.array([target["label"] for target in targets])
  where = np.arange(array.shape[1]) < counts[:, None]
  values = metrics.per_request(array, labels, where=where)
  means = {name: float(np.mean(value)) for name, value in values.items()}
  means["num_nan"] = float(np.isnan(array[where]).sum())
  return means
