"""Rows of a chat model in an evaluation; what they take is said before."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from instructrec import progress
from instructrec.data import catalog, request
from instructrec.instructions import budget, chat_client
from instructrec.models import tokenizer
from instructrec.pipelines import blocks
from instructrec.retrieval import chat_ranker, ranker, tournament
from instructrec.settings import evaluation

Scores = Float[np.ndarray, "requests candidates"]


def config(
  settings: evaluation.ChatSettings,
) -> chat_client.ChatConfig | None:
  """The server to ask; None where no model is named."""
  if settings.model is None:
    return None
  return chat_client.ChatConfig(
    model=settings.model,
    base_url=settings.base_url,
    cache=str(settings.cache),
    concurrency=settings.concurrency,
    temperature=0.0,
    budget=budget.Budget(
      max_tokens=settings.max_tokens,
      max_cost=settings.max_cost,
      price_in=settings.price_in,
      price_out=settings.price_out,
      options="chat",
    ),
  )


class _Stub:
  """Keeps what a ranker would ask and ties all candidates."""

  def __init__(self, inner: chat_ranker.ChatRanker) -> None:
    self.name = inner.name
    self.questions: list[chat_client.Question] = []
    self._inner = inner

  def score(self, requests: Sequence[request.RankingRequest]) -> Scores:
    self.questions += [self._inner.question(r) for r in requests]
    return ranker.pad([[0.0] * len(r.candidates) for r in requests])


class ChatRows:
  """Asks a chat model about blocks of requests.

  Args:
    config: server, model and limits.
    items: the catalogue.
    vocabulary: the run's: gives the words of the instructions.
    protocols: "one_pass", "tournament" or both.
    seeds: of the order of candidates and of tournaments; all lists are asked
      about once with each.
  """

  def __init__(
    self,
    config: chat_client.ChatConfig,
    items: catalog.Catalog,
    vocabulary: tokenizer.Tokenizer,
    protocols: Sequence[str],
    seeds: Sequence[int],
  ) -> None:
    self._client = chat_client.ChatClient(config)
    self._items = items
    self._vocabulary = vocabulary
    self._protocols = protocols
    self._seeds = seeds
    self._tallies: dict[str, chat_ranker.Tally] = {}

  def start_task(self) -> None:
    """Counts replies anew."""
    self._tallies = {name: chat_ranker.Tally() for name in self._protocols}

  def _ranker(
    self, block: blocks.Block, protocol: str, seed: int
  ) -> chat_ranker.ChatRanker:
    inputs = block.tokens.inputs
    instructions = {
      r.request_id: self._vocabulary.decode(
        inputs.tokens[inputs.offsets[row] : inputs.offsets[row + 1]]
      )
      for r, row in zip(block.requests, block.examples.tolist(), strict=True)
    }
    return chat_ranker.ChatRanker(
      self._client,
      self._items.title,
      instructions,
      seed,
      self._tallies[protocol],
    )

  def _over(
    self, inner: ranker.Ranker, protocol: str, seed: int
  ) -> ranker.Ranker:
    if protocol == "one_pass":
      return inner
    return tournament.Tournament(inner, seed=seed)

  def rows(
    self, block: blocks.Block
  ) -> Iterator[tuple[str, list[Scores], str]]:
    """Asks about a block.

    Args:
      block: the requests.

    Yields:
      For each protocol the row's name, its scores by seed, and what became of
      the task's replies so far.
    """
    for protocol in self._protocols:
      overs = [
        self._over(self._ranker(block, protocol, seed), protocol, seed)
        for seed in self._seeds
      ]
      scores = [over.score(block.requests) for over in overs]
      yield (
        overs[0].name,
        scores,
        f"a chat model that reads the whole list; {self._tallies[protocol]}",
      )

  @contextlib.contextmanager
  def within_budget(
    self, parts: Iterable[blocks.Block], tell: Callable[[str], None]
  ) -> Iterator[None]:
    """Says what all of it will take, then lets it be asked.

    Of a tournament, the last rounds are estimated with other candidates than
    those that will win.

    Args:
      parts: everything that will be asked about.
      tell: shows a line.

    Yields:
      Nothing; the client is closed at the end.

    Raises:
      BudgetExceededError: before the first request, where the estimate exceeds
        the budget.
    """
    limit = self._client.config.budget
    try:
      estimate = self._client.estimate_all(map(self._questions, parts))
      tell(
        f"estimate: {estimate.calls:,} calls ({estimate.cached:,} more are in "
        f"the cache), about {limit.describe(estimate.tokens)}"
      )
      limit.check(estimate)
      with progress.Progress(estimate.calls, "ask", unit="calls") as line:
        self._client.on_reply = line.advance
        yield
    finally:
      tell(f"used: {limit.describe(self._client.used)}")
      self._client.close()

  def _questions(self, block: blocks.Block) -> list[chat_client.Question]:
    self.start_task()
    questions = []
    for protocol, seed in itertools.product(self._protocols, self._seeds):
      stub = _Stub(self._ranker(block, protocol, seed))
      self._over(stub, protocol, seed).score(block.requests)
      questions += stub.questions
    return questions
