"""The requests of an evaluation task in blocks: instructions and candidates.

Our evaluation instructions do not name their candidates, so that any list can
be ranked under the same instruction. Lists other than the frozen ones take
their tokens from the catalogue's titles, which are tokenized as those of the
task are.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from instructrec.data import catalog, dataset, request
from instructrec.models import tokenizer
from instructrec.retrieval import candidate_lists, ranker
from instructrec.training import token_dataset

# Requests whose candidates are held at a time.
SIZE = 2048


@dataclasses.dataclass(frozen=True)
class Block:
  """Some requests of a task.

  Attributes:
    requests: with histories, candidates and targets.
    tokens: examples with these candidates, among others.
    examples: which of them, one a request.
    labels: index of the target among the candidates; -1 where it is missing.
    where: which slots hold candidates.
    retriever_scores: of the candidates, where a retriever made the lists.
  """

  requests: list[request.RankingRequest]
  tokens: token_dataset.TokenDataset
  examples: Int[np.ndarray, " requests"]
  labels: Int[np.ndarray, " requests"]
  where: Bool[np.ndarray, "requests candidates"]
  retriever_scores: Float[np.ndarray, "requests candidates"] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Titles:
  """The catalogue's titles in tokens.

  Attributes:
    items: the catalogue.
    tokens: a row an item, in its order.
  """

  items: catalog.Catalog
  tokens: token_dataset.Ragged

  @classmethod
  def encode(
    cls, items: catalog.Catalog, vocabulary: tokenizer.Tokenizer
  ) -> "Titles":
    """Tokenizes every title once.

    Args:
      items: the catalogue.
      vocabulary: the run's.

    Returns:
      The titles.
    """
    rows = vocabulary.encode_all(items.titles)
    offsets = np.concatenate([[0], [len(row) for row in rows]]).cumsum()
    flat = np.concatenate([np.asarray(row, np.int32) for row in rows])
    return cls(items, token_dataset.Ragged(flat, offsets))

  def exchange(
    self,
    data: token_dataset.TokenDataset,
    examples: Int[np.ndarray, " requests"],
    requests: list[request.RankingRequest],
  ) -> token_dataset.TokenDataset:
    """The examples with the requests' candidates in place of their own."""
    places = [self.items.index(i) for r in requests for i in r.candidates]
    counts = np.array([len(r.candidates) for r in requests], np.int64)
    targets = self.tokens.take(np.array(places, np.int64))
    return data.with_lists(examples, targets, counts)


def select(
  data: token_dataset.TokenDataset,
  lists: candidate_lists.CandidateLists | None,
  num_requests: int | None,
  seed: int,
) -> Int[np.ndarray, " requests"]:
  """Which examples of a task are evaluated.

  Args:
    data: all examples.
    lists: only requests that have one; None for all.
    num_requests: how many, drawn by seed; None for all.
    seed: of the draw.

  Returns:
    Their numbers, in order.
  """
  rows = data.columns.select("request_id").with_row_index("row")
  if lists is not None:
    rows = rows.join(
      lists.frame.select("request_id"),
      on="request_id",
      how="semi",
      maintain_order="left",
    )
  return request.sample(rows, num_requests, seed)["row"].to_numpy()


def blocks(
  data: token_dataset.TokenDataset,
  examples: Int[np.ndarray, " requests"],
  prepared: dataset.PreparedData,
  *,
  lists: candidate_lists.CandidateLists | None = None,
  titles: Titles | None = None,
  size: int = SIZE,
) -> Iterator[Block]:
  """Requests with their candidates, some at a time.

  Args:
    data: the task's examples.
    examples: which of them.
    prepared: gives histories and targets.
    lists: candidates by request; None for those of the task.
    titles: the catalogue's; needed where there are lists.
    size: requests at a time.

  Yields:
    The blocks, in order.
  """
  for start in range(0, len(examples), size):
    part = examples[start : start + size]
    rows = data.columns[part]
    ids = rows["request_id"]
    known = _by_request(prepared.requests.find(ids), ids)
    found = rows["candidate_ids"].to_list()
    scores = None
    tokens, numbers = data, part
    if lists is not None:
      of_lists = _by_request(lists.frame, ids)
      found = of_lists["candidates"].to_list()
      if lists.retriever is not None:
        scores = ranker.pad(of_lists["scores"].to_list())
    requests = [
      request.RankingRequest(name, user, tuple(history), tuple(items), target)
      for name, user, history, target, items in zip(
        ids,
        known["user_id"],
        known["history"].to_list(),
        known["target"],
        found,
        strict=True,
      )
    ]
    if lists is not None:
      assert titles is not None
      tokens = titles.exchange(data, part, requests)
      numbers = np.arange(len(part))
    counts = np.array([len(items) for items in found])
    yield Block(
      requests=requests,
      tokens=tokens,
      examples=numbers,
      labels=np.array(
        [
          r.candidates.index(r.target or "") if r.target in r.candidates else -1
          for r in requests
        ],
        np.int64,
      ),
      where=np.arange(counts.max()) < counts[:, None],
      retriever_scores=scores,
    )


def _by_request(frame: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
  """The rows of some requests, in their order."""
  found = pl.DataFrame({"request_id": ids}).join(
    frame, on="request_id", how="left", maintain_order="left"
  )
  missing = found.filter(pl.col("candidates").is_null())["request_id"]
  if len(missing):
    raise ValueError(
      f"request {missing[0]!r} of the instructions has no candidates in the "
      "prepared data; generate the instructions from these data"
    )
  return found
