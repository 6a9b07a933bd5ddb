"""Random search with the same budget for every method.

A baseline that is tuned less than the method it is held against shows nothing
(Ferrari Dacrema et al., 2019): all get the same number of trials, each of the
same number of epochs at most, judged by the same validation requests.
"""

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from instructrec.data import catalog, interaction, request
from instructrec.retrieval import evaluate, methods, retriever


@dataclasses.dataclass(frozen=True)
class Trial:
  """One fit of the search.

  Attributes:
    settings: of the method.
    ndcg_at_10: on the validation requests, over the whole catalogue.
    seconds: of fit and validation.
    epochs: how many were trained; None for methods without epochs.
  """

  settings: dict[str, Any]
  ndcg_at_10: float
  seconds: float
  epochs: int | None


def choices(
  method: str, num_trials: int, *, seed: int, given: Mapping[str, Any]
) -> list[dict[str, Any]]:
  """Settings to try: the defaults, then distinct draws from the space.

  Args:
    method: its name.
    num_trials: how many at most; fewer where the space is smaller.
    seed: of the draws.
    given: settings that every trial has.

  Returns:
    Settings of each trial.

  Raises:
    ValueError: where `num_trials` is below 1, or a setting is unknown.
  """
  if num_trials < 1:
    raise ValueError(f"num_trials is {num_trials}, expected at least 1")
  methods.create(method, given)
  space = {
    name: values
    for name, values in methods.METHODS[method].space.items()
    if name not in given
  }
  every = [
    dict(zip(space, values, strict=True))
    for values in itertools.product(*space.values())
  ]
  # The first value of every setting is its default.
  order = np.random.default_rng(seed).permutation(len(every) - 1) + 1
  picked = [0, *order[: num_trials - 1]]
  return [{**every[i], **given} for i in picked]


def tune(
  method: str,
  training_log: interaction.InteractionLog,
  items: catalog.Catalog,
  validation: Sequence[request.RankingRequest],
  *,
  num_trials: int = 1,
  seed: int = 0,
  given: Mapping[str, Any] | None = None,
) -> tuple[retriever.Retriever, list[Trial]]:
  """Fits a method with several settings and keeps the best.

  Args:
    method: its name.
    training_log: what the method may see.
    items: the catalogue.
    validation: requests with targets that choose among the trials.
    num_trials: how many settings, the defaults among them.
    seed: of the choice of settings.
    given: settings that every trial has, such as `max_epochs` and `seed`.

  Returns:
    The best retriever, and all trials in their order.

  Raises:
    ValueError: where there are no validation requests; see `choices`.
  """
  if not validation:
    raise ValueError(
      "there are no validation requests to choose settings by; prepare the "
      "data with users of three interactions or more"
    )
  best, trials = None, []
  for chosen in choices(method, num_trials, seed=seed, given=given or {}):
    started = time.perf_counter()
    candidate = methods.create(method, chosen)
    candidate.fit(training_log, items, validation=validation)
    score = evaluate.ndcg_at_10(candidate, validation)
    epochs = getattr(candidate, "epochs", None)
    trials.append(
      Trial(
        dataclasses.asdict(candidate),  # type: ignore[call-overload]
        score,
        round(time.perf_counter() - started, 1),
        None if epochs is None else len(epochs),
      )
    )
    if best is None or score > max(t.ndcg_at_10 for t in trials[:-1]):
      best = candidate
  assert best is not None
  return best, trials
