"""A request on its way: read in a thread, answered in a step, or given up."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import anyio.to_thread
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


@dataclasses.dataclass(frozen=True, eq=False)
class Asking:
  """What routes need to ask the run that is served.

  Attributes:
    lifecycle: which run that is.
    batcher: answers questions.
  """

  lifecycle: lifecycle.Lifecycle
  batcher: batching.Batcher

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
    found = await anyio.to_thread.run_sync(work, run)
    seconds = time.perf_counter() - began
    self.batcher.metrics.prepared.observe(seconds)
    return run, found

  async def answers(
    self, run: served.Served, asked: Sequence[questions.Question]
  ) -> list[questions.Answer]:
    """The answers of a run to some questions; see `Batcher.ask`."""
    buckets = [run.answers.bucket(question) for question in asked]
    found = await self.batcher.ask(run.answers, asked, buckets)
    self.batcher.metrics.cut.inc(sum(len(one.cut) for one in found))
    return found

  async def explained(
    self,
    run: served.Served,
    asked: questions.Question,
    within: Sequence[constraints.Constraint],
    reasons: bool,
  ) -> tuple[questions.Answer, list[dict[str, Any]] | None]:
    """The answer to a question about the catalogue, and why it is so.

    Args:
      run: what is asked.
      asked: the question.
      within: what is asked beside its wish.
      reasons: whether they are wanted.

    Returns:
      The answer, and the reasons for each place; None where not wanted.
    """
    (found,) = await self.answers(run, [asked])
    if not reasons:
      return found, None
    return found, await self.batcher.do(
      lambda: recommending.explain(run, asked, found, within)
    )


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


async def unless_gone(
  request: requests.Request, work: Coroutine[Any, Any, _T]
) -> _T:
  """Does some work unless the client goes, and ends it then.

  Args:
    request: of the client; its body has been read.
    work: what it waits for.

  Returns:
    What the work gave.

  Raises:
    ApiError: 499 where the client has gone: for the log alone.
  """
  task = asyncio.ensure_future(work)
  gone = asyncio.ensure_future(_disconnected(request))
  try:
    await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
      return task.result()
    raise errors.ApiError(499, "the client has gone")
  finally:
    for one in (task, gone):
      one.cancel()
      with contextlib.suppress(asyncio.CancelledError, Exception):
        await one


async def _disconnected(request: requests.Request) -> None:
  while (await request.receive())["type"] != "http.disconnect":
    pass
