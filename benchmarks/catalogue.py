"""The exact top of a whole catalogue beside scoring every title.

  python benchmarks/catalogue.py --model_dir=work/model

Takes users of the data that the model was trained on (`--data` for others),
asks for the top 10 after their histories, and compares three ways: the search
of `models/generation/title_search.py`, the list scorer over all titles, and one
title a pass (its time is that of a sample, multiplied). The first two must
return the same items with the same scores. Prints a Markdown table of medians
over users.

The model must be a trained one: a search prunes little where all tokens are
about equally likely.
"""

import argparse
import pathlib
import statistics
import time
from typing import Any

import numpy as np

import side_by_side
from instructrec import allocator
from instructrec.data import dataset
from instructrec.evaluation import environment, markdown
from instructrec.serving import opened_run
from instructrec.serving import ranker as ranker_lib
from instructrec.settings import run as run_settings

_TOLERANCE = 1e-3


def open_ranker(
  args: argparse.Namespace,
) -> tuple[ranker_lib.InstructionRanker, dataset.PreparedData]:
  """The model of a run over a prepared catalogue."""
  opened = opened_run.OpenedRun.open(
    run_settings.RunSettings(model_dir=args.model_dir)
  )
  prepared = opened.prepared if args.data is None else dataset.load(args.data)
  run = opened.run
  return ranker_lib.InstructionRanker(
    model=run.model,
    params=opened.params,
    tokenizer=run.tokenizer,
    catalog=prepared.catalog,
    inputs_length=run.data.inputs_length,
    targets_length=run.data.targets_length,
  ), prepared


def timed(function: Any, *arguments: Any) -> tuple[Any, float]:
  """A function's result and its seconds."""
  start = time.perf_counter()
  result = function(*arguments)
  return result, time.perf_counter() - start


def same(found: Any, expected: Any) -> bool:
  """Whether two rankings agree, up to the order of ties."""
  scores = {one.item_id: one.score for one in expected}
  return all(
    abs(mine.score - theirs.score) < _TOLERANCE
    and abs(mine.score - scores[mine.item_id]) < _TOLERANCE
    for mine, theirs in zip(found, expected, strict=False)
  )


def measure(
  ranker: ranker_lib.InstructionRanker,
  histories: list[list[str]],
  args: argparse.Namespace,
) -> dict[str, list[float]]:
  """Seconds of each way, for each user.

  Raises:
    ValueError: where the search and the list scorer disagree.
  """
  rng = np.random.default_rng(args.seed)
  seconds: dict[str, list[float]] = {"search": [], "lists": [], "alone": []}
  sample = rng.choice(ranker.catalog.item_ids, args.alone, replace=False)
  for history in histories:
    ranker.top(history, None, args.top)  # Compiles.
    found, took = timed(ranker.top, history, None, args.top)
    seconds["search"].append(took)
    ranker.rank(history, None, ranker.catalog.item_ids[:2000])
    everything, took = timed(ranker.rank, history)
    seconds["lists"].append(took)
    if not same(found, everything):
      raise ValueError(
        f"the search found {found}, scoring every title "
        f"{everything[: args.top]}"
      )
    ranker.rank(history, None, [sample[0]])
    took = 0.0
    for item in sample:
      took += timed(ranker.rank, history, None, [item])[1]
    seconds["alone"].append(took / len(sample) * len(ranker.catalog))
  return seconds


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model_dir", required=True, help="a trained run")
  parser.add_argument("--data", help="what `prepare` wrote")
  parser.add_argument("--users", type=int, default=5)
  parser.add_argument("--top", type=int, default=10)
  parser.add_argument("--alone", type=int, default=20, help="titles sampled")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  allocator.keep_freed_memory()
  ranker, prepared = open_ranker(args)
  requests = prepared.split.requests
  rng = np.random.default_rng(args.seed)
  users = rng.choice(len(requests), args.users, replace=False)
  histories = [list(requests["history"][int(user)]) for user in users]
  seconds = measure(ranker, histories, args)
  about = environment.describe()
  print(
    f"{about['processor']}, {about['cores']} cores; top {args.top} of "
    f"{len(ranker.catalog):,} titles, {args.users} users; "
    f"{ranker.model.module.config.num_parameters:,} parameters\n"
  )
  names = {
    "search": "search over the trie of titles",
    "lists": "list scorer over all titles",
    "alone": "one title a pass",
  }
  medians = {key: statistics.median(seconds[key]) for key in names}
  rows = [
    [name, f"{medians[key]:,.3f}", f"{medians[key] / medians['search']:,.1f}"]
    for key, name in names.items()
  ]
  head = ["way", "median s", "times as long as the search"]
  print(markdown.table(head, rows))
  if args.json is not None:
    settings = {k: v for k, v in vars(args).items() if k != "json"}
    record = {"environment": about, "settings": settings, "seconds": seconds}
    side_by_side.write_json(args.json, record)


if __name__ == "__main__":
  main()
