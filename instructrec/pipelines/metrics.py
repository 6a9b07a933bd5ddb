"""What SeqIO's Evaluator, T5X's too, computes of scores and generated texts."""

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

  Raises:
    ValueError: where a list was cut, so that some candidates have no score.
  """
  array = np.asarray(scores, dtype=np.float64)
  counts = np.array([target["num_candidates"] for target in targets])
  if counts.max(initial=0) > array.shape[1]:
    raise ValueError(
      f"a list has {counts.max()} candidates and {array.shape[1]} scores; set "
      f"the length of 'targets' to ({counts.max()}, tokens) or more "
      f"(NUM_CANDIDATES = {counts.max()} in the gin files)"
    )
  labels = np.array([target["label"] for target in targets])
  where = np.arange(array.shape[1]) < counts[:, None]
  values = metrics.per_request(array, labels, where=where)
  means = {name: float(np.mean(value)) for name, value in values.items()}
  means["num_nan"] = float(np.isnan(array[where]).sum())
  return means


def answer(
  output: str, *, example: Mapping[str, Any], is_target: bool, **unused: Any
) -> Any:
  """Postprocessor of the tasks whose responses are generated.

  Args:
    output: a decoded text.
    example: the example, with `candidates`.
    is_target: whether `output` is the response, else it was generated.
    **unused: SeqIO passes more.

  Returns:
    A generated text itself; for a response the text and the candidates.
  """
  if not is_target:
    return output
  candidates = [candidate.decode() for candidate in example["candidates"]]
  return {"text": output, "candidates": candidates}


def generation(
  targets: Sequence[Mapping[str, Any]],
  predictions: Sequence[str] | Sequence[Sequence[str]],
) -> dict[str, float]:
  """How often generation names the response; a SeqIO predict metric.

  Args:
    targets: results of `answer` for the responses.
    predictions: the generated texts; several of a request best first.

  Returns:
    exact_match: fraction of texts equal to the response; listed: fraction
    equal to any candidate of the request; of several texts the first counts.
    Where there are several, HR@K and NDCG@K of the response among them as well,
    by its text.
  """
  texts = [[p] if isinstance(p, str) else list(p) for p in predictions]
  pairs = list(zip(targets, texts, strict=True))
  found = {
    "exact_match": float(np.mean([p[0] == t["text"] for t, p in pairs])),
    "listed": float(np.mean([p[0] in t["candidates"] for t, p in pairs])),
  }
  places = max(map(len, texts))
  above = np.array(
    [p.index(t["text"]) if t["text"] in p else places for t, p in pairs]
  )
  names = [
    f"{name}@{k}" for name in ("HR", "NDCG") for k in (5, 10) if k <= places
  ]
  values = metrics.from_ranks(above, np.ones_like(above), names)
  return found | {name: float(np.mean(one)) for name, one in values.items()}
