"""A request on its way: read in a thread, answered in a step, or given up."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent import futures
from typing import Any, TypeVar

import pydantic
from fastapi import requests

from instructrec.serving import constraints, questions
from instructrec.serving.server import (
  batching,
  errors,
  lifecycle,
  recommending,
  served,
)

_T = TypeVar("_T")
_SHOWN, _MOST = 60, 10
"""Letters and names of fields that warnings tell."""
_READERS = 4
"""Threads that read requests: they hold Python's lock in turns, and a request
whose client has gone keeps its thread until it is read."""


@dataclasses.dataclass(frozen=True, eq=False)
class Asking:
  """What routes need to ask the run that is served.

  Attributes:
    lifecycle: which run that is.
    batcher: answers questions.
  """

  lifecycle: lifecycle.Lifecycle
  batcher: batching.Batcher
  _readers: futures.Executor = dataclasses.field(
    default_factory=lambda: futures.ThreadPoolExecutor(
      _READERS, "instructrec-read"
    )
  )

  def close(self) -> None:
    """Ends the threads; what they read is not waited for."""
    self._readers.shutdown(wait=False, cancel_futures=True)

  async def prepared(
    self, work: Callable[[served.Served], _T], model: str | None
  ) -> tuple[served.Served, _T]:
    """Reads a request beside the event loop.

    Args:
      work: makes of a run what is asked of it.
      model: the name of the run; None for the first.

    Returns:
      The run, and what was made.

    Raises:
      ApiError: 503 before there is a run, 404 where none has the name, and
        what `work` raises.
    """
    run = self.lifecycle.current.named(model)
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(self._readers, work, run)
    seconds = time.perf_counter() - began
    self.batcher.metrics.prepared.observe(seconds)
    return run, found

  async def answer(
    self, run: served.Served, asked: questions.Read
  ) -> questions.Answer:
    """The answer of a run to what it has read; see `Batcher.ask`."""
    (found,) = await self.batcher.ask(run.answers, [asked])
    self.batcher.metrics.cut.inc(len(found.cut))
    return found

  async def explained(
    self,
    run: served.Served,
    asked: questions.Read,
    within: Sequence[constraints.Constraint],
    reasons: bool,
  ) -> tuple[questions.Answer, list[dict[str, Any]] | None]:
    """The answer to a question about the catalogue, and why it is so.

    Args:
      run: what is asked.
      asked: what it has read of the question.
      within: what is asked beside its wish.
      reasons: whether they are wanted.

    Returns:
      The answer, and the reasons for each place; None where not wanted.
    """
    found = await self.answer(run, asked)
    if not reasons:
      return found, None
    return found, await self.batcher.do(
      lambda: recommending.explain(run, asked.question, found, within)
    )

  async def in_time(
    self, request: requests.Request, work: Coroutine[Any, Any, _T]
  ) -> _T:
    """Does some work until the client goes, or the request's time is over.

    Args:
      request: of the client; its body has been read, and `gates.Gates` has said
        when its time is over.
      work: what it waits for.

    Returns:
      What the work gave.

    Raises:
      ApiError: 499 where the client has gone, for the log alone; 504 after the
        deadline.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    left = request.state.ends - asyncio.get_running_loop().time()
    try:
      await asyncio.wait(
        {task, gone},
        timeout=max(left, 0.0),
        return_when=asyncio.FIRST_COMPLETED,
      )
      if task.done():
        return task.result()
      if gone.done():
        raise errors.ApiError(499, "the client has gone")
      self.batcher.metrics.rejected.labels("deadline").inc()
      raise errors.ApiError(
        504, "there was no answer before the server's deadline; ask again later"
      )
    finally:
      for one in (task, gone):
        one.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
          await one


def unread(body: pydantic.BaseModel, strict: bool) -> list[str]:
  """Which fields of a request say nothing here.

  Args:
    body: of the request.
    strict: whether they are refused.

  Returns:
    A warning; none where there is no such field.

  Raises:
    ApiError: 422 for such a field of a strict request.
  """
  names = sorted(name[:_SHOWN] for name in body.model_extra or ())
  if names and strict:
    raise errors.ApiError(
      422, f"there is no field {names[0]}; /docs lists them", names[0]
    )
  shown = ", ".join(names[:_MOST]) + (", ..." if names[_MOST:] else "")
  return [f"these fields say nothing here: {shown}"] if names else []


async def _disconnected(request: requests.Request) -> None:
  while (await request.receive())["type"] != "http.disconnect":
    pass
