"""Questions of many requests in few steps of the model.

Questions wait in one bounded queue. The oldest says which bucket is next, and
takes with it the others of its bucket, as many as a step may have: so nothing
waits behind what came later. One thread runs the steps, and the event loop is
free meanwhile; what comes during a step waits for the next one.
"""

import asyncio
import collections
import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, TypeVar

from instructrec.serving import questions
from instructrec.serving.server import errors, metrics

_T = TypeVar("_T")


@dataclasses.dataclass(eq=False)
class _Waiting:
  """A question in the queue."""

  answers: questions.Answers
  asked: questions.Read
  future: asyncio.Future[questions.Answer]
  since: float


@dataclasses.dataclass(frozen=True, eq=False)
class _Alone:
  """Work that shares its step with nothing."""

  work: Callable[[], Any]
  most_at_once = 1

  def answer(self, asked: Sequence[Any]) -> list[Any]:
    return [self.work() for _ in asked]


@dataclasses.dataclass(eq=False)
class Batcher:
  """Answers questions in steps.

  Attributes:
    metrics: what counts.
    most_queued: questions that may wait.
    most_at_once: of a step; what answers may take fewer.
    most_tokens: of a step, unless a single question has more.
    wait: seconds that a question waits for others while nothing is being done.
  """

  metrics: metrics.Metrics
  most_queued: int = 256
  most_at_once: int = 64
  most_tokens: int = 16384
  wait: float = 0.001

  def __post_init__(self) -> None:
    self._queue: collections.deque[_Waiting] = collections.deque()
    self._came = asyncio.Event()
    self._idle = asyncio.Event()
    self._idle.set()
    self._worker = futures.ThreadPoolExecutor(1, "instructrec-model")

  async def ask(
    self, answers: questions.Answers, asked: Sequence[questions.Read]
  ) -> list[questions.Answer]:
    """Waits for the answers to some questions.

    Whoever is cancelled leaves the queue.

    Args:
      answers: what answers them.
      asked: what it has read of each.

    Returns:
      Their answers.

    Raises:
      ApiError: 429 where the queue is full.
      NotFiniteError: see `questions.Answers`.
    """
    if len(self._queue) + len(asked) > self.most_queued:
      self.metrics.rejected.labels("queue").inc()
      raise errors.ApiError(
        429,
        f"{len(self._queue)} questions wait, at most {self.most_queued} may; "
        "ask again later",
        retry_after=1,
      )
    loop, now = asyncio.get_running_loop(), time.perf_counter()
    waiting = [
      _Waiting(answers, one, loop.create_future(), now) for one in asked
    ]
    self._queue.extend(waiting)
    self._count()
    self._came.set()
    try:
      return list(await asyncio.gather(*(one.future for one in waiting)))
    finally:
      for one in waiting:
        one.future.cancel()
      if any(one.future.cancelled() for one in waiting):
        # Nobody is refused for those that nobody waits for.
        kept = (one for one in self._queue if not one.future.done())
        self._queue = collections.deque(kept)
        self._count()

  async def do(self, work: Callable[[], _T]) -> _T:
    """Waits for some other work of the model, which goes alone.

    Args:
      work: what is done in the thread of the steps.

    Returns:
      What it gave.

    Raises:
      ApiError: see `ask`.
    """
    alone: Any = _Alone(work)
    nothing = questions.Read(questions.Question(), None, 0)
    (found,) = await self.ask(alone, [nothing])
    return found  # type: ignore[return-value]

  def _count(self) -> None:
    self.metrics.queue_size.set(len(self._queue))

  async def run(self) -> None:
    """Runs steps until it is cancelled."""
    while True:
      if not self._queue:
        self._idle.set()
        self._came.clear()
        await self._came.wait()
        self._idle.clear()
        await self._others()
      if step := self._next():
        await self._answer(step)

  async def _others(self) -> None:
    """Waits for what else may come, unless a step is full."""
    end = time.perf_counter() + self.wait
    while (left := end - time.perf_counter()) > 0:
      if len(self._queue) >= self.most_at_once:
        return
      self._came.clear()
      try:
        async with asyncio.timeout(left):
          await self._came.wait()
      except TimeoutError:
        return

  def _next(self) -> list[_Waiting]:
    """Takes the questions of the next step out of the queue."""
    taken: list[_Waiting] = []
    left: list[_Waiting] = []
    tokens = 0
    for one in self._queue:
      if one.future.done():
        continue
      if not taken:
        taken, tokens = [one], one.asked.tokens
        continue
      fits = (
        one.answers is taken[0].answers
        and one.asked.bucket == taken[0].asked.bucket
        and len(taken) < min(self.most_at_once, one.answers.most_at_once)
        and tokens + one.asked.tokens <= self.most_tokens
      )
      if fits:
        taken.append(one)
        tokens += one.asked.tokens
      else:
        left.append(one)
    self._queue = collections.deque(left)
    self._count()
    return taken

  async def _answer(self, step: list[_Waiting]) -> None:
    """Runs a step and hands the answers out."""
    now = time.perf_counter()
    for one in step:
      self.metrics.queued.observe(now - one.since)
    self.metrics.batch_rows.observe(len(step))
    self.metrics.batch_tokens.observe(sum(one.asked.tokens for one in step))
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(self._worker, _run, step)
    self.metrics.inference.observe(time.perf_counter() - now)
    for one, answer in zip(step, found, strict=True):
      if one.future.done():
        continue
      if isinstance(answer, Exception):
        one.future.set_exception(answer)
      else:
        one.future.set_result(answer)

  async def drained(self) -> None:
    """Waits until nothing is being done and nothing waits."""
    await self._idle.wait()

  def close(self) -> None:
    """Ends the thread; `run` must have ended."""
    self._worker.shutdown()


def _run(step: Sequence[_Waiting]) -> list[questions.Answer | Exception]:
  """The answers of a step; what fails alone fails nobody else."""
  answers = step[0].answers
  try:
    return list(answers.answer([one.asked for one in step]))
  except Exception as error:
    if len(step) == 1:
      return [error]
  return [_run([one])[0] for one in step]
