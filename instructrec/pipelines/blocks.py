"""The requests of an evaluation task in blocks: instructions and candidates.

Our evaluation instructions do not name their candidates, so that any list can
be ranked under the same instruction; those that do (T3) are refused. Lists
other than the frozen ones take their tokens from the catalogue's titles, which
are tokenized as those of the task are.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from instructrec.data import catalog, dataset, request
from instructrec.instructions.format import TaskForm
from instructrec.models import tokenizer
from instructrec.retrieval import candidate_lists, ranker
from instructrec.training import ragged, token_dataset

# Requests whose candidates are held at a time.
SIZE = 2048


@dataclasses.dataclass(frozen=True)
class Block:
  """Some requests of a task.

  Attributes:
    requests: with histories, wishes, candidates and targets.
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
  tokens: ragged.Ragged

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
    return cls(items, ragged.Ragged(flat, offsets))


@dataclasses.dataclass(frozen=True, eq=False)
class Exchange:
  """Lists to rank in place of a task's own.

  Attributes:
    lists: candidates by request.
    titles: what they are called, in tokens.
  """

  lists: candidate_lists.CandidateLists
  titles: Titles

  def tokens(
    self,
    data: token_dataset.TokenDataset,
    examples: Int[np.ndarray, " requests"],
    item_ids: Sequence[Sequence[str]],
  ) -> token_dataset.TokenDataset:
    """Examples with other candidates.

    Args:
      data: a task's examples.
      examples: which of them.
      item_ids: the candidates of each.

    Returns:
      These examples alone, in memory.
    """
    index = self.titles.items.index
    places = np.array([index(i) for items in item_ids for i in items], np.int64)
    counts = np.array([len(items) for items in item_ids], np.int64)
    # The item table keeps the order of the catalogue, and counts from one.
    numbers = (places + 1).astype(np.int32)
    return data.with_lists(
      examples, self.titles.tokens.take(places), counts, numbers
    )


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
  exchange: Exchange | None = None,
  size: int = SIZE,
) -> Iterator[Block]:
  """Requests with their candidates, some at a time.

  Args:
    data: the task's examples.
    examples: which of them.
    prepared: gives histories and targets.
    exchange: other lists than those of the task; each request has one.
    size: requests at a time.

  Yields:
    The blocks, in order.

  Raises:
    ValueError: where the data or the lists lack a request, or an instruction
      names other candidates than those of `exchange`.
  """
  for start in range(0, len(examples), size):
    yield _block(data, examples[start : start + size], prepared, exchange)


def _block(
  data: token_dataset.TokenDataset,
  examples: Int[np.ndarray, " requests"],
  prepared: dataset.PreparedData,
  exchange: Exchange | None,
) -> Block:
  rows = data.columns[examples]
  ids = rows["request_id"]
  known = _by_request(prepared.requests.find(ids), ids)
  item_ids = rows["candidate_ids"].to_list()
  scores = None
  if exchange is not None:
    if (named := rows.filter(pl.col("task_form") == TaskForm.T3)).height:
      raise ValueError(
        f"the instruction of request {named['request_id'][0]!r} names its "
        "frozen candidates, the target among them (form T3); other lists need "
        "instructions that name none: generate them with an --eval_template "
        "of form T2"
      )
    listed = _by_request(exchange.lists.frame, ids)
    item_ids = listed["candidates"].to_list()
    if exchange.lists.retriever is not None:
      scores = ranker.pad(listed["scores"].to_list())
    data = exchange.tokens(data, examples, item_ids)
    examples = np.arange(len(examples))
  requests = [
    request.RankingRequest(
      name,
      user,
      tuple(history),
      tuple(items),
      target,
      intention=wish or None,
    )
    for name, user, history, target, items, wish in zip(
      ids,
      known["user_id"],
      known["history"].to_list(),
      known["target"],
      item_ids,
      rows["wish_text"],
      strict=True,
    )
  ]
  labels = [
    r.candidates.index(r.target) if r.target in r.candidates else -1
    for r in requests
  ]
  counts = np.array([len(items) for items in item_ids])
  return Block(
    requests=requests,
    tokens=data,
    examples=examples,
    labels=np.array(labels, np.int64),
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
