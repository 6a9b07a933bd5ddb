"""What LLMRank's published figures on Amazon Games are made of.

Prints three tables and writes them as JSON:

1. Popularity and BM25 on the random candidate lists, 200 and 6,000 users, ours
   beside two that read titles as cased words and marks and take the number of
   texts for the length of a text, so that no length counts; an IDF below zero
   becomes a quarter of the mean IDF. "words" queries with the words of the
   history, "characters" with its single characters, so that only words of one
   character ("3", "&", ":") ever match and most scores tie. Ties count at their
   expected value; 95% of runs that break them at random fall between the rows
   "low" and "high".
2. How many items of the published BM25 lists each of them puts in its own top
   100, 200 users; items tied with the hundredth count.
3. How often the target stands in each published list: the retrievers' own
   recall.

    python benchmarks/llmrank.py --data=games/prepared \
      --candidates=amazon_games/candidates --output=llmrank.json
"""

import argparse
import collections
import math
import pathlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
import scipy.sparse

import side_by_side
from instructrec.data import candidate_files, catalog, dataset, request
from instructrec.evaluation import markdown, metrics
from instructrec.retrieval import evaluate
from instructrec.retrieval.methods import bm25, popularity

_K1, _B = 1.5, 0.75
# Words with inner hyphens, points and apostrophes, or single marks.
_TOKEN = re.compile(r"\w(?:[\w.'-]*\w)?|[^\w\s]")
# What the catalogue puts behind a title that another item has, too.
_NUMBER = re.compile(r" \(#\d+\)$")
_LISTS = ("random", "bm25", "bert", "pop", "bpr", "gru4rec", "sasrec")
_NDCG_AT = (1, 5, 10, 20)


class FlatBM25:
  """BM25 that is blind to the length of texts.

  Args:
    titles: the texts.
  """

  def __init__(self, titles: Sequence[str]) -> None:
    rows = [collections.Counter(_TOKEN.findall(title)) for title in titles]
    frequency = collections.Counter(word for row in rows for word in row)
    self._place = {word: i for i, word in enumerate(frequency)}
    idf = {
      word: math.log(len(titles) - count + 0.5) - math.log(count + 0.5)
      for word, count in frequency.items()
    }
    floor = 0.25 * sum(idf.values()) / len(idf)
    length = sum(row.total() for row in rows) / len(rows)
    norm = _K1 * (1 - _B + _B * len(titles) / length)
    entries = [
      (
        (idf[word] if idf[word] >= 0 else floor)
        * count
        * (_K1 + 1)
        / (count + norm),
        i,
        self._place[word],
      )
      for i, row in enumerate(rows)
      for word, count in row.items()
    ]
    values, at_text, at_word = zip(*entries, strict=True)
    self._weights = scipy.sparse.csr_array(
      (values, (at_text, at_word)), shape=(len(titles), len(frequency))
    )

  def scores(self, query: Iterable[str]) -> np.ndarray:
    """Of all titles; each word counts as often as the query has it."""
    counts = np.zeros(len(self._place))
    for word in query:
      if word in self._place:
        counts[self._place[word]] += 1
    return self._weights @ counts


def rerank(
  scores: Iterable[np.ndarray],
  requests: Sequence[request.RankingRequest],
  items: catalog.Catalog,
) -> metrics.Ranks:
  """Ranks of the targets, scores being rows of the whole catalogue."""
  chosen = np.array(
    [
      row[[items.index(i) for i in r.candidates]]
      for r, row in zip(requests, scores, strict=True)
    ]
  )
  labels = np.array([r.candidates.index(r.target or "") for r in requests])
  return metrics.Ranks.of(chosen, labels)


def shared(
  scores: Iterable[np.ndarray],
  lists: Iterable[Sequence[str]],
  items: catalog.Catalog,
) -> float:
  """Share of the lists' items that score as the top of the same length."""
  found = []
  for row, ids in zip(scores, lists, strict=True):
    limit = np.partition(row, -len(ids))[-len(ids)]
    found.append((row[[items.index(i) for i in ids]] >= limit).mean())
  return float(np.mean(found))


def _means(ranks: metrics.Ranks) -> dict[str, float]:
  values = metrics.from_ranks(
    ranks.greater,
    ranks.equal,
    metrics.default_names((10, 20, 100), _NDCG_AT),
  )
  return {name: float(value.mean()) for name, value in values.items()}


def broken_ties(ranks: metrics.Ranks) -> dict[str, dict[str, float]]:
  """Bounds of 95% of 1,000 runs that break ties at random."""
  rng = np.random.default_rng(0)
  runs = [
    _means(
      metrics.Ranks(
        ranks.greater + rng.integers(0, ranks.equal),
        np.ones_like(ranks.equal),
      )
    )
    for _ in range(1000)
  ]
  return {
    label: {
      name: float(np.quantile([run[name] for run in runs], level))
      for name in runs[0]
    }
    for label, level in (("low", 0.025), ("high", 0.975))
  }


def published_recall(
  lists: dict[str, tuple[str, ...]], requests: Sequence[request.RankingRequest]
) -> dict[str, float]:
  """Metrics of the order of the lists; a target that is not there ranks last.

  Items of the history stand in the lists and keep their places.
  """
  ranks = metrics.Ranks(
    np.array(
      [
        lists[r.user_id].index(r.target or "")
        if r.target in lists[r.user_id]
        else 10**6
        for r in requests
      ]
    ),
    np.ones(len(requests), np.int64),
  )
  return _means(ranks)


def main() -> None:
  """Runs the three measurements."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--data", type=pathlib.Path, required=True)
  parser.add_argument("--candidates", type=pathlib.Path, required=True)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  args = parser.parse_args()
  prepared = dataset.load(args.data)
  items = prepared.catalog
  test = prepared.split.requests.filter(pl.col("split") == "test")
  titles = [_NUMBER.sub("", title) for title in items.titles]
  log = prepared.split.training_log
  ours = [popularity.Popularity().fit(log, items), bm25.BM25().fit(log, items)]
  flat = FlatBM25(titles)

  def flat_scores(requests, cut):
    for r in requests:
      history = (titles[items.index(i)] for i in r.history)
      yield flat.scores(token for title in history for token in cut(title))

  cuts = {"words": _TOKEN.findall, "characters": list}
  found: dict[str, dict[str, dict[str, float]]] = {
    "reranked": {},
    "BM25 lists": {},
    "lists": {},
  }
  for users in (200, 6000):
    path = args.candidates / f"random.{users}users.tsv.gz"
    requests = candidate_files.requests(candidate_files.read(path, items), test)
    ranks = {r.name: evaluate.candidate_ranks(r, requests)[0] for r in ours}
    for name, cut in cuts.items():
      ranks[name] = rerank(flat_scores(requests, cut), requests, items)
    for name, row in ranks.items():
      found["reranked"][f"{name}, {users} users"] = _means(row)
    for bound, row in broken_ties(ranks["characters"]).items():
      found["reranked"][f"characters, {users} users, {bound}"] = row
  lists = candidate_files.read(args.candidates / "bm25.200users.tsv.gz", items)
  requests = candidate_files.requests(lists, test)
  rows = {name: flat_scores(requests, cut) for name, cut in cuts.items()}
  rows["bm25"] = iter(ours[1].score_catalog(requests))
  for name, scores in rows.items():
    share = shared(scores, lists.values(), items)
    found["BM25 lists"][name] = {"shared": share}
  for name in _LISTS:
    path = args.candidates / f"{name}.6000users.tsv.gz"
    lists = candidate_files.read(path, items)
    requests = candidate_files.requests(lists, test)
    found["lists"][name] = published_recall(lists, requests)
  for table, columns in (
    ("reranked", [f"NDCG@{k}" for k in _NDCG_AT]),
    ("BM25 lists", ["shared"]),
    ("lists", ["HR@10", "NDCG@10", "HR@100"]),
  ):
    rows = [
      [name, *(f"{row[c]:.4f}" for c in columns)]
      for name, row in found[table].items()
    ]
    print(markdown.table([table, *columns], rows))
    print()
  side_by_side.write_json(args.output, found)


if __name__ == "__main__":
  main()
