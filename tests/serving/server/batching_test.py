"""Steps of many questions: which go together, and who waits how long."""

import asyncio
import threading

import pytest

from instructrec.serving import questions
from instructrec.serving.server import batching, errors, metrics


class Slow:
  """Answers when it is let; what is asked says what happens."""

  most_at_once = 3

  def __init__(self):
    self.steps = []
    self.going = threading.Semaphore(0)
    self.began = threading.Semaphore(0)

  def answer(self, asked):
    asked = [one.question for one in asked]
    self.steps.append([q.history for q in asked])
    self.began.release()
    self.going.acquire()
    if any("broken" in q.history for q in asked):
      self.going.release()
      if len(asked) == 1:
        raise questions.NotFiniteError("no number")
      raise RuntimeError("a step that fails")
    return [questions.Answer((), (), (), (), 1, 1, (), 1) for question in asked]


@pytest.fixture
def slow():
  return Slow()


def scenario(slow, work, **settings):
  """Runs `work` beside a batcher."""

  async def both():
    batcher = batching.Batcher(metrics.Metrics(), wait=0.0, **settings)
    steps = asyncio.create_task(batcher.run())

    def ask(name, bucket="a", tokens=1):
      asked = questions.Read(questions.Question((name,)), bucket, tokens)
      return asyncio.create_task(batcher.ask(slow, [asked]))

    try:
      return await work(batcher, ask)
    finally:
      slow.going.release(100)
      await asyncio.wait_for(batcher.drained(), 10)
      steps.cancel()
      batcher.close()

  return asyncio.run(both())


async def taken(slow):
  """Waits until a step has begun."""
  await asyncio.to_thread(slow.began.acquire)


def test_what_waits_goes_together_by_bucket(slow):
  async def work(batcher, ask):
    first = ask("1")
    await taken(slow)
    rest = [ask("2", "b"), ask("3"), ask("4", "b"), ask("5"), ask("6", "b")]
    rest += [ask("7", "b")]
    await asyncio.sleep(0)
    slow.going.release(100)
    await asyncio.gather(first, *rest)

  scenario(slow, work)
  # The oldest goes first and takes its own along, three at most.
  assert slow.steps == [
    [("1",)],
    [("2",), ("4",), ("6",)],
    [("3",), ("5",)],
    [("7",)],
  ]


def test_a_step_keeps_to_its_tokens(slow):
  async def work(batcher, ask):
    first = ask("1")
    await taken(slow)
    rest = [ask("2", tokens=900), ask("3", tokens=6), ask("4", tokens=5)]
    await asyncio.sleep(0)
    slow.going.release(100)
    await asyncio.gather(first, *rest)

  scenario(slow, work, most_tokens=10)
  # A question that is larger than a step goes alone.
  assert slow.steps == [[("1",)], [("2",)], [("3",)], [("4",)]]


def test_a_full_queue_refuses(slow):
  async def work(batcher, ask):
    first = ask("1")
    await taken(slow)
    rest = [ask("2"), ask("3")]
    await asyncio.sleep(0)
    with pytest.raises(errors.ApiError) as caught:
      await ask("4")
    slow.going.release(100)
    await asyncio.gather(first, *rest)
    return caught.value, batcher.metrics

  error, counted = scenario(slow, work, most_queued=2)
  assert error.status == 429
  assert error.retry_after == 1
  refused = counted.registry.get_sample_value
  assert refused("rec_rejected_total", {"reason": "queue"}) == 1
  assert refused("rec_queue_size") == 0


def test_whoever_goes_leaves_the_queue(slow):
  async def work(batcher, ask):
    first = ask("1")
    await taken(slow)
    gone, stays = ask("2"), ask("3")
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    slow.going.release(100)
    await asyncio.gather(first, stays)

  scenario(slow, work)
  assert slow.steps == [[("1",)], [("3",)]]


def test_nobody_is_refused_for_those_that_went(slow):
  async def work(batcher, ask):
    first = ask("1")
    await taken(slow)
    for _ in range(5):
      gone = ask("2")
      await asyncio.sleep(0)
      gone.cancel()
      await asyncio.gather(gone, return_exceptions=True)
    assert batcher.metrics.queue_size._value.get() == 0
    stays = ask("3")
    await asyncio.sleep(0)
    slow.going.release(100)
    await asyncio.gather(first, stays)

  scenario(slow, work, most_queued=1)
  assert slow.steps == [[("1",)], [("3",)]]


def test_what_fails_fails_alone(slow):
  async def work(batcher, ask):
    first = ask("1")
    await taken(slow)
    rest = [ask("2"), ask("broken"), ask("3")]
    await asyncio.sleep(0)
    slow.going.release(100)
    await first
    return await asyncio.gather(*rest, return_exceptions=True)

  good, bad, also_good = scenario(slow, work)
  assert isinstance(bad, questions.NotFiniteError)
  for (found,) in (good, also_good):
    assert isinstance(found, questions.Answer)


def test_the_event_loop_is_free_during_a_step(slow):
  async def work(batcher, ask):
    first = ask("1")
    await taken(slow)
    turns = 0
    for _ in range(100):
      await asyncio.sleep(0)
      turns += 1
    assert not first.done()
    slow.going.release(100)
    await first
    return turns

  assert scenario(slow, work) == 100
